"""Measures of a predicted time to an event that censoring hides and competing causes prevent.

duration_hours (N,): until the event or the censoring; cause (N,) int: 0 censored, 1 ... the event. An incidence is the
predicted probability that the event of one cause has happened by a time; survival is 1 less that of all causes. All
measures take weights (R, N), how often each case occurs in each resample, and give (R,), or NaN where they have no
value; with one row of ones they give the plain number. `survival_estimates` gives them all, with intervals.

Events come before censorings of the same time. So the probability of being seen until an event at t is G(t-), that of
being seen to survive t is G(t), where G is the Kaplan-Meier curve of the censoring, estimated anew in each resample.
Weighting by their inverse (IPCW: Robins & Rotnitzky 1992) makes up for cases whose state at a time nobody knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluate.bootstrap import Resamples, Statistic
from models.evaluate.estimates import estimate_of
from models.evaluate.metrics import EvaluationError, auroc
from models.evaluate.results import Estimate

PAIRS_AT_ONCE = 4_000_000  # pairs of cases worked on at a time


@dataclass(frozen=True)
class Steps:
    """Curves that change at hours (K,), to values (R, K); before the first of them they are at `start`."""

    hours: np.ndarray
    values: np.ndarray
    start: float

    def at(self, hours: np.ndarray) -> np.ndarray:
        """(R, A): the curves at these times, their changes at those times included."""
        return self._taken(np.searchsorted(self.hours, hours, side="right"))

    def just_before(self, hours: np.ndarray) -> np.ndarray:
        """(R, A): the curves at these times, their changes at those times left out."""
        return self._taken(np.searchsorted(self.hours, hours, side="left"))

    def _taken(self, position: np.ndarray) -> np.ndarray:
        first = np.full((len(self.values), 1), self.start)
        return np.asarray(np.concatenate([first, self.values], 1)[:, position])


def survival_estimates(
    duration_hours: np.ndarray,
    cause: np.ndarray,
    incidence: np.ndarray,
    hours: Sequence[float] | np.ndarray,
    resamples: Resamples,
    of_cause: int = 1,
) -> dict[str, Estimate]:
    """Every measure of one cause. incidence (N, T, causes): by each of `hours` (T,) that rise; the last is the horizon.

    The C statistics, AUROC and Brier score are of the incidence by the horizon. scaled_brier: 1 less its ratio to the
    Brier score of telling everybody the cumulative incidence of all (Kattan & Gerds 2018,
    doi:10.1186/s41512-018-0029-2): 0 for knowing nothing, 1 at best.
    """
    times = np.asarray(hours, float)
    check_survival(duration_hours, cause, incidence.shape[2])
    if incidence.shape[:2] != (len(cause), len(times)):
        raise EvaluationError(
            f"survival needs an incidence for each case and time: expected ({len(cause)}, {len(times)}, causes), "
            f"got {incidence.shape}"
        )
    case = (np.asarray(duration_hours, float), np.asarray(cause))
    mine = incidence[:, :, of_cause - 1]
    horizon, last = float(times[-1]), mine[:, -1]

    def scaled(weights: np.ndarray) -> np.ndarray:
        marginal = cumulative_incidence(*case, weights, of_cause).at(np.array([horizon]))
        happened, known = state_at(*case, weights, horizon, of_cause)
        nothing = (known * (marginal - happened) ** 2).sum(1) / weights.sum(1)
        return 1 - _divide(brier_at(*case, last, weights, horizon, of_cause), nothing, np.nan)

    statistics: dict[str, Statistic] = {
        "harrell_c": lambda w: harrell_c(*case, last, w, of_cause),
        "uno_c": lambda w: uno_c(*case, last, w, of_cause, horizon),
        "auroc": lambda w: auroc_at(*case, last, w, horizon, of_cause),
        "brier": lambda w: brier_at(*case, last, w, horizon, of_cause),
        "scaled_brier": scaled,
    }
    if len(times) > 1:
        statistics["integrated_brier"] = lambda w: integrated_brier(*case, mine, w, times, of_cause)
    why = "too few cases whose order, or whose state at that time, is known"
    return {name: estimate_of(statistic, resamples, name, why=why) for name, statistic in statistics.items()}


def check_survival(duration_hours: np.ndarray, cause: np.ndarray, causes: int | None = None) -> None:
    """Raise where a duration is not a number of 0 or more, or a cause not 0 (censored) or the number of a cause."""
    duration_hours, cause = np.asarray(duration_hours), np.asarray(cause)
    if duration_hours.ndim != 1 or duration_hours.shape != cause.shape:
        raise EvaluationError(
            f"survival needs one duration and one cause for each case: got {duration_hours.shape} and {cause.shape}"
        )
    if bad := int((~(np.isfinite(duration_hours) & (duration_hours >= 0))).sum()):
        raise EvaluationError(f"survival needs durations of 0 hours or more: {bad} of {len(cause)} are not")
    most = np.inf if causes is None else causes
    if bad := int((~((cause >= 0) & (cause <= most) & (cause == np.floor(cause)))).sum()):
        known = "1, 2, ..." if causes is None else f"1 to {causes}"
        raise EvaluationError(f"survival needs causes of 0 (censored) or {known}: {bad} of {len(cause)} are not")


def kaplan_meier(duration_hours: np.ndarray, cause: np.ndarray, weights: np.ndarray) -> Steps:
    """The probability that no event has happened, of any cause (Kaplan & Meier 1958, doi:10.2307/2281868)."""
    hours, at_risk, _, events = _counts(duration_hours, cause > 0, weights)
    return Steps(hours, np.cumprod(1 - _divide(events, at_risk, 0.0), axis=1), 1.0)


def censoring_distribution(duration_hours: np.ndarray, cause: np.ndarray, weights: np.ndarray) -> Steps:
    """G: the probability of not being censored yet; those with an event at a time are no longer at risk of it then."""
    hours, at_risk, total, events = _counts(duration_hours, cause > 0, weights)
    return Steps(hours, np.cumprod(1 - _divide(total - events, at_risk - events, 0.0), axis=1), 1.0)


def cumulative_incidence(
    duration_hours: np.ndarray, cause: np.ndarray, weights: np.ndarray, of_cause: int = 1
) -> Steps:
    """The probability that the event of one cause has happened, others competing (Aalen & Johansen 1978)."""
    hours, at_risk, _, events = _counts(duration_hours, cause > 0, weights)
    mine = _counts(duration_hours, cause == of_cause, weights)[3]
    survival = np.cumprod(1 - _divide(events, at_risk, 0.0), axis=1)
    before = np.concatenate([np.ones((len(weights), 1)), survival[:, :-1]], 1)
    return Steps(hours, np.cumsum(before * _divide(mine, at_risk, 0.0), axis=1), 0.0)


def harrell_c(
    duration_hours: np.ndarray, cause: np.ndarray, risk: np.ndarray, weights: np.ndarray, of_cause: int = 1
) -> np.ndarray:
    """How often, of two cases whose order is known, the earlier event has the higher risk, ties counting half.

    Harrell et al. 1982, doi:10.1001/jama.1982.03320430047030. A case with an event of another cause never has this
    one, so it counts as later than all (Wolbers et al. 2009, doi:10.1097/EDE.0b013e3181a39056). It depends on the
    censoring; `uno_c` does not.
    """
    ones = np.ones_like(weights)
    return _concordance(duration_hours, cause, risk, weights, ones, of_cause, np.inf)


def uno_c(
    duration_hours: np.ndarray,
    cause: np.ndarray,
    risk: np.ndarray,
    weights: np.ndarray,
    of_cause: int = 1,
    until_hours: float = np.inf,
) -> np.ndarray:
    """Harrell's C with pairs weighted by the inverse of the probability of having been seen, for events before
    until_hours: Uno et al. 2011, doi:10.1002/sim.4154; with competing causes Wolbers et al. 2014,
    doi:10.1093/biostatistics/kxt059."""
    seen = censoring_distribution(duration_hours, cause, weights).just_before(duration_hours)
    inverse = _divide(np.ones_like(seen), seen, 0.0)
    return _concordance(duration_hours, cause, risk, weights, inverse, of_cause, until_hours)


def state_at(
    duration_hours: np.ndarray, cause: np.ndarray, weights: np.ndarray, hours: float, of_cause: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """What is known at a time: happened (N,) 0 or 1, and weights (R, N) that make up for the cases of unknown state.

    With these, every measure of a binary outcome measures the incidence at that time. An event of another cause by
    then is a 0; a case censored by then weighs nothing.
    """
    over = (cause > 0) & (duration_hours <= hours)
    censoring = censoring_distribution(duration_hours, cause, weights)
    seen = np.where(over, censoring.just_before(duration_hours), censoring.at(np.array([hours])))
    known = over | (duration_hours > hours)
    return (over & (cause == of_cause)).astype(float), weights * _divide(np.broadcast_to(known, seen.shape), seen, 0.0)


def auroc_at(
    duration_hours: np.ndarray,
    cause: np.ndarray,
    risk: np.ndarray,
    weights: np.ndarray,
    hours: float,
    of_cause: int = 1,
) -> np.ndarray:
    """The cumulative/dynamic AUROC: those whose event has come by this time against all others, IPCW.

    Uno et al. 2007, doi:10.1198/016214507000000149; with competing causes the second definition of Blanche et al.
    2013, doi:10.1002/sim.5958, in which those who had another event are among the others.
    """
    happened, known = state_at(duration_hours, cause, weights, hours, of_cause)
    return auroc(happened, risk, known)


def brier_at(
    duration_hours: np.ndarray,
    cause: np.ndarray,
    incidence: np.ndarray,
    weights: np.ndarray,
    hours: float,
    of_cause: int = 1,
) -> np.ndarray:
    """The IPCW Brier score of an incidence (N,) at a time: Graf et al. 1999, per case.

    doi:10.1002/(SICI)1097-0258(19990915/30)18:17/18<2529::AID-SIM274>3.0.CO;2-5; with competing causes Schoop et al.
    2011, doi:10.1002/bimj.201000073.
    """
    happened, known = state_at(duration_hours, cause, weights, hours, of_cause)
    return np.asarray(known @ (incidence - happened) ** 2 / weights.sum(1))


def integrated_brier(
    duration_hours: np.ndarray,
    cause: np.ndarray,
    incidence: np.ndarray,
    weights: np.ndarray,
    hours: Sequence[float] | np.ndarray,
    of_cause: int = 1,
) -> np.ndarray:
    """The mean of `brier_at` from the first to the last of `hours` (T,), by trapezoids. incidence (N, T)."""
    times = np.asarray(hours, float)
    if len(times) < 2 or (np.diff(times) <= 0).any():
        raise EvaluationError(f"integrated Brier score: expected two or more times that rise, got {times.tolist()}")
    each = np.stack(
        [
            brier_at(duration_hours, cause, incidence[:, place], weights, float(time), of_cause)
            for place, time in enumerate(times)
        ],
        1,
    )
    return np.asarray(np.trapezoid(each, times, axis=1) / (times[-1] - times[0]))


def _counts(
    duration_hours: np.ndarray, event: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The distinct hours (K,); at each of them those at risk, those that end there, and those of them with an event."""
    order = np.argsort(duration_hours, kind="stable")
    hours, first = np.unique(duration_hours[order], return_index=True)
    ordered = weights[:, order]
    total = np.add.reduceat(ordered, first, axis=1)
    events = np.add.reduceat(ordered * event[order], first, axis=1)
    at_risk = np.cumsum(total[:, ::-1], axis=1)[:, ::-1]
    return hours, at_risk, total, events


def _concordance(
    duration_hours: np.ndarray,
    cause: np.ndarray,
    risk: np.ndarray,
    weights: np.ndarray,
    inverse: np.ndarray,
    of_cause: int,
    until_hours: float,
) -> np.ndarray:
    """Over pairs of an event i and a case j that is later (weight inverse_i^2) or had another event (inverse_i x
    inverse_j): the share in which i has the higher risk. inverse (R, N)."""
    of_events = np.flatnonzero((cause == of_cause) & (duration_hours < until_hours))
    competing = (cause > 0) & (cause != of_cause)
    above, whole = np.zeros(len(weights)), np.zeros(len(weights))
    for rows in np.array_split(of_events, max(1, len(of_events) * len(cause) // PAIRS_AT_ONCE + 1)):
        mine = duration_hours[rows, None]
        later = (duration_hours > mine) | ((duration_hours == mine) & (cause == 0))
        other = competing & (duration_hours <= mine)
        higher = (risk[rows, None] > risk) + 0.5 * (risk[rows, None] == risk)
        own = weights[:, rows] * inverse[:, rows]
        for pairs, first, second in ((later, own * inverse[:, rows], weights), (other, own, weights * inverse)):
            if pairs.any():
                above += ((first @ (pairs * higher)) * second).sum(1)
                whole += ((first @ pairs.astype(float)) * second).sum(1)
    return _divide(above, whole, np.nan)


def _divide(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.asarray(np.divide(above, below, out=np.full(shape, otherwise), where=below > 0))
