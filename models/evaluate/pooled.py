"""What cross-validation found: measures of all left-out cases together, and of each fold by itself."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from models.evaluate.bootstrap import (
    Interval,
    Resamples,
    basic_interval,
    bootstrap_interval,
    draw_resamples,
    paired_difference,
)
from models.evaluate.calibration_curve import calibration_error, ece
from models.evaluate.evaluation import FUSED
from models.evaluate.metrics import (
    EvaluationError,
    Measure,
    UndefinedError,
    auprc,
    auroc,
    brier,
    calibration_intercept,
    calibration_slope,
    check_outcomes,
    log_loss,
)
from models.evaluate.results import Bootstrap, Difference, Estimate

MEASURES: dict[str, Measure] = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "log_loss": log_loss,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
    "calibration_error": calibration_error,
}
INFLATED_BY_NOISE = (calibration_error, ece)
CONTRASTED = ("auroc", "auprc", "brier", "log_loss")


@dataclass(frozen=True)
class Spread:
    """A measure of each fold by itself: mean and standard deviation over those that have it (n - 1; none of one)."""

    mean: float | None
    std: float | None
    by_fold: tuple[float | None, ...]


@dataclass(frozen=True)
class Validated:
    """One model. pooled: of all left-out cases together, with the interval over subjects."""

    name: str
    pooled: Mapping[str, Estimate]
    folds: Mapping[str, Spread]


@dataclass(frozen=True)
class CrossValidation:
    """Every model on the same left-out cases. Built by `models.evaluate.folds.cross_validate`.

    differences: the fused model less each other. Folds share training cases, so `Spread` is no standard error.
    Where folds were dealt several times, a pooled measure is the mean over the repeats.
    """

    task: str
    n: int
    events: int
    subjects: int
    folds: int
    repeats: int
    seed: int
    models: tuple[Validated, ...]
    differences: tuple[Difference, ...]
    bootstrap: Bootstrap

    def model(self, name: str) -> Validated:
        """The result of a model by its name."""
        for found in self.models:
            if found.name == name:
                return found
        raise EvaluationError(
            f"cross-validation: no model {name!r}; there are {', '.join(m.name for m in self.models)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for cross-validation.json; never NaN."""
        raw: dict[str, Any] = TypeAdapter(CrossValidation).dump_python(self, mode="json")
        return raw

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "CrossValidation":
        """The inverse of `to_json`."""
        return TypeAdapter(CrossValidation).validate_python(raw)


def pooled(
    risks: pd.DataFrame, *, task: str, seed: int, measures: Mapping[str, Measure] | None = None, resamples: int = 1000
) -> CrossValidation:
    """Judge out-of-fold risks: columns repeat, fold, case_id, subject_id, target, model, risk; each case once a repeat.

    Repeats of a case are drawn together, as all cases of a subject are.
    """
    wide = risks.pivot(index=["repeat", "case_id", "fold", "subject_id", "target"], columns="model", values="risk")
    wide = wide[list(dict.fromkeys(risks["model"]))].reset_index().sort_values(["repeat", "case_id"], ignore_index=True)
    repeats = int(wide["repeat"].nunique())
    if bool(wide.isna().to_numpy().any()) or len(wide) % repeats:
        raise EvaluationError("cross-validation: expected a risk of every model for every case in every repeat")
    target, names = wide["target"].to_numpy(float), list(dict.fromkeys(risks["model"]))
    check_outcomes(target, "left out by any fold")
    drawn = draw_resamples(target, wide["subject_id"].to_numpy(), np.random.default_rng(seed), resamples)
    asked = {name: over_repeats(measure, repeats) for name, measure in (MEASURES | dict(measures or {})).items()}
    of = {name: wide[name].to_numpy(float) for name in names}
    once = len(wide) // repeats
    return CrossValidation(
        task=task,
        n=once,
        events=int(target[:once].sum()),
        subjects=drawn.counts.shape[1],
        folds=int(wide["fold"].nunique()),
        repeats=repeats,
        seed=seed,
        models=tuple(
            Validated(
                name,
                {label: estimate(measure, target, of[name], drawn) for label, measure in asked.items()},
                _spreads(wide, name, MEASURES | dict(measures or {})),
            )
            for name in names
        ),
        differences=tuple(
            difference(other, label, asked[label], target, of[FUSED], of[other], drawn)
            for other in names
            if FUSED in names and other != FUSED
            for label in (*CONTRASTED, *(measures or {}))
        ),
        bootstrap=Bootstrap(resamples, drawn.redrawn),
    )


def over_repeats(measure: Measure, repeats: int) -> Measure:
    """The mean of a measure over `repeats` equal runs of cases that follow each other."""
    if repeats == 1:
        return measure

    @functools.wraps(measure)
    def mean(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        runs = zip(np.split(target, repeats), np.split(risk, repeats), np.split(weights, repeats, 1), strict=True)
        return np.asarray(np.mean([measure(*run) for run in runs], 0))

    mean.inflated_by_noise = measure in INFLATED_BY_NOISE  # type: ignore[attr-defined]  # else lost in the wrapping
    return mean


def estimate(measure: Measure, target: np.ndarray, risk: np.ndarray, resamples: Resamples) -> Estimate:
    """A measure with its interval, or the reason why it has none."""
    inflated = measure in INFLATED_BY_NOISE or getattr(measure, "inflated_by_noise", False)
    try:
        return _plain((basic_interval if inflated else bootstrap_interval)(measure, target, risk, resamples))
    except UndefinedError as error:
        return Estimate(None, reason=str(error).partition("; ")[2] or str(error))


def difference(
    against: str,
    label: str,
    measure: Measure,
    target: np.ndarray,
    fused: np.ndarray,
    other: np.ndarray,
    resamples: Resamples,
) -> Difference:
    """The fused model less another, on the same cases and resamples."""
    try:
        contrast = paired_difference(measure, target, fused, other, resamples)
    except UndefinedError as error:
        return Difference(against, label, Estimate(None, reason=str(error)), None)
    return Difference(against, label, _plain(contrast), contrast.p)


def _spreads(wide: pd.DataFrame, model: str, measures: Mapping[str, Measure]) -> dict[str, Spread]:
    parts = [part for _, part in wide.groupby(["repeat", "fold"], sort=True)]
    return {label: _spread(measure, model, parts) for label, measure in measures.items()}


def _spread(measure: Measure, model: str, parts: list[pd.DataFrame]) -> Spread:
    values: list[float | None] = []
    for part in parts:
        target, risk = part["target"].to_numpy(float), part[model].to_numpy(float)
        both = 0 < target.sum() < len(target)
        value = float(measure(target, risk, np.ones((1, len(part))))[0]) if both else float("nan")
        values.append(value if np.isfinite(value) else None)
    known = [value for value in values if value is not None]
    return Spread(
        float(np.mean(known)) if known else None,
        float(np.std(known, ddof=1)) if len(known) > 1 else None,
        tuple(values),
    )


def _plain(interval: Interval) -> Estimate:
    return Estimate(interval.value, interval.low, interval.high)
