"""Measures of a predicted number, and of the distribution around it.

Each is a function `(target, prediction, weights (R, N)) -> (R,)`, as in `models.evaluate.metrics`; NaN where it has no
value. target, prediction (N,) in the unit of the outcome. A predicted distribution is a Gaussian: its mean is the
prediction, std (N,) its standard deviation.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import ndtr, ndtri

from models.evaluate.bootstrap import Resamples, Statistic
from models.evaluate.estimates import estimate_of
from models.evaluate.metrics import EvaluationError
from models.evaluate.results import Estimate

LEVELS = (0.5, 0.8, 0.9, 0.95)  # of the predictive intervals whose coverage is given


def regression_estimates(
    target: np.ndarray, mean: np.ndarray, std: np.ndarray | None, resamples: Resamples
) -> dict[str, Estimate]:
    """Every measure with its interval; those of the distribution too where its std is given."""
    target, mean = np.asarray(target, float), np.asarray(mean, float)
    check_numbers(target, mean, std)
    statistics: dict[str, Statistic] = {name: partial(measure, target, mean) for name, measure in MEASURES.items()}
    if std is not None:
        statistics["crps"] = partial(crps_gaussian, target, mean, np.asarray(std, float))
        for level in LEVELS:
            low, high = gaussian_interval(mean, np.asarray(std, float), level)
            statistics[f"coverage_{level:.0%}"] = partial(coverage, target, low, high)
    return {
        name: estimate_of(statistic, resamples, name, why="all cases have the same value")
        for name, statistic in statistics.items()
    }


def check_numbers(target: np.ndarray, mean: np.ndarray, std: np.ndarray | None = None) -> None:
    """Raise where there is not one finite number each, or a standard deviation is below 0."""
    given = [("targets", target), ("predictions", mean), *([] if std is None else [("standard deviations", std)])]
    for name, values in given:
        if np.shape(values) != (len(target),):
            raise EvaluationError(f"regression: expected {name} ({len(target)},), got {np.shape(values)}")
        if bad := int((~np.isfinite(values)).sum()):
            raise EvaluationError(f"regression: expected finite {name}: {bad} of {len(target)} are not")
    if std is not None and (bad := int((np.asarray(std) < 0).sum())):
        raise EvaluationError(f"regression: expected standard deviations of 0 or more: {bad} of {len(target)} are not")


def mean_absolute_error(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean distance, in the unit of the outcome."""
    return _mean(np.abs(prediction - target), weights)


def root_mean_squared_error(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The root of the mean squared distance, in the unit of the outcome."""
    return np.asarray(np.sqrt(_mean((prediction - target) ** 2, weights)))


def r_squared(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """1 less the squared error over that of the mean of these cases: below 0 where that mean would do better."""
    centre = _mean(target, weights)[:, None]
    spread = (weights * (target - centre) ** 2).sum(1)
    error = weights @ (prediction - target) ** 2
    return np.asarray(1 - np.divide(error, spread, out=np.full(len(spread), np.nan), where=spread > 1e-12 * error))


def spearman(target: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The correlation of the ranks, ties with their middle rank (Spearman 1904)."""
    total = weights.sum(1, keepdims=True)
    x, y = (_ranks(values, weights) - (total + 1) / 2 for values in (target, prediction))
    both, own, other = (np.einsum("rn,rn,rn->r", weights, a, b) for a, b in ((x, y), (x, x), (y, y)))
    scale = np.sqrt(own * other)
    return np.asarray(np.divide(both, scale, out=np.full(len(scale), np.nan), where=scale > 0))


def coverage(target: np.ndarray, low: np.ndarray, high: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often the outcome lies within the predicted interval, its ends included: its level is ideal."""
    return _mean((target >= low) & (target <= high), weights)


def gaussian_interval(mean: np.ndarray, std: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The central interval of this level, such as 0.9."""
    half = ndtri((1 + level) / 2) * std
    return mean - half, mean + half


def crps_gaussian(target: np.ndarray, mean: np.ndarray, std: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The continuous ranked probability score of a Gaussian, in the unit of the outcome; 0 is best.

    Gneiting & Raftery 2007, section 4.2, doi:10.1198/016214506000001437. With a std of 0 it is the absolute error.
    """
    z = np.divide(target - mean, std, out=np.zeros(len(target)), where=std > 0)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    spread = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return _mean(np.where(std > 0, spread, np.abs(target - mean)), weights)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, N) the middle rank of each value in each resample."""
    order = np.argsort(values, kind="stable")
    new = np.concatenate([[True], np.diff(values[order]) != 0])
    size = np.add.reduceat(weights[:, order], np.flatnonzero(new), axis=1)
    middle = np.cumsum(size, 1) - (size - 1) / 2
    place = np.empty(len(values), np.int64)
    place[order] = np.cumsum(new) - 1
    return np.asarray(middle[:, place])


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((weights @ values) / weights.sum(1))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
    "r_squared": r_squared,
    "spearman": spearman,
}
