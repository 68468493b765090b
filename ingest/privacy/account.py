"""The account of a de-identification: what came in was written, held, refused or skipped, and the four add up.

Nothing in it is of the input: no file's name, no text, no digest. What is needed to find a file again is in the folder
of what is held, which only its owner may read.
"""

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.files import write_text

FATES = ("written", "held", "refused", "skipped")


@dataclass(frozen=True)
class Report:
    """What a run did. A record is a line, a bundle's entry, a table's row, or a file of any other kind."""

    by_format: dict[str, dict[str, int]]  # format -> in, written, held, refused, skipped
    reasons: dict[str, dict[str, int]]  # held, refused, skipped -> why -> how often
    marks: dict[str, int]  # kind of thing taken out of text -> how often
    dropped: dict[str, int]  # kind of thing left out -> how often

    def count(self, fate: str) -> int:
        """Over all formats."""
        return sum(count[fate] for count in self.by_format.values())

    def __post_init__(self) -> None:
        for name, count in self.by_format.items():
            assert count["in"] == sum(count[fate] for fate in FATES), f"records do not add up: {name}"

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        totals = {"in": self.count("in")} | {fate: self.count(fate) for fate in FATES}
        return {"state": "finished", **totals, **asdict(self)}

    def lines(self) -> list[str]:
        """The account in words, a line each."""
        said = [f"in {self.count('in'):,} = " + " + ".join(f"{fate} {self.count(fate):,}" for fate in FATES)]
        for name, count in self.by_format.items():
            said.append(f"  {name}: in {count['in']:,} = " + " + ".join(f"{count[fate]:,}" for fate in FATES))
        for fate, why in self.reasons.items():
            said += [f"  {fate} {number:,}: {reason}" for reason, number in why.items()]
        if self.marks:
            said.append("  taken out of text: " + ", ".join(f"{n:,} {kind}" for kind, n in self.marks.items()))
        if self.dropped:
            said.append("  left out: " + ", ".join(f"{n:,} {kind}" for kind, n in self.dropped.items()))
        return said


@dataclass
class Account:
    """Counts as files go, and keeps what is held and refused in a folder of its owner's (0700)."""

    held: Path
    marks: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    _counts: dict[str, Counter[str]] = field(default_factory=dict)
    _reasons: dict[str, Counter[str]] = field(default_factory=dict)
    _held_lines: list[dict[str, object]] = field(default_factory=list)
    _refused_lines: list[dict[str, object]] = field(default_factory=list)

    def write(self, kind: str, n: int = 1) -> None:
        """Records that were written."""
        self._count(kind, "written", "", n)

    def skip(self, kind: str, why: str, n: int = 1) -> None:
        """Records left out through no fault of theirs."""
        self._count(kind, "skipped", why, n)

    def refuse(self, kind: str, file: SourceFile, refusal: Refusal, record: str = "") -> None:
        """A record that is not written because it is wrong, or cannot be de-identified."""
        why = f"{refusal.field}: expected {refusal.expected}, got {refusal.got}".removeprefix(": ")
        self._count(kind, "refused", why, 1)
        line: dict[str, object] = {"file": str(file.path), "record": record, "why": why, "next": refusal.hint}
        self._refused_lines.append(line)

    def hold(self, kind: str, file: SourceFile, why: str) -> None:
        """A file that a person has to look at first: a copy is kept under its SHA-256."""
        self._count(kind, "held", why.split(" in frame ")[0], 1)
        self._make_folder()
        copy = self.held / f"{file.sha256}{file.path.suffix[:8].lower()}"
        if not copy.is_file():
            shutil.copyfile(file.path, copy)
            copy.chmod(0o600)
        self._held_lines.append({"sha256": file.sha256, "file": str(file.path), "copy": copy.name, "why": why})

    def close(self) -> Report:
        """Write held.jsonl and refused.jsonl, drop copies of what is no longer held, and say what was done."""
        kept = {str(line["copy"]) for line in self._held_lines}
        for name, lines in (("held.jsonl", self._held_lines), ("refused.jsonl", self._refused_lines)):
            if lines:
                self._make_folder()
                text = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)
                write_text(self.held / name, text)
                (self.held / name).chmod(0o600)
            else:
                (self.held / name).unlink(missing_ok=True)
        if self.held.is_dir():
            for left in self.held.iterdir():
                if left.suffix != ".jsonl" and left.name not in kept and len(left.stem) == 64:
                    left.unlink()
            if not any(self.held.iterdir()):
                self.held.rmdir()
        counts = {
            kind: {"in": found.total()} | {fate: found[fate] for fate in FATES}
            for kind, found in sorted(self._counts.items())
        }
        reasons = {fate: dict(sorted(self._reasons[fate].items())) for fate in FATES if self._reasons.get(fate)}
        return Report(counts, reasons, dict(sorted(self.marks.items())), dict(sorted(self.dropped.items())))

    def _count(self, kind: str, fate: str, why: str, n: int) -> None:
        if n:
            self._counts.setdefault(kind, Counter())[fate] += n
            if why:
                self._reasons.setdefault(fate, Counter())[why] += n

    def _make_folder(self) -> None:
        self.held.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self.held, 0o700)  # noqa: PTH101 - whatever the umask or an earlier run left
