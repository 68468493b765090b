"""Whether when and how often something was measured tells the outcome, or the moment at which the risk is asked for."""

import numpy as np

from ingest.align.windows import LIMIT, observed_hours, window_differences
from models.leakage.finding import Finding
from models.leakage.scope import Scope, blocks
from models.leakage.separation import Separation, cross_validated, separation, shallow_tree

CHECK = "windows and counts"
INDEX_CHECK = "index times"
STEP = (
    "choose an index time that all cases have alike (admission and so many hours), not one that is counted back from "
    "the outcome; give the stream a window"
)
INDEX_STEP = (
    "choose index times by one rule for all cases, whatever became of them; compare the sources of the two classes"
)
LATEST = 0.8  # of an AUROC: the calendar tells that much only where the classes were collected apart


def window_findings(scope: Scope) -> list[Finding]:
    """Per stream: how many observations there are, and how long before the index time the last and the first lie."""
    found = [
        Finding(CHECK, each.stream, str(each).partition(", ")[2], "alarm", STEP, each.auroc)
        for each in window_differences(scope.cohort, scope.rows)
    ]
    told = {finding.where for finding in found}
    for stream in scope.cohort.stream_names:
        counts = _counts(scope, stream)
        measures = {"the number of observations": counts}
        if scope.cohort.task.timed and stream not in told:
            first, last = observed_hours(scope.cohort, scope.rows, stream).T
            measures |= {"the hours since the last": last, "the hours since the first": first}
        found.append(_most_telling(scope, stream, measures))
    return found


def index_findings(scope: Scope) -> list[Finding]:
    """The hour, weekday and date of the index time."""
    if not scope.cohort.task.timed:
        return []
    times = scope.cohort.index["index_time"].iloc[scope.rows]
    clock = np.stack([times.dt.hour + times.dt.minute / 60, times.dt.day_of_week, times.dt.month], 1).astype(float)
    found = []
    said = cross_validated(lambda: shallow_tree(scope.seed), clock, scope.target, scope.subjects, scope.seed)
    if said is not None:
        found.append(_index_finding("hour, weekday and month", separation(said, scope.target, scope.subjects)))
    date = times.to_numpy("datetime64[us]").astype(np.int64).astype(float)
    found.append(_index_finding("date", separation(date, scope.target, scope.subjects)))
    return found


def _index_finding(what: str, told: Separation) -> Finding:
    verdict = told.verdict(look=LATEST)
    return Finding(INDEX_CHECK, what, str(told), verdict, "" if verdict == "fine" else INDEX_STEP, told.value)


def _most_telling(scope: Scope, stream: str, measures: dict[str, np.ndarray]) -> Finding:
    """The measure that tells most, of the cases that have it; what is missing is for another check."""
    best: tuple[float, str, Separation] | None = None
    for name, values in measures.items():
        known = ~np.isnan(values)
        target, subjects = scope.target[known], scope.subjects[known]
        if len(np.unique(target)) < 2:
            continue
        told = separation(values[known], target, subjects)
        if best is None or told.value > best[0]:
            best = (told.value, f"{name}, {_medians(values[known], target)}", told)
    if best is None:
        return Finding(CHECK, stream, "nobody has it, or one outcome alone", "fine")
    verdict = best[2].verdict(alarm=LIMIT)
    return Finding(CHECK, stream, f"{best[1]}: {best[2]}", verdict, "" if verdict == "fine" else STEP, best[0])


def _medians(values: np.ndarray, target: np.ndarray) -> str:
    with_, without = (abs(float(np.median(values[target == label]))) for label in (1, 0))
    return f"in the median {with_:.3g} with the outcome and {without:.3g} without"


def _counts(scope: Scope, stream: str) -> np.ndarray:
    """(n,) observed elements of a stream, NaN where a case lacks it."""
    counts = np.full(len(scope.rows), np.nan)
    for at, arrays in blocks(scope.cohort, scope.rows, stream):
        counts[at] = arrays.observed.reshape(len(at), -1).sum(1)
    return counts
