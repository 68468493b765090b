"""Subgroups: whether a model is as good, as calibrated and as useful for one group of cases as for the others.

A group is compared with all other cases, its complement, on the same resamples of whole subjects. Sensitivity and PPV
are at one threshold for everybody: that at which 10 % of all cases raise an alert. Nothing is corrected for the number
of groups: of twenty differences, one excludes 0 by chance.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from ingest.cohort import Cohort, presence_pattern
from ingest.task import Feature, TableStream
from models.evaluate.alerts import flagged_share
from models.evaluate.bootstrap import Resamples, Sampled, sampled
from models.evaluate.estimates import FEWEST_OF_A_CLASS, plain, reason_of, spread, too_few
from models.evaluate.metrics import (
    EvaluationError,
    Measure,
    UndefinedError,
    auroc,
    calibration_intercept,
    calibration_slope,
    reason_undefined,
)
from models.evaluate.results import Estimate, SubgroupResult

SubgroupMeasure = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# (target (N,), risk (N,), weights (R, N), here (N,) bool: the cases of the group) -> (R,)

ALERT_BUDGET = 0.1
UNKNOWN = "not known"
AGE_EDGES = (40, 65, 80)
AGE_BANDS = ("under 40", "40 to 64", "65 to 79", "80 and over")
FEWEST_LEVELS, MOST_LEVELS = 2, 12
PATTERNS = "streams present"
FEWEST_RESAMPLES, MOST_CELLS = 400, 2_000_000  # resamples x cases


def subgroup_results(
    groupings: Mapping[str, np.ndarray], target: np.ndarray, risk: np.ndarray, resamples: Resamples
) -> tuple[SubgroupResult, ...]:
    """Every group of every grouping, the largest first. groupings: name -> the group of each case (N,).

    target (N,) 0 or 1, risk (N,), resamples of these cases. A grouping of one group is left out: there is no rest.
    """
    results = []
    fewer = fewer_for(resamples)
    for name, given in groupings.items():
        labels = np.asarray(given, str)
        if labels.shape != target.shape:
            raise EvaluationError(f"grouping {name!r}: expected one group for each of {len(target)} cases, "
                                  f"got {labels.shape}")  # fmt: skip
        groups, counts = np.unique(labels, return_counts=True)
        if len(groups) < 2:
            continue
        results += [
            _result(name, str(group), labels == group, target, risk, fewer)
            for group in groups[np.argsort(-counts, kind="stable")]
        ]
    return tuple(results)


def fewer_for(resamples: Resamples) -> Resamples:
    """The first of the resamples, so many that dozens of groups of a large cohort are done in a minute."""
    enough = max(FEWEST_RESAMPLES, MOST_CELLS // len(resamples.group))
    return replace(resamples, counts=resamples.counts[:enough])


def cohort_groupings(cohort: Cohort, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The groupings that a cohort has by itself, for the cases at these positions: name -> group (N,).

    Every categorical feature of a table stream with 2 to 12 levels, age in bands (a derived age, or a feature of that
    name, in years), and which streams are present. A case for which the feature was not observed is "not known".
    """
    groupings: dict[str, np.ndarray] = {}
    for stream, spec in cohort.task.streams.items():
        if not isinstance(spec, TableStream):
            continue
        levels = cohort.statistics.streams[stream].levels
        wanted = [f.name for f in spec.features if _is_age(f) or _few_levels(levels.get(f.name))]
        if not wanted:
            continue
        values, observed = _table(cohort, stream, rows)
        for place, feature in enumerate(spec.features):
            if feature.name not in wanted:
                continue
            said = np.asarray(levels.get(feature.name, AGE_BANDS))
            number = values[:, place]
            position = number.astype(int) if feature.name in levels else np.digitize(number, AGE_EDGES)
            known = observed[:, place] & (position < len(said))
            name = feature.name if feature.name not in groupings else f"{stream}: {feature.name}"
            groupings[name] = np.where(known, said[np.where(known, position, 0)], UNKNOWN)
    patterns = np.asarray(presence_pattern(cohort.present[rows], cohort.stream_names), str)
    return {**groupings, PATTERNS: _commonest(patterns)}


def _table(cohort: Cohort, stream: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """values and observed (N, F); a case without the stream has nothing observed."""
    read = cohort.batch(rows, [stream]).streams[stream]
    return read.values.numpy(), read.observed.numpy()


def _is_age(feature: Feature) -> bool:
    named = feature.name.strip().lower() == "age" and feature.levels is None and feature.unit in (None, "", "a")
    return feature.derive == "age" or named


def _few_levels(levels: tuple[str, ...] | None) -> bool:
    return levels is not None and FEWEST_LEVELS <= len(levels) <= MOST_LEVELS


def _commonest(labels: np.ndarray) -> np.ndarray:
    """The most frequent labels as they are, the rest together."""
    names, counts = np.unique(labels, return_counts=True)
    rare = names[np.argsort(-counts, kind="stable")[MOST_LEVELS - 1 :]]
    if len(rare) < 2:
        return labels
    return np.where(np.isin(labels, rare), f"{len(rare)} rarer patterns", labels)


def _result(
    grouping: str, group: str, here: np.ndarray, target: np.ndarray, risk: np.ndarray, resamples: Resamples
) -> SubgroupResult:
    n, events = int(here.sum()), int(target[here].sum())
    subjects = len(np.unique(resamples.group[here]))
    result = partial(SubgroupResult, grouping, group, n, events, subjects)
    if reason := too_few(events, n):
        return result({}, {}, reason)
    rest_reason = too_few(int(target[~here].sum()), len(here) - n)
    flagged = flagged_share(risk, np.ones((1, len(risk))), ALERT_BUDGET)[0]
    metrics, differences = {}, {}
    for name, measure in SUBGROUP_METRICS.items():
        needs_alerts = name == "positive_predictive_value"
        if needs_alerts and (few := _few_alerts(flagged[here])):
            metrics[name] = differences[name] = Estimate(None, reason=few)
            continue
        own = _sampled(measure, target, risk, here, resamples)
        metrics[name] = _plain(own, name, target[here], risk[here])
        if why := rest_reason or (_few_alerts(flagged[~here]) if needs_alerts else ""):
            differences[name] = Estimate(None, reason=f"{why} in the rest")
            continue
        rest = _sampled(measure, target, risk, ~here, resamples)
        if name in SHARES and {own.value, rest.value} & {0.0, 1.0}:  # at its end a share hardly varies in resamples
            differences[name] = Estimate(own.value - rest.value, reason="one is all or none")
        else:
            differences[name] = _plain(own.minus(rest), name, target, risk)
    return result(metrics, differences)


def _sampled(
    measure: SubgroupMeasure, target: np.ndarray, risk: np.ndarray, here: np.ndarray, resamples: Resamples
) -> Sampled:
    return sampled(lambda weights: measure(target, risk, weights, here), resamples)


def _few_alerts(flagged: np.ndarray) -> str:
    alerts = round(float(flagged.sum()))
    return f"too few: {alerts} alert{'' if alerts == 1 else 's'}" if alerts < FEWEST_OF_A_CLASS else ""


def _plain(found: Sampled, name: str, target: np.ndarray, risk: np.ndarray) -> Estimate:
    try:
        return spread(plain(found.interval(name, reason_undefined(target, risk))))
    except UndefinedError as error:
        return Estimate(None, reason=reason_of(error))


def _within(measure: Measure) -> SubgroupMeasure:
    """The measure among the cases of the group; no value in a resample that has one class of them only."""

    def within(target: np.ndarray, risk: np.ndarray, weights: np.ndarray, here: np.ndarray) -> np.ndarray:
        y, w = target[here], weights[:, here]
        both = (w @ y > 0) & (w @ (1 - y) > 0)
        return np.where(both, measure(y, risk[here], w), np.nan)

    return within


def _sensitivity(target: np.ndarray, risk: np.ndarray, weights: np.ndarray, here: np.ndarray) -> np.ndarray:
    flagged = weights * flagged_share(risk, weights, ALERT_BUDGET)
    return _divide(flagged @ (target * here), weights @ (target * here))


def _positive_predictive_value(
    target: np.ndarray, risk: np.ndarray, weights: np.ndarray, here: np.ndarray
) -> np.ndarray:
    flagged = weights * flagged_share(risk, weights, ALERT_BUDGET)
    return _divide(flagged @ (target * here), flagged @ here)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))


SUBGROUP_METRICS: dict[str, SubgroupMeasure] = {
    "auroc": _within(auroc),
    "calibration_slope": _within(calibration_slope),
    "calibration_intercept": _within(calibration_intercept),
    "sensitivity": _sensitivity,
    "positive_predictive_value": _positive_predictive_value,
}
SHARES = ("sensitivity", "positive_predictive_value")
