"""External validation: a model as it is, on all cases of another hospital, and how those cases differ from its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ingest.align.fit_statistics import Moments
from ingest.align.refit import blocks_of, with_levels
from ingest.cohort import Cohort, presence_pattern
from ingest.errors import ModelError
from ingest.statistics import StreamStatistics
from models.evaluate.evaluation import FUSED, evaluate
from models.evaluate.metrics import calibration_intercept, check_outcomes, logit
from models.evaluate.results import Evaluation
from models.features import with_frozen_features
from models.flat.boosting import train_gradient_boosting
from models.flat.linear import train_logistic_regression
from models.prediction import Predictor, expit
from models.score import check_fits, predict_rows

RECALIBRATED = "fused, intercept recalibrated"


@dataclass(frozen=True)
class Shift:
    """How one feature differs: over observed values (or, for a level, over the cases in which the feature is seen).

    smd: the standardised mean difference, here less there, by the root of the mean of both variances (Austin 2009,
    doi:10.1002/sim.3697); None where neither varies. seen: the share of the cases with the stream that have a value.
    """

    feature: str
    unit: str
    here: float | None
    trained: float
    smd: float | None
    seen: float
    seen_trained: float | None


@dataclass(frozen=True)
class Presence:
    """How many cases have exactly these streams; trained: the share among the training cases, where those are known."""

    pattern: str
    cases: int
    share: float
    trained: float | None


@dataclass(frozen=True)
class CaseMix:
    """Who is here and who the model was trained on. unknown_levels: feature -> values that the model does not know."""

    cases: int
    prevalence: float
    trained_cases: int
    trained_prevalence: float
    patterns: tuple[Presence, ...]
    shifts: tuple[Shift, ...]  # the largest difference first
    unknown_levels: Mapping[str, int]


@dataclass(frozen=True)
class External:
    """A model on another hospital's cases. observed_expected: events over the sum of the risks; intercept: what would
    have to be added to the log-odds, which is what the recalibrated model does (fitted on these same cases)."""

    source: str
    version: str
    evaluation: Evaluation
    case_mix: CaseMix
    observed_expected: float
    intercept: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON; never NaN."""
        raw: dict[str, Any] = TypeAdapter(External).dump_python(self, mode="json")
        return raw

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "External":
        """The inverse of `to_json`."""
        return TypeAdapter(External).validate_python(raw)


def evaluate_external(
    predictor: Predictor,
    cohort: Cohort,
    *,
    source: str,
    trained: Cohort | None = None,
    single: Mapping[str, Predictor] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    on_step: Callable[[str], None] | None = None,
) -> External:
    """Evaluate a model on every case of a cohort of its own task that it had no part in, whatever that one's split.

    Levels of the cohort are read as the model's; other texts are missing. trained: the cohort that it was trained on:
    with it, flat models of the same training cases stand beside it, and patterns are compared. single: networks of
    single streams. source: what to call the other hospital. Raises ModelError where the cohort is not of the model's
    task or shares subjects with its training cases, and OneClassError where all outcomes are the same.
    """
    say = on_step or (lambda _: None)
    cohort, unknown = read_as(predictor, cohort)
    rows = np.flatnonzero(~np.isnan(cohort.target))
    target = cohort.target[rows].astype(float)
    check_outcomes(target, f"of {source}")
    if trained is not None:
        _check_apart(cohort, trained, source)
    say("the fused model")
    names = predictor.stream_names
    fused = predict_rows(predictor, with_frozen_features(cohort, predictor.network, predictor.device), rows)
    intercept = float(calibration_intercept(target, fused.risk, np.ones((1, len(rows))))[0])
    predictions = {FUSED: fused.risk, RECALIBRATED: expit(logit(fused.risk) + intercept)}
    kinds = {RECALIBRATED: f"log-odds {intercept:+.2f}, fitted on these same cases: what one local number would mend"}
    for name, other in (single or {}).items():
        say(f"{name} alone")
        mine = with_frozen_features(cohort, other.network, other.device)
        predictions[name] = predict_rows(other, mine, rows).risk
        kinds[name] = "a network of its own, trained on this stream alone"
    if trained is not None:
        say("flat models")
        predictions["gradient boosting"] = train_gradient_boosting(trained, seed).predict_risk(cohort, rows)
        predictions["logistic regression"] = train_logistic_regression(trained, seed).predict_risk(cohort, rows)
        kinds["logistic regression"] = "a penalised logistic regression on flat features of all streams"
    say("intervals")
    evaluation = evaluate(
        predictions,
        target,
        cohort.index["subject_id"].to_numpy()[rows],
        presence_pattern(fused.present, names),
        {name: fused.present[:, names.index(name)] for name in single or {}},
        rng=np.random.default_rng(seed),
        kinds=kinds,
        n_bootstrap=resamples,
        split="external",
    )
    return External(
        source=source,
        version=predictor.version,
        evaluation=evaluation,
        case_mix=case_mix(predictor, cohort, rows, trained, unknown),
        observed_expected=float(target.sum() / fused.risk.sum()),
        intercept=intercept,
    )


def read_as(predictor: Predictor, cohort: Cohort) -> tuple[Cohort, dict[str, int]]:
    """The cohort with its levels read as the model's, and feature -> values of levels that the model does not know."""
    if cohort.task.name != predictor.task.name:
        raise ModelError(
            f"model {predictor.version} is of the task {predictor.task.name}; cohort {cohort.folder} is of "
            f"{cohort.task.name}; align those observations with the model's own task"
        )
    levels = {name: statistics.levels for name, statistics in predictor.statistics.streams.items()}
    view = with_levels(cohort, levels)
    check_fits(predictor, view)
    unknown: dict[str, int] = {}
    for name in predictor.stream_names:
        before = cohort.statistics.streams[name]
        for feature, texts in before.levels.items():
            if texts != levels[name].get(feature):
                at = before.names.index(feature)
                every = cohort.rows()
                lost = _seen(cohort, name, every, at).sum() - _seen(view, name, every, at).sum()
                unknown |= {f"{name}: {feature}": int(lost)} if lost else {}
    return view, unknown


def case_mix(
    predictor: Predictor,
    cohort: Cohort,
    rows: np.ndarray,
    trained: Cohort | None = None,
    unknown: Mapping[str, int] | None = None,
) -> CaseMix:
    """How these cases differ from those that the model was trained on."""
    names = predictor.stream_names
    known = None if trained is None else trained.rows("train")
    patterns = _patterns(cohort, rows, names)
    before = {} if trained is None or known is None else _patterns(trained, known, names)
    shifts = [
        shift
        for name in names
        for shift in _shifts(name, predictor.statistics.streams[name], cohort, rows, trained, known)
    ]
    return CaseMix(
        cases=len(rows),
        prevalence=float(cohort.target[rows].mean()),
        trained_cases=predictor.statistics.cases,
        trained_prevalence=predictor.statistics.prevalence,
        patterns=tuple(
            Presence(
                pattern,
                patterns.get(pattern, 0),
                patterns.get(pattern, 0) / len(rows),
                before.get(pattern, 0) / len(known) if known is not None and len(known) else None,
            )
            for pattern in sorted({**patterns, **before}, key=lambda p: (-patterns.get(p, 0), p))
        ),
        shifts=tuple(sorted(shifts, key=lambda s: (-abs(s.smd or 0.0), s.feature))),
        unknown_levels=dict(unknown or {}),
    )


def standardised_difference(mean: float, std: float, other_mean: float, other_std: float) -> float | None:
    """Austin 2009, equation 1 (for proportions with std = sqrt(p (1 - p)), equation 2); None where neither varies."""
    pooled = np.sqrt((std**2 + other_std**2) / 2)
    return float((mean - other_mean) / pooled) if pooled > 0 else None


def _shifts(
    name: str,
    statistics: StreamStatistics,
    cohort: Cohort,
    rows: np.ndarray,
    trained: Cohort | None,
    known: np.ndarray | None,
) -> list[Shift]:
    """The features that have a name; of a categorical one each level, where the training cases are at hand."""
    if not statistics.names:
        return []
    here = _measured(statistics, cohort, name, rows)
    shifts = []
    for at, feature in enumerate(statistics.names):
        seen = _share(cohort, name, rows, at)
        before = None if trained is None or known is None else _share(trained, name, known, at)
        label = f"{name}: {feature}"
        if feature not in statistics.levels:
            mean = float(here.mean[at]) if here.count[at] else None
            smd = None
            if mean is not None and before != 0.0:  # a feature that nobody had in training has no centre there
                std = float(np.sqrt(here.squares[at] / here.count[at]))
                smd = standardised_difference(mean, std, statistics.mean[at], statistics.std[at])
            shifts.append(Shift(label, statistics.units[at], mean, statistics.mean[at], smd, seen, before))
        elif trained is not None and known is not None:
            shares, others = (
                _level_shares(of, name, which, at, len(statistics.levels[feature]))
                for of, which in ((cohort, rows), (trained, known))
            )
            for level, text in enumerate(statistics.levels[feature]):
                p, q = float(shares[level]), float(others[level])
                smd = standardised_difference(p, np.sqrt(p * (1 - p)), q, np.sqrt(q * (1 - q)))
                shifts.append(Shift(f"{label} = {text}", "", p, q, smd, seen, before))
    return shifts


def _measured(statistics: StreamStatistics, cohort: Cohort, name: str, rows: np.ndarray) -> Moments:
    """Count, mean and sum of squares of each feature over the observed values, as the training statistics have them."""
    moments = Moments(statistics)
    for arrays in blocks_of(cohort, name, rows):
        moments.add(arrays.values, arrays.observed)
    moments.statistics()  # takes in the rows that do not make a group
    return moments


def _seen(cohort: Cohort, name: str, rows: np.ndarray, at: int) -> np.ndarray:
    """(n,) how many values of a feature each of those cases has that have the stream; shard by shard."""
    counts = [
        arrays.observed[..., at].reshape(len(arrays.observed), -1).sum(1)
        if arrays.observed.ndim > 2 or cohort.statistics.streams[name].kind == "table"
        else arrays.observed.sum(1)
        for arrays in blocks_of(cohort, name, rows)
    ]
    return np.concatenate(counts) if counts else np.zeros(0, int)


def _share(cohort: Cohort, name: str, rows: np.ndarray, at: int) -> float:
    seen = _seen(cohort, name, rows, at)
    return float((seen > 0).mean()) if len(seen) else 0.0


def _level_shares(cohort: Cohort, name: str, rows: np.ndarray, at: int, levels: int) -> np.ndarray:
    """(levels,) the share of each among the observed values of a categorical feature."""
    counts = np.zeros(levels)
    for arrays in blocks_of(cohort, name, rows):
        values = arrays.values[..., at][arrays.observed[..., at]].astype(int)
        counts += np.bincount(values, minlength=levels)[:levels]
    return np.asarray(counts / max(counts.sum(), 1))


def _patterns(cohort: Cohort, rows: np.ndarray, names: list[str]) -> dict[str, int]:
    """Pattern of present streams -> cases."""
    places = [cohort.stream_names.index(name) for name in names]
    found, counts = np.unique(presence_pattern(cohort.present[rows][:, places], names), return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _check_apart(cohort: Cohort, trained: Cohort, source: str) -> None:
    learnt = np.concatenate([trained.rows("train"), trained.rows("validation")])
    shared = np.intersect1d(cohort.index["subject_id"], trained.index["subject_id"].to_numpy()[learnt])
    if len(shared):
        raise ModelError(
            f"{source}: expected subjects that the model was not trained on, got {len(shared)} that it was; "
            "evaluate it on its own test split instead, or leave them out"
        )
