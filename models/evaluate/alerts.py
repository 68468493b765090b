"""Alerts: what a limited number of them finds, and how many of them are right.

A budget is the share of cases that may raise an alert. The riskiest are flagged, floor(budget x cases) of them; where
the last ones have the same risk as others that are not flagged, a random choice among those is meant, and its expected
value counts. The budget is spent anew in each resample, so an interval holds the uncertainty of the threshold too.
The number needed to evaluate (Romero-Brufau et al. 2015, doi:10.1186/s13054-015-0999-1) is 1 / PPV.
"""

from dataclasses import dataclass

import numpy as np

from models.evaluate.bootstrap import Resamples
from models.evaluate.estimates import estimate, estimate_of, spread
from models.evaluate.metrics import EvaluationError, Measure, check_outcomes, check_risk
from models.evaluate.results import AlertPoint, Estimate

BUDGETS = (0.05, 0.1, 0.2)


def alert_points(target: np.ndarray, risk: np.ndarray, resamples: Resamples) -> tuple[AlertPoint, ...]:
    """What each of the usual budgets gives, with intervals."""
    return tuple(alert_point(budget, target, risk, resamples) for budget in BUDGETS)


def alert_point(budget: float, target: np.ndarray, risk: np.ndarray, resamples: Resamples) -> AlertPoint:
    """PPV, sensitivity and number needed to evaluate where this share of the cases is flagged."""
    check_budget(budget)
    alerts = int(np.floor(budget * len(risk) + 1e-9))
    if alerts == 0:
        none = Estimate(None, reason=f"a budget of less than one alert in {len(risk)} cases")
        return AlertPoint(budget, 0, None, none, none, none)
    right = spread(estimate(_at(budget, of="flagged"), target, risk, resamples))
    found = spread(estimate(_at(budget, of="events"), target, risk, resamples))
    threshold = float(np.sort(risk)[::-1][alerts - 1])
    return AlertPoint(budget, alerts, threshold, right, found, number_needed(right))


def daily_alerts(
    per_day: int, day: np.ndarray, target: np.ndarray, risk: np.ndarray, resamples: Resamples
) -> AlertPoint:
    """As `alert_point` where the riskiest of each day are flagged, at most `per_day`. day (N,) any label of it.

    The list of a day is what people saw, so it stays as it was in every resample.
    """
    if per_day < 1:
        raise EvaluationError(f"alerts per day: expected at least 1, got {per_day}")
    check_outcomes(target)
    check_risk(risk, len(target))
    day = np.asarray(day)
    flagged = np.zeros(len(risk))
    for each in np.unique(day):
        here = np.flatnonzero(day == each)
        flagged[here] = _riskiest(risk[here], np.ones((1, len(here))), np.array([float(per_day)]))[0]
    right = spread(estimate_of(lambda w: _share(w * flagged, target), resamples, "positive predictive value"))
    found = spread(estimate_of(lambda w: _share(w * target, flagged), resamples, "sensitivity"))
    alerts = round(float(flagged.sum()))
    return AlertPoint(alerts / len(risk), alerts, None, right, found, number_needed(right))


def budget_of(per_day: float, index_times: np.ndarray) -> float:
    """The budget that gives so many alerts a day on average. index_times (N,) datetime64 of the cases."""
    times = np.asarray(index_times).astype("datetime64[D]")
    if without := int(np.isnat(times).sum()):
        raise EvaluationError(f"alerts per day needs index times: {without} of {len(times)} cases have none")
    days = times.astype(np.int64)
    return check_budget(per_day * (int(days.max()) - int(days.min()) + 1) / len(days))


def check_budget(budget: float) -> float:
    """The budget itself, where it is a share of the cases."""
    if not 0 < budget <= 1:
        raise EvaluationError(f"alert budget: expected a share of the cases above 0 and at most 1, got {budget:g}")
    return budget


def flagged_share(risk: np.ndarray, weights: np.ndarray, budget: float) -> np.ndarray:
    """(R, N) how much of each case is flagged in each resample: 1 above the threshold, 0 below, between at it."""
    return _riskiest(risk, weights, np.floor(budget * weights.sum(1) + 1e-9))


def number_needed(right: Estimate) -> Estimate:
    """The number needed to evaluate for one that has the event, from a positive predictive value."""
    if right.value is None:
        return right
    if right.value == 0:
        return Estimate(None, reason="no alert is right")
    if right.low is None or right.high is None:
        return Estimate(1 / right.value, reason=right.reason)
    if right.low == 0:
        return Estimate(1 / right.value, reason="no upper bound: perhaps no alert is right")
    return Estimate(1 / right.value, 1 / right.high, 1 / right.low)


@dataclass(frozen=True)
class Threshold:
    """A threshold on the risk (at or above it a case is flagged) and the score that it was chosen for."""

    risk: float
    score: float


def choose_threshold(target: np.ndarray, risk: np.ndarray) -> Threshold:
    """The threshold with the highest `event_1_score` on these cases, which must not be those it is judged on.

    Of several, the highest: it raises the fewest alerts.
    """
    check_outcomes(target)
    check_risk(risk, len(target))
    order = np.argsort(-np.asarray(risk, float), kind="stable")
    ordered = np.asarray(risk, float)[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(np.asarray(target, float)[order])[last]
    scores = np.minimum(found / found[-1], found / (last + 1))
    best = int(np.argmax(scores))
    return Threshold(float(ordered[last[best]]), float(scores[best]))


def event_1_score(threshold: float) -> Measure:
    """Event 1 of the PhysioNet 2012 challenge: the smaller of sensitivity and PPV at a threshold.

    Silva et al. 2012, Computing in Cardiology 39:245-248. 0 where nothing is flagged.
    """

    def score(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        flagged = risk >= threshold
        larger = np.maximum(weights @ flagged, weights @ target)  # the larger denominator gives the smaller share
        return np.asarray(np.divide(weights @ (flagged * target), larger, out=np.zeros(len(larger)), where=larger > 0))

    score.__name__ = "event 1 score"
    return score


def _at(budget: float, *, of: str) -> Measure:
    def share(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        flagged = weights * flagged_share(risk, weights, budget)
        return _share(flagged, target) if of == "flagged" else _share_of_events(flagged, target, weights)

    share.__name__ = "positive predictive value" if of == "flagged" else "sensitivity"
    return share


def _share(weights: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The weighted mean of `part` (N,) in each resample."""
    whole = weights.sum(1)
    return np.asarray(np.divide(weights @ part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def _share_of_events(flagged: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    events = weights @ target
    return np.asarray(np.divide(flagged @ target, events, out=np.full(len(events), np.nan), where=events > 0))


def _riskiest(risk: np.ndarray, weights: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(R, N): the share of each case that is among the `allowed` (R,) riskiest, equal risks sharing what is left."""
    order = np.argsort(-risk, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(risk[order]) != 0]))
    size = np.add.reduceat(weights[:, order], starts, axis=1)
    left = allowed[:, None] - (np.cumsum(size, 1) - size)
    share = np.clip(np.divide(left, size, out=np.zeros_like(size), where=size > 0), 0, 1)
    run = np.cumsum(np.concatenate([[0], (np.diff(risk[order]) != 0).astype(int)]))
    place = np.empty(len(risk), np.int64)
    place[order] = run
    return np.asarray(share[:, place])
