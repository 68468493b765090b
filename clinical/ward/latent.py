"""How ill the patients of the demo ward are, what their files can know of it, and the risk that follows.

For each patient, and each modality m among record, vitals, labs, xray, notes and sound:

    severity            s    ~ Normal(0, 1)
    factor              z_m  = rho * s + sqrt(1 - rho^2) * e_m,    e_m ~ Normal(0, 1)
    reading             r_m  = z_m + tau_m * n_m,                  n_m ~ Normal(0, 1)
    logit of the risk   L    = b + sum over m of w_m * z_m
    outcome             y    ~ Bernoulli(1 / (1 + exp(-L)))

The factors share a severity, yet each also holds what no other does (rho^2 is their correlation). The files of a
modality are made from its reading alone, with much beside it that means nothing. The reading of the notes is
quantised: a note shows one of `NOTE_POINTS + 1` levels, and nothing finer.

The *attainable* risk is the best that anybody can say from a patient's files: P(y = 1 | the readings of the
modalities that this patient has). Given some readings, L is Normal, with the mean and variance of Gaussian
conditioning; the sigmoid is integrated over it by Gauss-Hermite quadrature, and over the interval that a note leaves
open by Gauss-Legendre quadrature. A modality is absent completely at random, so that absence itself says nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MODALITIES = ("record", "vitals", "labs", "xray", "notes", "sound")
RHO = 0.45  # weight of the shared severity in a factor: two factors correlate by 0.2
WEIGHTS = np.array([0.70, 1.05, 1.05, 1.30, 1.05, 1.20])  # w_m, in the order of MODALITIES
TAU = np.array([0.20, 0.20, 0.20, 0.20, 0.20, 0.20])  # standard deviation of a reading about its factor
INTERCEPT = -3.169  # b: makes 22 % of the patients deteriorate
PRESENT = np.array([1.0, 1.0, 1.0, 2 / 3, 4 / 5, 1 / 2])  # the share of patients who have the modality
NOTES = MODALITIES.index("notes")
NOTE_POINTS = 14  # a note shows 0 to 14 points
NOTE_STEP = 0.32  # of the reading, from one point to the next


@dataclass(frozen=True)
class Latent:
    """What is true of each patient. Arrays over N patients, and over the 6 MODALITIES where they have two axes."""

    severity: Floats
    factors: Floats
    readings: Floats
    has: Flags
    risk: Floats
    attainable_risk: Floats
    outcome: Flags

    @property
    def note_points(self) -> npt.NDArray[np.int64]:
        """The level that each note shows, from 0 to NOTE_POINTS."""
        return np.rint(self.readings[:, NOTES] / NOTE_STEP + NOTE_POINTS / 2).astype(np.int64)


def draw_latent(patients: int, seed: int) -> Latent:
    """Draw the truth of `patients` patients. The first ones are the same however many are asked for."""
    count = len(MODALITIES)
    normal = np.random.default_rng([seed, 1]).standard_normal((patients, 1 + 2 * count))
    uniform = np.random.default_rng([seed, 2]).random((patients, 1 + count))
    severity = normal[:, 0]
    factors = RHO * severity[:, None] + np.sqrt(1 - RHO**2) * normal[:, 1 : 1 + count]
    readings = factors + TAU * normal[:, 1 + count :]
    points = np.clip(np.rint(readings[:, NOTES] / NOTE_STEP + NOTE_POINTS / 2), 0, NOTE_POINTS)
    readings[:, NOTES] = (points - NOTE_POINTS / 2) * NOTE_STEP
    has = uniform[:, 1:] < PRESENT
    risk = expit(INTERCEPT + factors @ WEIGHTS)
    return Latent(severity, factors, readings, has, risk, attainable_risk(readings, has), uniform[:, 0] < risk)


def attainable_risk(readings: Floats, has: Flags) -> Floats:
    """P(outcome | the readings that are there), for `readings` (N, 6) and `has` (N, 6). Returns (N,)."""
    risk = np.empty(len(readings))
    patterns, which = np.unique(has, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows = which.ravel() == number
        risk[rows] = _risk_of_pattern(readings[rows], pattern)
    return risk


def without_modalities(has: Flags, names: Iterable[str]) -> Flags:
    """The same presence, with the named modalities absent everywhere."""
    return has & ~np.isin(MODALITIES, list(names))


def _risk_of_pattern(readings: Floats, pattern: Flags) -> Floats:
    """The attainable risk of patients who all have the same modalities."""
    exact = np.flatnonzero(pattern & (np.arange(len(MODALITIES)) != NOTES))
    if not pattern[NOTES]:
        mean, variance = _logit_given(readings, exact)
        return _expected_sigmoid(mean, variance)
    note_mean, note_variance = _note_given(readings, exact)
    low, high = _note_interval(readings[:, NOTES])
    spread = np.sqrt(note_variance)
    from_low, to_high = ndtr((low - note_mean) / spread), ndtr((high - note_mean) / spread)
    total = np.zeros(len(readings))
    mass = np.zeros(len(readings))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    # An outermost level is open to infinity; 6 standard deviations are as good.
    low, high = np.maximum(low, note_mean - 6 * spread), np.minimum(high, note_mean + 6 * spread)
    certain = to_high - from_low < 1e-12  # a note so far from all else that its interval holds no mass: take its edge
    for node, weight in zip(nodes, weights, strict=True):
        value = np.where(certain, readings[:, NOTES], (low + high) / 2 + (high - low) / 2 * node)
        density = np.where(certain, 1.0, np.exp(-0.5 * ((value - note_mean) / spread) ** 2)) * weight
        filled = readings.copy()
        filled[:, NOTES] = value
        mean, variance = _logit_given(filled, np.flatnonzero(pattern))
        total += density * _expected_sigmoid(mean, variance)
        mass += density
    return total / mass


def _covariances() -> tuple[Floats, Floats]:
    """The covariance of the factors, and that of the readings, each (6, 6)."""
    factors = (1 - RHO**2) * np.eye(len(MODALITIES)) + RHO**2
    return factors, factors + np.diag(TAU**2)


def _logit_given(readings: Floats, at: npt.NDArray[np.int64]) -> tuple[Floats, float]:
    """The mean (N,) and the variance of the logit, given the readings in columns `at`."""
    factors, observed = _covariances()
    share = np.linalg.solve(observed[np.ix_(at, at)], factors[at] @ WEIGHTS)
    variance = WEIGHTS @ factors @ WEIGHTS - share @ factors[at] @ WEIGHTS
    mean: Floats = INTERCEPT + readings[:, at] @ share
    return mean, float(variance)


def _note_given(readings: Floats, at: npt.NDArray[np.int64]) -> tuple[Floats, float]:
    """The mean (N,) and the variance of the notes' reading before quantisation, given those in columns `at`."""
    _, observed = _covariances()
    share = np.linalg.solve(observed[np.ix_(at, at)], observed[at, NOTES])
    mean: Floats = readings[:, at] @ share
    return mean, float(observed[NOTES, NOTES] - share @ observed[at, NOTES])


def _note_interval(readings: Floats) -> tuple[Floats, Floats]:
    """Between which values the notes' reading lay before it was quantised, each (N,)."""
    edge = (NOTE_POINTS / 2 - 0.25) * NOTE_STEP
    low = np.where(readings < -edge, -np.inf, readings - NOTE_STEP / 2)
    high = np.where(readings > edge, np.inf, readings + NOTE_STEP / 2)
    return low, high


def _expected_sigmoid(mean: Floats, variance: float) -> Floats:
    """The mean of 1 / (1 + exp(-L)) for L ~ Normal(mean (N,), variance)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(96)
    values: Any = expit(mean[:, None] + np.sqrt(variance) * nodes)
    result: Floats = values @ (weights / weights.sum())
    return result
