"""What alignment did with everything that it was given: used, excluded and refused, all counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ingest.delivery.shown_names import Bearing, all_without_persons


class Tally:
    """Counts of one stream, filled while it is aligned."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.refusals: list[tuple[str, str]] = []  # the file as it may be shown, and the line, which begins with it

    def add(self, what: str, how_many: "np.ndarray | int") -> None:
        """Count the true ones of a mask, or a number."""
        number = int(np.count_nonzero(how_many)) if isinstance(how_many, np.ndarray) else int(how_many)
        if number:
            self.counts[what] += number

    def note(self, what: str, how_many: "np.ndarray | int") -> None:
        """Count what was done to what is used: converted, cut, redacted."""
        number = int(np.count_nonzero(how_many)) if isinstance(how_many, np.ndarray) else int(how_many)
        if number:
            self.notes[what] += number

    def refuse(self, what: str, complaint: str, file: str) -> None:
        """Count a file that cannot be used, and keep the line that says why, which begins with the file."""
        self.counts[what] += 1
        self.refusals.append((file, complaint))

    def refusals_shown(self, bearing: Bearing) -> tuple[str, ...]:
        """The lines, without what a patient bears in the files' paths."""
        shown = all_without_persons({file for file, _ in self.refusals}, bearing)
        return tuple(shown[file] + line.removeprefix(file) for file, line in self.refusals)


@dataclass(frozen=True)
class SplitCounts:
    """The cases of one part, and how many of them have the outcome."""

    cases: int
    events: int


@dataclass(frozen=True)
class StreamReport:
    """One stream: cases that have it, values used, values left out by reason, and files refused (one line each).

    noted: what was done to values or cases that are used, such as a conversion; how many of them.
    """

    present: int
    used: int
    left_out: Mapping[str, int]
    refusals: tuple[str, ...] = ()
    noted: Mapping[str, int] = field(default_factory=dict)

    @property
    def late(self) -> int:
        """Values that had been measured by the index time, but became available only after it."""
        return self.left_out.get("available only after the index time", 0)


@dataclass(frozen=True)
class AlignReport:
    """The result of aligning: in = cases + excluded + already there.

    candidates: cases before any exclusion. excluded: reason -> cases, each counted under the first reason that met
    it; subjects without the index event are counted apart. unknown_target: cases among `excluded` whose outcome is
    not known. merged: (subject, the one that it is read as) when it was aligned. report_texts: what became of the
    texts that are to be drafted; nothing where the task asks for none.
    """

    task: str
    subjects: int
    subjects_without_index: int
    candidates: int
    already_there: int
    cases: int
    events: int
    unknown_target: int
    excluded: Mapping[str, int]
    splits: Mapping[str, SplitCounts]
    streams: Mapping[str, StreamReport]
    nothing_observed: int = 0
    merged: tuple[tuple[int, int], ...] = ()
    report_texts: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for report.json."""
        return asdict(self)
