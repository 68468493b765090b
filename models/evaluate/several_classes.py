"""Measures of an outcome of several classes, of several outcomes at once, and of an ordered scale.

Each is a function `(target, probability, weights (R, N)) -> (R,)`, as in `models.evaluate.metrics`; NaN where it has no
value. Classes: target (N,) the position of the class, probability (N, K) that sums to 1. Labels: target (N, L) of 1, 0
or NaN where unknown, probability (N, L). A scale: its levels are classes in order.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from models.evaluate.bootstrap import Resamples, Statistic
from models.evaluate.calibration_curve import ece
from models.evaluate.estimates import estimate_of
from models.evaluate.metrics import SMALLEST_RISK, EvaluationError, Measure, auprc, auroc
from models.evaluate.results import Estimate

MICRO_CELLS = 100_000


def class_estimates(
    target: np.ndarray, probability: np.ndarray, resamples: Resamples, *, ordinal: bool = False
) -> dict[str, Estimate]:
    """Every measure of several classes, with intervals; of the scale too where they are ordinal."""
    check_classes(target, probability)
    measures = {**CLASS_MEASURES, **(ORDINAL_MEASURES if ordinal else {})}
    return {
        name: estimate_of(partial(measure, target, probability), resamples, name, inflated=measure in INFLATED)
        for name, measure in measures.items()
    }


def label_estimates(target: np.ndarray, probability: np.ndarray, resamples: Resamples) -> dict[str, Estimate]:
    """Every measure of several labels, with intervals."""
    check_labels(target, probability)
    found = {}
    for name, measure in LABEL_MEASURES.items():
        statistic: Statistic = partial(measure, target, probability)
        found[name] = estimate_of(statistic, resamples, name)
    return found


def check_classes(target: np.ndarray, probability: np.ndarray) -> None:
    """Raise where a target is not the position of a class, or the probabilities of a case do not sum to 1."""
    target, probability = np.asarray(target), np.asarray(probability)
    if probability.ndim != 2 or target.shape != probability.shape[:1] or probability.shape[1] < 2:
        raise EvaluationError(
            f"classes: expected targets (N,) and probabilities (N, K), got {target.shape}, {probability.shape}"
        )
    classes = probability.shape[1]
    if unknown := int((~np.isin(target, np.arange(classes))).sum()):
        raise EvaluationError(f"classes: expected targets of 0 to {classes - 1}: {unknown} of {len(target)} are not")
    _check_probability(probability)
    if off := int((np.abs(probability.sum(1) - 1) > 1e-4).sum()):
        raise EvaluationError(f"classes: expected probabilities that sum to 1: {off} of {len(target)} cases' do not")


def check_labels(target: np.ndarray, probability: np.ndarray) -> None:
    """Raise where a target is not 1, 0 or NaN, or a probability is none."""
    target, probability = np.asarray(target), np.asarray(probability)
    if probability.ndim != 2 or target.shape != probability.shape:
        raise EvaluationError(
            f"labels: expected targets and probabilities (N, L), got {target.shape}, {probability.shape}"
        )
    if other := int((~(np.isin(target, (0, 1)) | np.isnan(target))).sum()):
        raise EvaluationError(f"labels: expected targets of 1, 0 or NaN: {other} of {target.size} are not")
    _check_probability(probability)


def one_vs_rest(measure: Measure, target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A binary measure of each class against all others: (R, K); NaN for a class that a resample lacks."""
    return np.stack(
        [_of_both(measure, target == k, probability[:, k], weights) for k in range(probability.shape[1])], 1
    )


def macro(measure: Measure, target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of `one_vs_rest` over the classes that occur among the cases, each counting the same.

    (Hand & Till 2001 average over pairs of classes instead: doi:10.1023/A:1010920819831.)
    """
    there = np.unique(target).astype(int)
    return np.asarray(one_vs_rest(measure, target, probability, weights)[:, there].mean(1))


def accuracy(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often the most probable class is the right one (of equals, the first)."""
    return _mean(probability.argmax(1) == target, weights)


def balanced_accuracy(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over the classes that occur of how often a case of the class is given it."""
    right = probability.argmax(1) == target
    each = [_divide(weights @ (right & (target == k)), weights @ (target == k)) for k in np.unique(target)]
    return np.asarray(np.mean(each, axis=0))


def class_log_loss(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean negative log-likelihood of the right class, in nats."""
    right = probability[np.arange(len(target)), target.astype(int)]
    return _mean(-np.log(np.clip(right, SMALLEST_RISK, 1)), weights)


def class_brier(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The squared error summed over the classes, from 0 to 2 (Brier 1950): with two classes twice the binary one."""
    return _mean(((probability - _one_hot(target, probability.shape[1])) ** 2).sum(1), weights)


def top_label_error(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How far the probability of the chosen class is from how often it is right, class by class chosen.

    The top-label calibration error (Gupta & Ramdas 2022, arXiv:2107.08353) over ten bins of equal mass for each
    chosen class. Noise alone makes it positive, the more the fewer cases a class is chosen for.
    """
    chosen = probability.argmax(1)
    total = np.zeros(len(weights))
    for k in np.unique(chosen):
        here = chosen == k
        mass = weights[:, here].sum(1)
        some = mass > 0
        error = ece((target[here] == k).astype(float), probability[here, k], weights[some][:, here])
        total[some] += mass[some] * error
    return np.asarray(total / weights.sum(1))


def label_macro(measure: Measure, target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of a binary measure over the labels of which both outcomes occur, among the cases that know them."""
    each = []
    for label in range(target.shape[1]):
        known = ~np.isnan(target[:, label])
        if len(np.unique(target[known, label])) == 2:
            each.append(_of_both(measure, target[known, label], probability[known, label], weights[:, known]))
    return np.asarray(np.mean(each, axis=0)) if each else np.full(len(weights), np.nan)


def label_micro(measure: Measure, target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A binary measure over all known pairs of a case and a label together: frequent labels count for more."""
    case, label = np.nonzero(~np.isnan(target))
    y, risk = target[case, label], probability[case, label]
    block = max(1, MICRO_CELLS // max(1, len(case)))
    parts = [_of_both(measure, y, risk, weights[i : i + block][:, case]) for i in range(0, len(weights), block)]
    return np.concatenate(parts)


def exact_match(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often every label is right at a probability of one half, among the cases that know them all."""
    known = ~np.isnan(target).any(1)
    return _mean(((probability >= 0.5) == (target == 1)).all(1)[known], weights[:, known])


def quadratic_kappa(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Agreement of the most probable level with the true one beyond chance, errors counted by their square.

    Cohen 1968, doi:10.1037/h0026256. 1 at best, 0 by chance. No value where both are always of one level.
    """
    levels = probability.shape[1]
    given = probability.argmax(1)
    distance = np.subtract.outer(np.arange(levels), np.arange(levels)) ** 2
    observed = _mean(((given - target) ** 2).astype(float), weights)
    of_target = weights @ _one_hot(target, levels) / weights.sum(1, keepdims=True)
    of_given = weights @ _one_hot(given, levels) / weights.sum(1, keepdims=True)
    by_chance = np.einsum("ri,ij,rj->r", of_target, distance, of_given)
    return 1 - _divide(observed, by_chance)


def level_error(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """By how many levels the median level is off, on average."""
    return _mean(np.abs(median_level(probability) - target).astype(float), weights)


def ranked_probability_score(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The squared error of the cumulative probabilities, over K - 1 (Epstein 1969,
    doi:10.1175/1520-0450(1969)008<0985:ASSFPF>2.0.CO;2): 0 at best, 1 at worst; with two levels the Brier score."""
    levels = probability.shape[1]
    off = np.cumsum(probability - _one_hot(target, levels), axis=1)[:, :-1]
    return _mean((off**2).sum(1) / (levels - 1), weights)


def median_level(probability: np.ndarray) -> np.ndarray:
    """(N,) the lowest level that is reached with a probability of one half or more."""
    return np.asarray((np.cumsum(probability, axis=1) >= 0.5 - 1e-9).argmax(1))


def _of_both(measure: Measure, happened: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The binary measure, NaN in the resamples that have one class only."""
    y = happened.astype(float)
    both = (weights @ y > 0) & (weights @ (1 - y) > 0)
    found = np.full(len(weights), np.nan)
    if both.any():
        found[both] = measure(y, risk, weights[both])
    return found


def _check_probability(probability: np.ndarray) -> None:
    if bad := int((~((probability >= 0) & (probability <= 1))).sum()):
        raise EvaluationError(f"evaluation needs probabilities from 0 to 1: {bad} of {probability.size} are not")


def _one_hot(target: np.ndarray, classes: int) -> np.ndarray:
    return np.asarray(target[:, None] == np.arange(classes), float)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _divide(weights @ values, weights.sum(1))


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))


CLASS_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "macro_auroc": partial(macro, auroc),
    "macro_auprc": partial(macro, auprc),
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "log_loss": class_log_loss,
    "brier": class_brier,
    "top_label_error": top_label_error,
}
ORDINAL_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "quadratic_kappa": quadratic_kappa,
    "level_error": level_error,
    "ranked_probability_score": ranked_probability_score,
}
LABEL_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "macro_auroc": partial(label_macro, auroc),
    "macro_auprc": partial(label_macro, auprc),
    "micro_auroc": partial(label_micro, auroc),
    "micro_auprc": partial(label_micro, auprc),
    "exact_match": exact_match,
}
INFLATED = (top_label_error,)
