"""From measures to estimates: a number with its interval, or none with the reason."""

import numpy as np

from models.evaluate.bootstrap import (
    Interval,
    Resamples,
    Statistic,
    basic_interval,
    bootstrap_interval,
    sampled,
)
from models.evaluate.calibration_curve import calibration_error, ece
from models.evaluate.metrics import Measure, UndefinedError
from models.evaluate.results import Estimate

FEWEST_OF_A_CLASS = 5  # events, and non-events, for a group of cases to have measures of its own
NO_SPREAD = "same in all resamples"
INFLATED_BY_NOISE = (calibration_error, ece)


def estimate(function: Measure, target: np.ndarray, risk: np.ndarray, resamples: Resamples) -> Estimate:
    """A measure of a risk against an outcome of 0 or 1."""
    try:
        interval = basic_interval if function in INFLATED_BY_NOISE else bootstrap_interval
        return plain(interval(function, target, risk, resamples))
    except UndefinedError as error:
        return Estimate(None, reason=reason_of(error))


def estimate_of(
    statistic: Statistic,
    resamples: Resamples,
    name: str,
    *,
    why: str = "too few cases",
    inflated: bool = False,
) -> Estimate:
    """Any statistic of weights. inflated: it is 0 at best and noise makes it larger, as a calibration error."""
    found = sampled(statistic, resamples)
    try:
        return plain(found.basic_interval(name, why) if inflated else found.interval(name, why))
    except UndefinedError as error:
        return Estimate(None, reason=reason_of(error))


def plain(interval: Interval) -> Estimate:
    """An interval as a result."""
    return Estimate(interval.value, interval.low, interval.high)


def spread(found: Estimate) -> Estimate:
    """The estimate without its interval where that has no width: what is the same in all resamples is not certain."""
    return found if found.low != found.high or found.low is None else Estimate(found.value, reason=NO_SPREAD)


def reason_of(error: UndefinedError) -> str:
    """Why there is no value, without the name of the measure."""
    return str(error).partition("; ")[2] or str(error)


def too_few(events: float, n: int) -> str:
    """Why a group of cases has no measures of its own; empty where it has."""
    if events < FEWEST_OF_A_CLASS:
        return f"too few: {int(events)} event{'' if events == 1 else 's'}"
    if n - events < FEWEST_OF_A_CLASS:
        return f"too few: {int(n - events)} without the event"
    return ""


def words(name: str) -> str:
    """The name of a measure as words."""
    return {"auroc": "AUROC", "auprc": "AUPRC", "ece": "ECE", "brier": "Brier score"}.get(name, name.replace("_", " "))
