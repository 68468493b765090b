"""The account of an ingest: what came in was used, refused or skipped, and the three add up."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ingest.account.quarantine import Quarantine
from ingest.account.summary import Summary
from ingest.delivery.shown_names import Bearing, all_without_persons
from ingest.errors import Complaint

MAX_SHOWN_REFUSALS = 1000


@dataclass(frozen=True)
class Count:
    """Records seen, and what became of them."""

    seen: int
    used: int
    refused: int
    skipped: int

    def __post_init__(self) -> None:
        assert self.seen == self.used + self.refused + self.skipped, f"records do not add up: {self}"

    def to_json(self) -> dict[str, int]:
        return {"in": self.seen, "used": self.used, "refused": self.refused, "skipped": self.skipped}


@dataclass(frozen=True)
class Reconciliation:
    """What an ingest did. A record is a line, a bundle's entry, a table's row, or a file (images, sounds, others)."""

    run: str
    part: str | None  # file name of the observations written; None: nothing new came
    total: Count
    by_format: Mapping[str, Count]
    skip_reasons: Mapping[str, int]
    notes: Mapping[str, int]  # what was decided on reading, and how often
    observations: int
    refusals: tuple[Complaint, ...]  # the first MAX_SHOWN_REFUSALS; quarantine holds all
    summary: Summary  # of the new observations

    def __post_init__(self) -> None:
        for name in ("seen", "used", "refused", "skipped"):
            parts = sum(getattr(count, name) for count in self.by_format.values())
            assert parts == getattr(self.total, name), f"formats do not add up to the total: {name}"
        assert sum(self.skip_reasons.values()) == self.total.skipped, "every skipped record has one reason"
        assert len(self.refusals) == min(self.total.refused, MAX_SHOWN_REFUSALS), "every refusal has a complaint"

    @property
    def subjects(self) -> int:
        """Whom the new observations are about."""
        return self.summary.subjects

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON; counts overall and by format, refusals with their six parts."""
        return {
            "run": self.run,
            "part": self.part,
            **self.total.to_json(),
            "by_format": {name: count.to_json() for name, count in self.by_format.items()},
            "skip_reasons": dict(self.skip_reasons),
            "notes": dict(self.notes),
            "observations": self.observations,
            "subjects": self.subjects,
            "refusals": [asdict(complaint) for complaint in self.refusals],
            "summary": self.summary.to_json(),
        }

    def lines(self) -> list[str]:
        """The account in words, a line each."""
        total = self.total
        account = [
            f"in {total.seen:,} = used {total.used:,} + refused {total.refused:,} + skipped {total.skipped:,}; "
            f"{self.observations:,} observations of {self.subjects:,} subjects"
        ]
        account += [
            f"  {name}: in {count.seen:,} = {count.used:,} + {count.refused:,} + {count.skipped:,}"
            for name, count in self.by_format.items()
        ]
        account += [f"  skipped {n:,}: {reason}" for reason, n in self.skip_reasons.items()]
        return account + [f"  noted {n:,}: {note}" for note, n in self.notes.items()]


@dataclass
class Report:
    """Counts as readers go. Each record is seen once, then used, refused or skipped once."""

    quarantine: Quarantine
    _seen: Counter[str] = field(default_factory=Counter)
    _used: Counter[str] = field(default_factory=Counter)
    _refused: Counter[str] = field(default_factory=Counter)
    _skipped: Counter[str] = field(default_factory=Counter)
    _reasons: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _notes: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _refusals: list[Complaint] = field(default_factory=list)

    def see(self, source_format: str, n: int = 1) -> None:
        """Records that came in."""
        self._seen[source_format] += n

    def use(self, source_format: str, n: int = 1) -> None:
        """Records whose content is now known."""
        self._used[source_format] += n

    def skip(self, source_format: str, reason: str, n: int = 1) -> None:
        """Records that are left out for a reason that is no fault of theirs."""
        if n:
            self._skipped[source_format] += n
            self._reasons[reason] += n

    def refuse(self, source_format: str, complaint: Complaint, raw: str | Path | None = None) -> None:
        """A record that is wrong: kept in quarantine, with its raw text or a copy of its file."""
        self._refused[source_format] += 1
        if len(self._refusals) < MAX_SHOWN_REFUSALS:
            self._refusals.append(complaint)
        self.quarantine.keep(complaint, raw)

    def note(self, what: str, n: int = 1) -> None:
        """Something decided on reading that a user should know of."""
        if n:
            self._notes[what] += n

    def reconcile(
        self, run: str, part: str | None, observations: int, summary: Summary, known: Bearing = lambda words: set()
    ) -> Reconciliation:
        """The account; it is checked as it is built. known: of some words, those that a patient bears: not shown."""
        by_format = {
            name: Count(seen, self._used[name], self._refused[name], self._skipped[name])
            for name, seen in sorted(self._seen.items())
            if seen
        }
        shown = all_without_persons([each.file for each in self._refusals], known)
        refusals = tuple(replace(each, file=shown[each.file]) for each in self._refusals)
        totals = (counter.total() for counter in (self._seen, self._used, self._refused, self._skipped))
        return Reconciliation(
            run, part, Count(*totals), by_format, dict(sorted(self._reasons.items())),
            dict(sorted(self._notes.items())), observations, refusals, summary,
        )  # fmt: skip
