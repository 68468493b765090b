"""How well a number tells the outcome: AUROC, with an interval that holds for few events and perfect separation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.align.windows import rank_auroc
from models.leakage.finding import Verdict

ALARM, LOOK = 0.95, 0.9  # of an AUROC
FOLDS = 3
LEAST_OF_A_CLASS = 5  # subjects
ROOM = {"alarm": 0.1, "look": 0.2}  # how far below its limit the interval may reach: more, and chance may have done it
Z = 1.959964


@dataclass(frozen=True)
class Separation:
    """An AUROC, turned so that it is 0.5 at least, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"AUROC {self.value:.3f} ({self.low:.2f} to {self.high:.2f})"

    def verdict(self, alarm: float = ALARM, look: float = LOOK) -> Verdict:
        """An alarm above `alarm`, a look above `look`, where the interval does not reach far below the limit."""
        if self.value > alarm and self.low > alarm - ROOM["alarm"]:
            return "alarm"
        return "look" if self.value > look and self.low > look - ROOM["look"] else "fine"


def separation(values: np.ndarray, target: np.ndarray, subjects: np.ndarray) -> Separation:
    """How well `values` (n,) tell `target` (n,) in either direction; NaN counts as a value of its own, at either end.

    The interval counts subjects (n,), not cases. Both classes must occur.
    """
    return separation_of(best_auroc(values, target), target, subjects)


def separation_of(value: float, target: np.ndarray, subjects: np.ndarray) -> Separation:
    """An AUROC of these cases with its interval."""
    positive, negative = (len(np.unique(subjects[target == label])) for label in (1, 0))
    return Separation(value, *auroc_interval(value, positive, negative))


def best_auroc(values: np.ndarray, target: np.ndarray) -> float:
    """The AUROC of values (n,) in the better direction, with what is missing below or above all others."""
    event = target == 1
    ends = (-np.inf, np.inf) if np.isnan(values).any() else (0.0,)
    found = [rank_auroc(np.where(np.isnan(values), end, values), event) for end in ends]
    return max(max(auroc, 1 - auroc) for auroc in found)


def auroc_interval(value: float, positive: int, negative: int, z: float = Z) -> tuple[float, float]:
    """The interval of an AUROC by inverting its score test; it has a width where the AUROC is 1, too.

    Newcombe 2006, method 5, doi:10.1002/sim.2324: |value - t| = z sqrt(V(t)), V(t) after Hanley & McNeil 1982 with
    (positive + negative) / 2 - 1 in the place of both sizes less one.
    """
    size = (positive + negative) / 2 - 1

    def beyond(t: float) -> bool:
        variance = t * (1 - t) * (1 + size * ((1 - t) / (2 - t) + t / (1 + t))) / (positive * negative)
        return bool(abs(value - t) > z * np.sqrt(variance))

    return _boundary(beyond, 0.0, value), _boundary(beyond, 1.0, value)


def _boundary(beyond: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where `beyond` changes, by bisection."""
    if not beyond(outside):
        return outside
    for _ in range(50):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if beyond(middle) else (outside, middle)
    return inside


def cross_validated(
    model: Callable[[], Any], columns: np.ndarray, target: np.ndarray, subjects: np.ndarray, seed: int
) -> np.ndarray | None:
    """(n,) what a classifier says of each case when it has not seen the subject; None where no fold can be made.

    columns (n, P), NaN where missing. A fold whose other part has one class only says what that class is.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(subjects[target == label])) for label in (0, 1))
    if fewest < 2:
        return None
    said = np.full(len(target), target.mean())
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    for fit, held in folds.split(columns, target, subjects):
        known = np.isfinite(columns[fit]).any(0)
        if len(np.unique(target[fit])) == 2 and known.any() and len(held):
            fitted = model().fit(columns[fit][:, known], target[fit])
            said[held] = fitted.predict_proba(columns[held][:, known])[:, 1]
    return said


def shallow_tree(seed: int) -> Any:
    """A decision tree of depth 3: up to eight groups of cases, whatever the form of the relation."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, random_state=seed)


def small_boosting(seed: int) -> Any:
    """A few boosted trees, for columns that say something only together."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=10, max_features=0.3, random_state=seed
    )
