"""Do the streams of cases with the outcome reach over other hours than those of the others? Then a model learns that.

A typical way to come by it: the window of those who have the outcome ends at the outcome, that of the others at some
chosen moment. Whatever is measured, how far back the first and how close the last observation lie then tells the class.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ingest.cohort import Cohort
from ingest.errors import TaskError

LIMIT = 0.95  # of the AUROC: beyond it the hours alone tell the outcome
LEAST_CASES = 50
LEAST_OF_A_CLASS = 10
ROWS_AT_ONCE = 4096
MEASURES = ("first observation", "last observation", "hours between first and last")


@dataclass(frozen=True)
class WindowDifference:
    """A stream whose observed hours tell the outcome. Medians in hours: before the index time, or between the two."""

    stream: str
    measure: str
    auroc: float
    cases: int
    median_with: float
    median_without: float

    def __str__(self) -> str:
        return (
            f"stream {self.stream}, {self.measure}: {abs(self.median_with):.1f} h in the median with the outcome, "
            f"{abs(self.median_without):.1f} h without; this alone tells them apart with an AUROC of {self.auroc:.3f} "
            f"in {self.cases} cases"
        )


def check_windows(cohort: Cohort, rows: np.ndarray) -> None:
    """Refuse to learn from these cases where the hours that a stream covers give their outcome away.

    Raises TaskError, unless the task allows it.
    """
    if cohort.task.allow_different_windows:
        return
    if found := window_differences(cohort, rows):
        raise TaskError(
            f"task {cohort.task.name}, {found[0]}: expected windows that do not depend on the outcome; choose an index "
            "time that all have alike, or where this is meant say allow_different_windows: true and align again"
        )


def window_differences(cohort: Cohort, rows: np.ndarray) -> list[WindowDifference]:
    """The streams and measures by which the outcome of these cases could be told, the plainest first."""
    if not cohort.task.timed:
        return []
    found = []
    for stream in cohort.stream_names:
        hours = observed_hours(cohort, rows, stream)
        known = ~np.isnan(hours[:, 0]) & ~np.isnan(cohort.target[rows])
        target = cohort.target[rows][known] == 1
        if len(target) < LEAST_CASES or min(target.sum(), (~target).sum()) < LEAST_OF_A_CLASS:
            continue
        first, last = hours[known].T
        for measure, values in zip(MEASURES, (first, last, last - first), strict=True):
            auroc = rank_auroc(values, target)
            if max(auroc, 1 - auroc) > LIMIT:
                medians = float(np.median(values[target])), float(np.median(values[~target]))
                found.append(WindowDifference(stream, measure, max(auroc, 1 - auroc), len(target), *medians))
    return sorted(found, key=lambda difference: -difference.auroc)


def observed_hours(cohort: Cohort, rows: np.ndarray, stream: str) -> np.ndarray:
    """(n, 2) the hours of the first and of the last observed element of each case, NaN where there is none.

    In a table 0 hours are those of static facts, and of what is known by its absence: they do not count.
    """
    out = np.full((len(rows), 2), np.nan)
    index = cohort.index.iloc[rows]
    for shard, places, at in _places(index["shard"].to_numpy(), index[f"{stream}_row"].to_numpy()):
        arrays = cohort.arrays(shard, stream)
        observed = np.asarray(arrays.observed[at])
        there = observed.reshape(*observed.shape[:2], -1).any(2)
        hours = np.asarray(arrays.hours[at])
        if cohort.task.streams[stream].kind == "table":
            there &= hours < 0
        out[places, 0] = np.where(there, hours, np.inf).min(1, initial=np.inf)
        out[places, 1] = np.where(there, hours, -np.inf).max(1, initial=-np.inf)
    out[~np.isfinite(out).all(1)] = np.nan
    return out


def rank_auroc(values: np.ndarray, target: np.ndarray) -> float:
    """The probability that a value with the outcome is above one without, half of it where they are equal.

    values (n,), target (n,) bool. Mann & Whitney (1947), from the sum of ranks.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positive, negative = int(target.sum()), int((~target).sum())
    return float((ranks[target].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _places(shards: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(shard, places in what was asked for, rows of the stream's arrays), a few thousand at a time."""
    for shard in np.unique(shards):
        here = np.flatnonzero((shards == shard) & (rows >= 0))
        for start in range(0, len(here), ROWS_AT_ONCE):
            some = here[start : start + ROWS_AT_ONCE]
            yield int(shard), some, rows[some]
