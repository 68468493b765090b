"""An evaluation: the fused model beside single modalities, a baseline and the best attainable, on the same cases."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.evaluate.alerts import alert_points
from models.evaluate.bootstrap import Resamples, draw_resamples, paired_difference, paired_ratio
from models.evaluate.calibration_curve import calibration_error, ece, floors
from models.evaluate.curves import (
    net_benefit_curve,
    precision_recall_curve,
    reliability,
    roc_curve,
)
from models.evaluate.delong import delong_test
from models.evaluate.estimates import estimate, plain, too_few
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
    check_risk,
    log_loss,
    net_benefit,
)
from models.evaluate.results import (
    Bootstrap,
    Difference,
    Estimate,
    Evaluation,
    ModelResult,
    OperatingPoint,
    PatternResult,
    WhereAvailable,
)
from models.evaluate.subgroups import fewer_for, subgroup_results

FUSED = "fused"
ATTAINABLE = "best attainable"
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
DEFAULT_KINDS = {
    FUSED: "network with all streams",
    "gradient boosting": "trees on flat features of all streams",
    "logistic regression": "a penalised logistic regression on flat features of all streams",
    ATTAINABLE: "the risk from which the outcomes were drawn",
}


def evaluate(
    predictions: Mapping[str, np.ndarray],
    target: np.ndarray,
    subject_ids: np.ndarray,
    patterns: Sequence[str],
    available: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    attainable: np.ndarray | None = None,
    kinds: Mapping[str, str] | None = None,
    groupings: Mapping[str, np.ndarray] | None = None,
    n_bootstrap: int = 1000,
    split: str = "test",
) -> Evaluation:
    """Evaluate every model on the same N cases.

    predictions: name -> risk (N,), with the fused model as "fused". target (N,) 0 or 1. patterns: each case's streams
    as text (`ingest.cohort.presence_pattern`). available: name of a single-modality prediction -> (N,) bool, which
    cases have it. attainable: (N,) the risk that the outcomes were drawn from, where it is known. kinds: a line on
    what each prediction is. groupings: name, such as sex -> the group of each case (N,), for the subgroups. Raises
    OneClassError where all outcomes are the same.
    """
    check_outcomes(target, f"of the {split} split")
    if FUSED not in predictions:
        raise EvaluationError(f"evaluation needs a prediction named {FUSED!r}, got {', '.join(predictions) or 'none'}")
    target = np.asarray(target, float)
    risks = {name: np.asarray(risk, float) for name, risk in predictions.items()}
    if attainable is not None:
        risks[ATTAINABLE] = np.asarray(attainable, float)
    for risk in risks.values():
        check_risk(risk, len(target))
    described = {**DEFAULT_KINDS, **dict.fromkeys(available, "network with only this stream"), **(kinds or {})}
    resamples = draw_resamples(target, subject_ids, rng, n_bootstrap)
    others = [name for name in risks if name != FUSED]
    fused = risks[FUSED]
    models = tuple(
        _model(name, described.get(name, ""), target, risk, resamples, rng)
        if name not in available
        else _single(name, described[name], target, risk, fused, available[name], subject_ids, resamples, rng)
        for name, risk in risks.items()
    )
    return Evaluation(
        split=split,
        n=len(target),
        events=int(target.sum()),
        subjects=resamples.counts.shape[1],
        prevalence=float(target.mean()),
        models=models,
        differences=tuple(
            _difference(name, metric, target, fused, risks[name], resamples, subject_ids)
            for name in others
            for metric in CONTRASTED
        ),
        attained=None if attainable is None else _ratio(target, fused, risks[ATTAINABLE], resamples),
        operating_points=tuple(_operating_point(t, target, fused, resamples) for t in THRESHOLDS),
        net_benefit_flag_all=net_benefit_curve(target, np.ones(len(target))),
        patterns=_patterns(np.asarray(patterns, str), target, fused, subject_ids, rng, n_bootstrap),
        bootstrap=Bootstrap(
            n_bootstrap,
            resamples.redrawn,
            subgroup_resamples=len(fewer_for(resamples).counts) if groupings else 0,
        ),
        alerts=alert_points(target, fused, resamples),
        subgroups=subgroup_results(groupings or {}, target, fused, resamples),
    )


def _model(
    name: str, kind: str, target: np.ndarray, risk: np.ndarray, resamples: Resamples, rng: np.random.Generator
) -> ModelResult:
    error_floor, ece_floor = floors(risk, rng)
    return ModelResult(
        name,
        kind,
        {metric: estimate(function, target, risk, resamples) for metric, function in METRICS.items()},
        error_floor,
        ece_floor,
        roc_curve(target, risk),
        precision_recall_curve(target, risk),
        reliability(target, risk, resamples),
        net_benefit_curve(target, risk),
    )


def _single(
    name: str,
    kind: str,
    target: np.ndarray,
    risk: np.ndarray,
    fused: np.ndarray,
    has: np.ndarray,
    subject_ids: np.ndarray,
    resamples: Resamples,
    rng: np.random.Generator,
) -> ModelResult:
    """A single modality: on all cases, and among those that have it."""
    whole = _model(name, kind, target, risk, resamples, rng)
    has = np.asarray(has, bool)
    y = target[has]
    events = int(y.sum())
    if reason := too_few(events, len(y)):
        none = Estimate(None, reason=reason)
        where = WhereAvailable(len(y), events, none, none, Difference(name, "auroc", none, None))
    else:
        subjects = np.asarray(subject_ids)[has]
        own = draw_resamples(y, subjects, rng, len(resamples.counts))
        where = WhereAvailable(
            len(y),
            events,
            estimate(auroc, y, risk[has], own),
            estimate(auroc, y, fused[has], own),
            _difference(name, "auroc", y, fused[has], risk[has], own, subjects),
        )
    return ModelResult(**{**vars(whole), "where_available": where})


def _patterns(
    patterns: np.ndarray,
    target: np.ndarray,
    risk: np.ndarray,
    subject_ids: np.ndarray,
    rng: np.random.Generator,
    n_bootstrap: int,
) -> tuple[PatternResult, ...]:
    """The fused model for each pattern of streams, the most frequent first."""
    names, counts = np.unique(patterns, return_counts=True)
    results = []
    for name in names[np.argsort(-counts, kind="stable")]:
        here = patterns == name
        y = target[here]
        events = int(y.sum())
        if reason := too_few(events, len(y)):
            found = Estimate(None, reason=reason)
        else:
            resamples = draw_resamples(y, np.asarray(subject_ids)[here], rng, n_bootstrap)
            found = estimate(auroc, y, risk[here], resamples)
        results.append(PatternResult(str(name), len(y), events, found))
    return tuple(results)


def _operating_point(threshold: float, target: np.ndarray, risk: np.ndarray, resamples: Resamples) -> OperatingPoint:
    flagged = risk >= threshold

    def benefit(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
        return net_benefit(y, p, w, threshold)

    return OperatingPoint(
        threshold,
        int(flagged.sum()),
        estimate(_share("sensitivity", flagged, target == 1), target, risk, resamples),
        estimate(_share("specificity", ~flagged, target == 0), target, risk, resamples),
        estimate(_share("positive predictive value", target == 1, flagged), target, risk, resamples),
        estimate(benefit, target, risk, resamples),
        float(net_benefit(target, np.ones(len(risk)), np.ones((1, len(risk))), threshold)[0]),
    )


def _share(name: str, part: np.ndarray, whole: np.ndarray) -> Measure:
    """The share of the cases of `whole` that are in `part` too, as a measure."""

    def share(_target: np.ndarray, _risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        of = weights @ whole
        return np.asarray(np.divide(weights @ (part & whole), of, out=np.full(len(of), np.nan), where=of > 0))

    share.__name__ = name
    return share


def _difference(
    against: str,
    metric: str,
    target: np.ndarray,
    fused: np.ndarray,
    other: np.ndarray,
    resamples: Resamples,
    subject_ids: np.ndarray,
) -> Difference:
    contrast = paired_difference(METRICS[metric], target, fused, other, resamples)
    delong_p = _delong_p(target, fused, other, subject_ids) if metric == "auroc" else None
    return Difference(against, metric, plain(contrast), contrast.p, delong_p)


def _delong_p(target: np.ndarray, fused: np.ndarray, other: np.ndarray, subject_ids: np.ndarray) -> float | None:
    try:
        return delong_test(target, fused, other, subject_ids).p
    except UndefinedError:
        return None


def _ratio(target: np.ndarray, fused: np.ndarray, attainable: np.ndarray, resamples: Resamples) -> Estimate:
    return plain(paired_ratio(auroc, target, fused, attainable, resamples))


METRICS: dict[str, Measure] = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "log_loss": log_loss,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
    "calibration_error": calibration_error,
    "ece": ece,
}
CONTRASTED = ("auroc", "auprc", "brier")
