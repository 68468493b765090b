"""Measures of a risk against an outcome, each computed for many resamples at once.

Every measure here is a function `(target, risk, weights) -> (R,)`: target and risk (N,), weights (R, N) how often each
case occurs in each of R resamples. A bootstrap of 1,000 resamples is then a few matrix operations, and the plain
measure is the same code with one row of ones. A resample for which a measure is undefined gives NaN here; the public
`measure` never returns NaN but raises OneClassError or UndefinedError.
"""

from collections.abc import Callable

import numpy as np

from ingest.errors import TelltaleError
from models.evaluate.logistic import fit_logistic

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
SMALLEST_RISK = 1e-6  # risks are kept this far from 0 and 1 wherever a logarithm is taken


class EvaluationError(TelltaleError):
    """A measure was asked for that these cases cannot give."""


class OneClassError(EvaluationError):
    """All cases have the same outcome, so that nothing can be told apart."""


class UndefinedError(EvaluationError):
    """The measure has no finite value for these risks."""


def measure(function: Measure, target: np.ndarray, risk: np.ndarray, where: str = "") -> float:
    """One measure of all cases, as a finite number. `where` names the cases in errors, such as "of the test split"."""
    check_outcomes(target, where)
    check_risk(risk, len(target))
    value = float(function(np.asarray(target, float), np.asarray(risk, float), np.ones((1, len(target))))[0])
    if not np.isfinite(value):
        raise UndefinedError(f"{function.__name__}: no finite value; {reason_undefined(target, risk)}")
    return value


def check_outcomes(target: np.ndarray, where: str = "") -> None:
    """Raise where the outcomes are not all 0 or 1, or all the same."""
    target = np.asarray(target)
    if not np.isin(target, (0, 1)).all():
        unknown = int((~np.isin(target, (0, 1))).sum())
        raise EvaluationError(f"evaluation needs outcomes of 0 or 1: {unknown} of {len(target)} cases have another")
    events = int(target.sum())
    if events in (0, len(target)):
        raise OneClassError(f"evaluation needs both classes: {events} events in {len(target)} cases {where}".rstrip())


def check_risk(risk: np.ndarray, cases: int) -> None:
    """Raise where a risk is not a number from 0 to 1, or where there is not one for each case."""
    risk = np.asarray(risk)
    if risk.shape != (cases,):
        raise EvaluationError(f"evaluation needs one risk for each case: expected ({cases},), got {risk.shape}")
    bad = ~((risk >= 0) & (risk <= 1))
    if bad.any():
        raise EvaluationError(f"evaluation needs risks from 0 to 1: {int(bad.sum())} of {cases} are not")


def reason_undefined(target: np.ndarray, risk: np.ndarray) -> str:
    """Why a measure that describes a slope has no value for these cases."""
    if np.ptp(risk) == 0:
        return "all cases have the same risk"
    if risk[target == 1].min() >= risk[target == 0].max():
        return "the risk separates the outcomes completely"
    return "too few cases"


def auroc(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The area under the ROC curve: how often an event has the higher risk of a pair, ties counting half.

    The Mann-Whitney statistic over (events x non-events): Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    order = np.argsort(risk, kind="stable")
    positive = (weights * target)[:, order]
    negative = (weights * (1 - target))[:, order]
    first, last = _tie_bounds(risk[order])
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(negative, 1)], 1)
    lower = (below[:, first] + below[:, last + 1]) / 2
    return _divide((positive * lower).sum(1), positive.sum(1) * negative.sum(1))


def auprc(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: precision at each distinct risk, weighted by the recall gained there (no interpolation)."""
    order = np.argsort(-risk, kind="stable")
    positive = np.cumsum((weights * target)[:, order], 1)
    chosen = np.cumsum(weights[:, order], 1)
    last = np.unique(_tie_bounds(risk[order])[1])
    found, flagged = positive[:, last], chosen[:, last]
    gained = np.diff(found, axis=1, prepend=0)
    precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
    return _divide((gained * precision).sum(1), positive[:, -1])


def brier(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean squared difference of risk and outcome (Brier 1950)."""
    return _mean((risk - target) ** 2, weights)


def log_loss(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean negative log-likelihood, in nats."""
    kept = np.clip(risk, SMALLEST_RISK, 1 - SMALLEST_RISK)
    return _mean(-(target * np.log(kept) + (1 - target) * np.log1p(-kept)), weights)


def calibration_slope(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The slope b of logit P(event) = a + b logit(risk): 1 is ideal, below 1 the risks are too extreme.

    Cox 1958, doi:10.1093/biomet/45.3-4.562. Undefined where the risk is constant or separates the outcomes.
    """
    x = logit(risk)
    if np.ptp(x) == 0:
        return np.full(len(weights), np.nan)
    centre = x.mean()
    fit = fit_logistic(np.stack([np.ones_like(x), x - centre], 1), target, weights)
    return np.where(auroc(target, risk, weights) < 1, fit[:, 1], np.nan)


def calibration_intercept(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Calibration in the large: a of logit P(event) = a + logit(risk), slope held at 1. 0 is ideal, above 0 the risks
    are too low (Cox 1958; Van Calster et al. 2016, doi:10.1016/j.jclinepi.2015.12.005)."""
    return fit_logistic(np.ones((len(risk), 1)), target, weights, offset=logit(risk))[:, 0]


def logit(risk: np.ndarray) -> np.ndarray:
    """The log-odds of a risk, finite for 0 and 1 too."""
    kept = np.clip(risk, SMALLEST_RISK, 1 - SMALLEST_RISK)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def net_benefit(target: np.ndarray, risk: np.ndarray, weights: np.ndarray, threshold: float) -> np.ndarray:
    """True positives less false positives at the odds of the threshold, per case.

    Vickers & Elkin 2006, doi:10.1177/0272989X06295361. A case counts as flagged where its risk >= threshold.
    """
    flagged = risk >= threshold
    return _mean(flagged * (target - (1 - target) * threshold / (1 - threshold)), weights)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((weights @ values) / weights.sum(1))


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))


def _tie_bounds(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each position of an ordered array, the first and the last position that holds the same value."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(ordered)) - 1
    group = np.cumsum(np.concatenate([[0], (ordered[1:] != ordered[:-1]).astype(int)]))
    return starts[group], ends[group]
