"""Sets of classes, or intervals, that hold the outcome of a stated share of cases (Vovk et al. 2005, split conformal).

Of a class: which outcomes cannot be ruled out. The share is held in each class by itself, and in each group that is
asked for (label-conditional and Mondrian, Vovk 2012, sec. 3), whatever the model is, as far as new cases are like those
that the limits were taken from. Those are the validation cases, each calibrated by maps that were fitted without it
(cross-conformal, Vovk 2015), because maps fit their own cases too well. The network itself was stopped early by a look
at them; docs/trust.md says what that costs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.task import Task
from models.trust.groups import Groups

Limits = tuple[tuple[float, ...], ...]  # level by level, class by class


@dataclass(frozen=True)
class Conformal:
    """labels: what a set may hold; empty where the outcome is a number. levels: the shares promised.

    limits: group → the largest score that is still in the set. Where a group or a class has too few cases to promise
    anything, the limit is infinite: its sets leave nothing out.
    """

    labels: tuple[str, ...]
    levels: tuple[float, ...]
    score: str
    groups: Groups
    limits: Mapping[str, Limits]

    def sets(self, probabilities: np.ndarray, group: np.ndarray) -> np.ndarray:
        """(B, A, L) bool: which classes are in the set, for each level. probabilities (B, L), group (B,)."""
        scores = SCORES[self.score](probabilities)
        return np.asarray(scores[:, None] <= self._limits(group, probabilities.shape[1]))

    def intervals(self, mean: np.ndarray, std: np.ndarray, group: np.ndarray) -> np.ndarray:
        """(B, A, 2): from, to. mean, std (B,): what the model says."""
        reach = self._limits(group, 1)[..., 0] * std[:, None]
        return np.stack([mean[:, None] - reach, mean[:, None] + reach], -1)

    def _limits(self, group: np.ndarray, columns: int) -> np.ndarray:
        """(B, A, columns)."""
        never_seen = np.full((len(self.levels), columns), np.inf)
        found = [np.array(self.limits[g]) if g in self.limits else never_seen for g in group]
        return np.stack(found) if found else np.zeros((0, len(self.levels), columns))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for calibration.json, in which an infinite limit is null."""
        return {
            "labels": list(self.labels),
            "levels": list(self.levels),
            "score": self.score,
            "groups": {"by": self.groups.by, "edges": list(self.groups.edges)},
            "limits": {
                group: [[None if math.isinf(x) else x for x in level] for level in limits]
                for group, limits in self.limits.items()
            },
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Conformal":
        """The inverse of `to_json`."""
        limits = {
            group: tuple(tuple(math.inf if x is None else float(x) for x in level) for level in levels)
            for group, levels in raw["limits"].items()
        }
        groups = Groups(raw["groups"]["by"], tuple(raw["groups"]["edges"]))
        return cls(tuple(raw["labels"]), tuple(raw["levels"]), raw["score"], groups, limits)


def fit_sets(
    probabilities: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    labels: Sequence[str],
    levels: Sequence[float],
    score: str,
    groups: Groups,
) -> Conformal:
    """From cases that nothing was fitted on. probabilities (N, L), label (N,) the class's place, group (N,)."""
    own = SCORES[score](probabilities)[np.arange(len(label)), label]
    limits = {
        str(g): tuple(
            tuple(conformal_quantile(own[(group == g) & (label == c)], level) for c in range(len(labels)))
            for level in levels
        )
        for g in np.unique(group)
    }
    return Conformal(tuple(labels), tuple(levels), score, groups, limits)


def fit_intervals(
    mean: np.ndarray, std: np.ndarray, value: np.ndarray, group: np.ndarray, levels: Sequence[float], groups: Groups
) -> Conformal:
    """Intervals whose width follows the model's own standard deviation (Lei et al. 2018, sec. 5.2). All (N,)."""
    own = np.abs(value - mean) / std
    limits = {
        str(g): tuple((conformal_quantile(own[group == g], level),) for level in levels) for g in np.unique(group)
    }
    return Conformal((), tuple(levels), "residual", groups, limits)


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """The ceil((n + 1) level)-th smallest of n scores; infinite where there is no such score.

    A new score of the same distribution is at most this in at least `level` of cases, whatever n is.
    """
    place = math.ceil((len(scores) + 1) * level - 1e-9)  # (n + 1) level is often a whole number, but for rounding
    return math.inf if place > len(scores) else float(np.sort(scores)[place - 1])


def labels_of(task: Task) -> tuple[str, ...]:
    """What a set of this task may hold: of several targets the first counts. None where the outcome is no class."""
    target = task.target
    if target.kind in ("multiclass", "ordinal"):
        return tuple(target.classes)
    return ("0", "1") if target.kind in ("binary", "multilabel") else ()


def shares_of(task: Task, probabilities: np.ndarray) -> np.ndarray:
    """(B, L) the probability of each of `labels_of`. probabilities (B, P): all that the objective says."""
    labels = labels_of(task)
    if task.target.kind in ("multiclass", "ordinal"):
        return probabilities[:, : len(labels)]
    yes = probabilities[:, _risk_place(task)]
    return np.stack([1 - yes, yes], 1)


def class_of(task: Task, outcome: np.ndarray) -> np.ndarray:
    """(N,) the place of each case's own class in `labels_of`, -1 where unknown. outcome (N, K)."""
    said = outcome[:, _risk_place(task)]
    return np.where(np.isnan(said), -1, said).astype(int)


def _risk_place(task: Task) -> int:
    """Of several labels, the one that is the risk."""
    return list(task.target.labels).index(task.target.risk) if task.target.kind == "multilabel" else 0


def _label(probabilities: np.ndarray) -> np.ndarray:
    """What each class lacks to certainty: the smallest sets of all (Sadinle et al. 2019, sec. 2)."""
    return 1 - probabilities


def _adaptive(probabilities: np.ndarray) -> np.ndarray:
    """The probability of all classes above each, and half its own: sets grow where the model is unsure.

    Romano et al. 2020, eq. 4, with 1/2 in the place of their random number, so that a case always gets the same set.
    """
    above = probabilities[:, None, :] > probabilities[:, :, None]
    return np.asarray((above * probabilities[:, None, :]).sum(2) + probabilities / 2)


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"label": _label, "adaptive": _adaptive}
