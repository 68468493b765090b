"""What an audit finds: a figure with its verdict, and what to do next."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["alarm", "look", "fine"]
VERDICTS: tuple[Verdict, ...] = ("alarm", "look", "fine")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. where: a stream, a feature, or "cohort". step: what to do, empty where fine.

    value: the figure as a number, for programs; None where it is not one number.
    """

    check: str
    where: str
    figure: str
    verdict: Verdict
    step: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Audit:
    """All findings of one cohort, the gravest first. notes: samples that were drawn, checks that could not be made."""

    task: str
    title: str
    cases: int
    events: int
    seed: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many findings have each verdict."""
        counted = Counter(finding.verdict for finding in self.findings)
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def of(self, verdict: Verdict) -> list[Finding]:
        """The findings of one verdict."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for audit.json."""
        return {**asdict(self), "counts": self.counts}


def gravest_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """By verdict; in the order of the checks within one."""
    return tuple(sorted(findings, key=lambda finding: VERDICTS.index(finding.verdict)))


def gravest(*verdicts: Verdict) -> Verdict:
    """The gravest of some verdicts."""
    return min(verdicts, key=VERDICTS.index)
