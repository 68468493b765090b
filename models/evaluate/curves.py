"""The curves of an evaluation as plain points: ROC, precision-recall, reliability, and net benefit."""

from dataclasses import dataclass

import numpy as np

from models.evaluate.bootstrap import Resamples
from models.evaluate.calibration_curve import Bin, risk_bins, smooth_frequency
from models.evaluate.metrics import net_benefit

MOST_POINTS = 200
RELIABILITY_POINTS = 60
HISTOGRAM_BINS = 20
NET_BENEFIT_THRESHOLDS = tuple(round(0.01 * i, 2) for i in range(1, 61))


@dataclass(frozen=True)
class Curve:
    """Points (x, y) in order."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Reliability:
    """The smoothed frequency of the outcome over the risk with a pointwise 95 % band, the bins, and a histogram.

    histogram_events and histogram_others count cases in equal steps of risk from 0 to 1.
    """

    risk: tuple[float, ...]
    frequency: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    bins: tuple[Bin, ...]
    histogram_events: tuple[int, ...]
    histogram_others: tuple[int, ...]


def roc_curve(target: np.ndarray, risk: np.ndarray) -> Curve:
    """False positive rate against sensitivity, at every distinct risk."""
    found, false = _cumulated(target, risk)
    return _thinned(np.append(0, false) / false[-1], np.append(0, found) / found[-1])


def precision_recall_curve(target: np.ndarray, risk: np.ndarray) -> Curve:
    """Recall against precision, at every distinct risk; it begins at recall 0 with the first precision."""
    found, false = _cumulated(target, risk)
    precision = found / (found + false)
    return _thinned(np.append(0, found / found[-1]), np.append(precision[0], precision))


def reliability(target: np.ndarray, risk: np.ndarray, resamples: Resamples) -> Reliability:
    """The reliability diagram; the band is of percentiles over the resamples."""
    target, risk = np.asarray(target, float), np.asarray(risk, float)
    lowest, highest = np.quantile(risk, [0.005, 0.995])
    grid = np.linspace(lowest, highest, RELIABILITY_POINTS)
    if np.ptp(risk) == 0:
        grid = grid[:1]
    curve = smooth_frequency(target, risk, np.ones((1, len(risk))), grid)[0]
    drawn = np.concatenate([smooth_frequency(target, risk, w, grid) for w in resamples.weights()])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    steps = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    return Reliability(
        _floats(grid),
        _floats(curve),
        _floats(low),
        _floats(high),
        risk_bins(target, risk),
        tuple(int(count) for count in np.histogram(risk[target == 1], steps)[0]),
        tuple(int(count) for count in np.histogram(risk[target == 0], steps)[0]),
    )


def net_benefit_curve(target: np.ndarray, risk: np.ndarray) -> Curve:
    """Net benefit per case over thresholds from 0.01 to 0.60."""
    one = np.ones((1, len(target)))
    benefit = [float(net_benefit(target, risk, one, threshold)[0]) for threshold in NET_BENEFIT_THRESHOLDS]
    return Curve(NET_BENEFIT_THRESHOLDS, tuple(benefit))


def _cumulated(target: np.ndarray, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Events and non-events at or above each distinct risk, from the highest risk down."""
    order = np.argsort(-risk, kind="stable")
    last = np.append(np.flatnonzero(np.diff(risk[order])), len(risk) - 1)
    return np.cumsum(target[order])[last], np.cumsum(1 - target[order])[last]


def _thinned(x: np.ndarray, y: np.ndarray) -> Curve:
    if len(x) > MOST_POINTS:
        kept = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))
        x, y = x[kept], y[kept]
    return Curve(_floats(x), _floats(y))


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
