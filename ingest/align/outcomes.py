"""What came of each case: the numbers that state an outcome of any kind, and whether the risk event happened."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.align.events import HOUR_US, STATIC, TIMELESS, Cases, Events, Seen, owned
from ingest.align.feature import build_column, reduce_runs, run_starts
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.target import (
    BinaryTarget,
    ClassesTarget,
    LabelsTarget,
    RegressionTarget,
    SurvivalTarget,
)
from ingest.task import Feature, Task

UNIT_HOURS = {"h": 1.0, "d": 24.0, "wk": 168.0, "mo": 730.5, "a": 8766.0}  # UCUM's mean month and Julian year


@dataclass(frozen=True)
class Outcomes:
    """Of C cases. values (C, K), the columns of the target, NaN where unknown; event (C,): 1, 0 or NaN, the risk event.

    contradicted (C,) bool: what is stated of the case disagrees with itself.
    """

    values: np.ndarray
    event: np.ndarray
    contradicted: np.ndarray


def outcomes(task: Task, events: Events, cases: Cases, vocabulary: Vocabulary = EMPTY) -> Outcomes:
    """The outcomes of all targets side by side; what is known, and the risk event, are those of the first."""
    first, *others = (OUTCOMES[target.kind](target, events, cases, vocabulary) for target in task.targets.values())
    values = np.concatenate([first.values, *(other.values for other in others)], 1)
    return Outcomes(values.astype(np.float32), first.event.astype(np.float32), first.contradicted)


def outcome_codes(task: Task) -> set[str]:
    """Every code that states an outcome of the task."""
    return set().union(*(target.codes for target in task.targets.values()))


def _binary(target: BinaryTarget, events: Events, cases: Cases, _vocabulary: Vocabulary) -> Outcomes:
    if target.events:
        pairs = _ahead(events.select(target.events), cases, target.horizon_hours)
        event = np.zeros(len(cases))
        event[pairs.case] = 1
        return Outcomes(event[:, None], event, np.zeros(len(cases), bool))
    place, contradicted = _said(
        events.select(target.codes), cases, [target.negative, target.positive], target.horizon_hours
    )
    return Outcomes(place[:, None], place, contradicted)


def _classes(target: ClassesTarget, events: Events, cases: Cases, _vocabulary: Vocabulary) -> Outcomes:
    meanings = list(target.classes.values())
    if target.label is not None:
        place, contradicted = _said(events.select(target.codes), cases, meanings, target.horizon_hours)
    else:
        place, contradicted = _came(target, events, cases), np.zeros(len(cases), bool)
    risky = [position for position, name in enumerate(target.classes) if name in target.risk]
    event = np.where(np.isnan(place), np.nan, np.isin(place, risky))
    return Outcomes(place[:, None], event, contradicted)


def _came(target: ClassesTarget, events: Events, cases: Cases) -> np.ndarray:
    """(C,) the position of the first class that came, of an ordinal the highest; where none did, that without codes."""
    soonest = _soonest(target.classes.values(), events, cases, target.horizon_hours)
    came = np.isfinite(soonest)
    highest = came.shape[1] - 1 - came[:, ::-1].argmax(1)
    place = soonest.argmin(1) if target.kind == "multiclass" else highest
    nothing = next((float(p) for p, codes in enumerate(target.classes.values()) if not codes), np.nan)
    return np.where(came.any(1), place, nothing)


def _labels(target: LabelsTarget, events: Events, cases: Cases, vocabulary: Vocabulary) -> Outcomes:
    each = [_binary(label, events, cases, vocabulary) for label in target.labels.values()]
    values = np.concatenate([one.values for one in each], 1)
    nothing = np.isnan(values).all(1)
    contradicted = nothing & np.any([one.contradicted for one in each], 0)
    return Outcomes(values, each[list(target.labels).index(target.risk)].event, contradicted)


def _regression(target: RegressionTarget, events: Events, cases: Cases, vocabulary: Vocabulary) -> Outcomes:
    value = _number(target.value, target.unit, target.reduce, events, cases, target.horizon_hours, vocabulary)
    event = np.where(np.isnan(value), np.nan, value > target.above)
    return Outcomes(value[:, None], event, np.zeros(len(cases), bool))


def _survival(target: SurvivalTarget, events: Events, cases: Cases, vocabulary: Vocabulary) -> Outcomes:
    if target.duration is not None:
        stated = _number(target.duration, target.duration_unit, "last", events, cases, None, vocabulary)
        hours = stated * UNIT_HOURS[target.duration_unit]
        said = [target.censored, *target.causes.values()]
        cause, contradicted = _said(events.select((str(target.label),)), cases, said, None)
        hours = np.where(hours >= 0, hours, np.nan)
    else:
        hours, cause = _first_cause(target, events, cases)
        contradicted = np.zeros(len(cases), bool)
    known = ~np.isnan(hours) & ~np.isnan(cause)
    hours, cause = np.where(known, hours, np.nan), np.where(known, cause, np.nan)
    # To the microsecond: an event at the horizon itself is within it, whatever the division by hours has rounded.
    beyond = np.rint(hours * HOUR_US) - round(target.horizon_hours * HOUR_US)
    event = (cause == target.risk_cause) & (beyond <= 0)
    seen_through = (cause > 0) | (beyond >= 0)
    return Outcomes(np.stack([hours, cause], 1), np.where(known & seen_through, event, np.nan), contradicted)


def _first_cause(target: SurvivalTarget, events: Events, cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    """(hours to the first event of any cause, and which) or (hours of follow-up, 0); NaN where there is neither.

    Of several causes at one moment the one that the task names first counts.
    """
    watched = events.select(target.follow_up)
    pairs = _ahead(watched, cases, None)
    hours = np.full(len(cases), np.nan)
    np.fmax.at(hours, pairs.case, _hours(pairs, watched, cases))
    soonest = _soonest(target.causes.values(), events, cases, None)
    came = np.isfinite(soonest).any(1)
    cause = np.where(came, soonest.argmin(1) + 1.0, np.where(np.isnan(hours), np.nan, 0.0))
    return np.where(came, soonest.min(1), hours), cause


def _soonest(
    groups: Iterable[tuple[str, ...]], events: Events, cases: Cases, horizon_hours: float | None
) -> np.ndarray:
    """(C, G) hours to the first event of each group of codes that is ahead, infinity where none is."""
    found = []
    for codes in groups:
        mine = events.select(codes)
        pairs = _ahead(mine, cases, horizon_hours)
        soonest = np.full(len(cases), np.inf)
        np.minimum.at(soonest, pairs.case, _hours(pairs, mine, cases))
        found.append(soonest)
    return np.stack(found, 1)


def _hours(pairs: Seen, events: Events, cases: Cases) -> np.ndarray:
    """(P,) float64: hours from the index time to the event, of pairs that have both."""
    return np.asarray((events.time[pairs.event] - cases.index_time[pairs.case]) / HOUR_US)


def _number(
    code: str,
    unit: str | None,
    reduce: str,
    events: Events,
    cases: Cases,
    horizon_hours: float | None,
    vocabulary: Vocabulary,
) -> np.ndarray:
    """(C,) one number per case in `unit`, NaN where there is none that counts."""
    column = build_column(Feature(name="outcome", codes=(code,), unit=unit), events, vocabulary)
    # What has no time may be an input too: within a horizon it states nothing.
    ahead = _stated if horizon_hours is None else _ahead
    pairs = ahead(column.events, cases, horizon_hours)
    pairs = pairs.where(column.reason[pairs.event] == 0)
    starts = run_starts(pairs.case) if len(pairs.case) else np.zeros(0, np.int64)
    value = np.full(len(cases), np.nan)
    value[pairs.case[starts]] = reduce_runs(reduce, column.value[pairs.event], starts)
    return value


def _said(
    events: Events, cases: Cases, meanings: "list[tuple[str, ...]]", horizon_hours: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(C,) the position of what a label says, NaN where that is nothing or two things; (C,) bool, where it is two."""
    pairs = _stated(events, cases, horizon_hours)
    texts = events.texts()
    said = np.zeros((len(cases), len(meanings)), bool)
    for position, values in enumerate(meanings):
        said[pairs.case[texts.isin(values).to_numpy()[pairs.event]], position] = True
    place = np.where(said.sum(1) == 1, said.argmax(1), np.nan)
    return place, said.sum(1) > 1


def _stated(events: Events, cases: Cases, horizon_hours: float | None) -> Seen:
    """What is ahead of the index time, or has no time."""
    pairs = owned(events, cases)
    timeless = (events.time[pairs.event] == STATIC) | (cases.index_time[pairs.case] == TIMELESS)
    return pairs.where(timeless | _is_ahead(pairs, events, cases, horizon_hours))


def _ahead(events: Events, cases: Cases, horizon_hours: float | None) -> Seen:
    """What is in (index, index + horizon]."""
    pairs = owned(events, cases)
    return pairs.where(_is_ahead(pairs, events, cases, horizon_hours))


def _is_ahead(pairs: Seen, events: Events, cases: Cases, horizon_hours: float | None) -> np.ndarray:
    time, index = events.time[pairs.event], cases.index_time[pairs.case]
    ahead = (time != STATIC) & (time > index)
    if horizon_hours is not None:
        ahead &= time - np.where(ahead, index, time) <= round(horizon_hours * HOUR_US)
    return np.asarray(ahead)


# kind -> (target, events of its codes, cases, vocabulary) -> outcomes
OUTCOMES: dict[str, Callable[[Any, Events, Cases, Vocabulary], Outcomes]] = {
    "binary": _binary,
    "multiclass": _classes,
    "ordinal": _classes,
    "multilabel": _labels,
    "regression": _regression,
    "survival": _survival,
}
