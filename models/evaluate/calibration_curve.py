"""How the observed frequency follows the predicted risk: the curve, and what it says in one number.

The integrated calibration index (Austin & Steyerberg 2019, doi:10.1002/sim.8281) is the mean of |p - c(p)| over the
cases, where c(p) is the observed frequency of the outcome at predicted risk p, smoothed. Here c is a logistic
regression on a restricted cubic spline of logit(p) with Harrell's knots (Regression Modeling Strategies, 2.4.5):
with a few hundred cases it is steadier than a local regression.
"""

from dataclasses import dataclass

import numpy as np

from models.evaluate.logistic import fit_logistic
from models.evaluate.metrics import logit

KNOT_QUANTILES = {3: (0.10, 0.50, 0.90), 4: (0.05, 0.35, 0.65, 0.95)}
CASES_FOR_FOUR_KNOTS = 100
BINS = 10


def calibration_error(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The integrated calibration index of each resample: mean |risk - smoothed frequency|. 0 is ideal."""
    smooth = smooth_frequency(target, risk, weights, risk)
    return np.asarray((weights * np.abs(smooth - risk)).sum(1) / weights.sum(1))


def smooth_frequency(target: np.ndarray, risk: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The smoothed frequency of the outcome at the risks `at` (A,), for each resample: (R, A)."""
    x = logit(risk)
    knots = spline_knots(x)
    design = spline_basis(x, knots)
    centre, scale = design.mean(0), design.std(0)
    kept = scale > 1e-9
    centre, scale = centre[kept], scale[kept]
    terms = np.concatenate([np.ones((len(x), 1)), (design[:, kept] - centre) / scale], 1)
    coefficients = fit_logistic(terms, target, weights)
    wanted = (spline_basis(logit(at), knots)[:, kept] - centre) / scale
    predictor = coefficients @ np.concatenate([np.ones((len(at), 1)), wanted], 1).T
    return np.asarray(1 / (1 + np.exp(-np.clip(predictor, -700, 700))))


def ece(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The expected calibration error over ten bins of equal mass: sum over bins of share x |mean risk - frequency|.

    Cases of the same risk share a bin. Noise alone makes it positive: read it beside `floor`.
    """
    order = np.argsort(risk, kind="stable")
    ordered, w = risk[order], weights[:, order]
    y = np.broadcast_to(target, weights.shape)[:, order]
    bins = _equal_mass_bins(ordered, w)
    rows = np.arange(len(w))[:, None]
    flat = (rows * BINS + bins).ravel()

    def summed(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.bincount(flat, values.ravel(), len(w) * BINS).reshape(-1, BINS))

    return np.asarray(np.abs(summed(w * (ordered - y))).sum(1) / w.sum(1))


@dataclass(frozen=True)
class Floor:
    """What a perfectly calibrated model with these same risks would show: the mean, and the value 95 % stay below."""

    mean: float
    high: float


def floors(risk: np.ndarray, rng: np.random.Generator, draws: int = 500) -> tuple[Floor, Floor]:
    """The floors of `calibration_error` and `ece`, by drawing outcomes from the risks themselves."""
    ici, binned = [], []
    block = max(1, 100_000 // max(1, len(risk)))
    for start in range(0, draws, block):
        drawn = (rng.random((min(block, draws - start), len(risk))) < risk).astype(float)
        drawn = drawn[(drawn.sum(1) > 0) & (drawn.sum(1) < len(risk))]
        if len(drawn):
            ones = np.ones_like(drawn)
            ici.append(calibration_error(drawn, risk, ones))
            binned.append(ece(drawn, risk, ones))
    if not ici:  # risks so extreme that every draw had one class
        return Floor(0.0, 0.0), Floor(0.0, 0.0)
    return _floor(np.concatenate(ici)), _floor(np.concatenate(binned))


@dataclass(frozen=True)
class Bin:
    """Cases of similar risk: how many, their events, mean risk, observed frequency and its 95 % Wilson interval."""

    n: int
    events: int
    risk: float
    frequency: float
    low: float
    high: float


def risk_bins(target: np.ndarray, risk: np.ndarray) -> tuple[Bin, ...]:
    """The bins of `ece` for all cases, as points of a reliability diagram."""
    order = np.argsort(risk, kind="stable")
    number = _equal_mass_bins(risk[order], np.ones((1, len(risk))))[0]
    found = []
    for b in np.unique(number):
        chosen = order[number == b]
        events, n = int(target[chosen].sum()), len(chosen)
        low, high = wilson_interval(events, n)
        found.append(Bin(n, events, float(risk[chosen].mean()), events / n, low, high))
    return tuple(found)


def wilson_interval(events: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959963984540054
    p = events / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(0.0, middle - half), min(1.0, middle + half)


def spline_knots(x: np.ndarray) -> np.ndarray:
    """The knots for these values: none where fewer than three distinct knots can be had (the spline is then a line)."""
    quantiles = KNOT_QUANTILES[4 if len(x) >= CASES_FOR_FOUR_KNOTS else 3]
    knots = np.unique(np.quantile(x, quantiles))
    apart = knots[np.concatenate([[True], np.diff(knots) > 1e-6])]
    return apart if len(apart) >= 3 else np.zeros(0)


def spline_basis(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """x and the other terms of a restricted cubic spline, linear beyond the outer knots: (N, max(1, knots - 1))."""
    if len(knots) == 0:
        return x[:, None]

    def cubed(knot: float) -> np.ndarray:
        return np.asarray(np.maximum(x - knot, 0) ** 3)

    last, before = knots[-1], knots[-2]
    terms = [
        (
            cubed(knot)
            - cubed(before) * (last - knot) / (last - before)
            + cubed(last) * (before - knot) / (last - before)
        )
        / (last - knots[0]) ** 2
        for knot in knots[:-2]
    ]
    return np.stack([x, *terms], 1)


def _equal_mass_bins(ordered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The bin 0..9 of each case (risks ascending) for each resample, by the middle of its cumulated weight."""
    cumulated = np.cumsum(weights, 1)
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(ordered)) - 1
    group = np.cumsum(new) - 1
    start = np.concatenate([np.zeros((len(weights), 1)), cumulated], 1)[:, first]
    middle = (start + cumulated[:, last]) / 2 / cumulated[:, -1:]
    return np.asarray(np.minimum((middle * BINS).astype(np.int64), BINS - 1)[:, group])


def _floor(values: np.ndarray) -> Floor:
    return Floor(float(values.mean()), float(np.quantile(values, 0.95)))
