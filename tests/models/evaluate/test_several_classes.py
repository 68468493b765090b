"""Measures of classes, labels and levels are those of scikit-learn, with weights too, or of brute force."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    log_loss,
    roc_auc_score,
)

from models.evaluate.bootstrap import draw_subjects
from models.evaluate.calibration_curve import ece
from models.evaluate.metrics import EvaluationError, auprc, auroc, brier
from models.evaluate.several_classes import (
    accuracy,
    balanced_accuracy,
    check_classes,
    check_labels,
    class_brier,
    class_estimates,
    class_log_loss,
    exact_match,
    label_estimates,
    label_macro,
    label_micro,
    level_error,
    macro,
    median_level,
    one_vs_rest,
    quadratic_kappa,
    ranked_probability_score,
    top_label_error,
)


def classes(n: int = 240, k: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets drawn from other probabilities than those that are given."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) + np.array([1.0, 0.5, 0.0, -0.5])[:k]
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (rng.random((n, 1)) > np.cumsum(true, 1)).sum(1)
    told = np.exp(1.4 * logits) / np.exp(1.4 * logits).sum(1, keepdims=True)
    return target, told


def labels(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 2, (n, 3))
    return (rng.random((n, 3)) < probability).astype(float), np.round(probability, 2)


def plain(function: Callable[..., np.ndarray], *given: object) -> float:
    target = given[-2]
    assert isinstance(target, np.ndarray)
    return float(function(*given, np.ones((1, len(target))))[0])


ONE = np.ones((1, 240))


def test_measures_of_classes_are_those_of_scikit_learn() -> None:
    target, p = classes()
    chosen = p.argmax(1)
    assert plain(accuracy, target, p) == pytest.approx(accuracy_score(target, chosen))
    assert plain(balanced_accuracy, target, p) == pytest.approx(balanced_accuracy_score(target, chosen))
    assert plain(class_log_loss, target, p) == pytest.approx(log_loss(target, p))
    assert plain(class_brier, target, p) == pytest.approx(brier_score_loss(target, p, scale_by_half=False))
    assert plain(macro, auroc, target, p) == pytest.approx(roc_auc_score(target, p, multi_class="ovr"))
    one_hot = np.eye(4)[target]
    assert plain(macro, auprc, target, p) == pytest.approx(average_precision_score(one_hot, p, average="macro"))
    each = one_vs_rest(auroc, target, p, ONE)[0]
    assert each == pytest.approx([roc_auc_score(target == k, p[:, k]) for k in range(4)])


@pytest.mark.parametrize(
    "function",
    [accuracy, balanced_accuracy, class_log_loss, class_brier, quadratic_kappa, level_error, ranked_probability_score],
)
def test_a_weight_of_two_is_a_case_twice(function: Callable[..., np.ndarray]) -> None:
    target, p = classes()
    weights = np.random.default_rng(1).integers(0, 3, (4, 240))
    again = [np.repeat(np.arange(240), w) for w in weights]
    assert function(target, p, weights.astype(float)) == pytest.approx(
        [plain(function, target[a], p[a]) for a in again]
    )


def test_a_class_that_never_occurs_is_left_out_of_the_mean_and_one_that_a_resample_lacks_gives_no_value() -> None:
    target, p = classes()
    target = np.where(target == 3, 0, target)
    each = one_vs_rest(auroc, target, p, ONE)[0]
    assert np.isnan(each[3])
    assert plain(macro, auroc, target, p) == pytest.approx(each[:3].mean())
    without = (target != 2).astype(float)[None]
    assert np.isnan(macro(auroc, target, p, without)[0])
    assert np.isnan(balanced_accuracy(target, p, without)[0])


def test_two_classes_are_the_binary_measures() -> None:
    target, p = classes(k=2)
    y, risk = target.astype(float), p[:, 1]
    assert plain(macro, auroc, target, p) == pytest.approx(plain(auroc, y, risk))
    assert plain(class_brier, target, p) == pytest.approx(2 * plain(brier, y, risk))
    assert plain(ranked_probability_score, target, p) == pytest.approx(plain(brier, y, risk))


def test_the_top_label_error_is_that_of_each_chosen_class_by_its_share() -> None:
    target, p = classes(900)
    chosen = p.argmax(1)
    by_hand = sum(
        (chosen == k).mean() * plain(ece, (target[chosen == k] == k).astype(float), p[chosen == k, k]) for k in range(4)
    )
    assert plain(top_label_error, target, p) == pytest.approx(by_hand)
    # all who are told 0.7 of a class are right in half of the cases, for both classes: off by 0.2
    told = np.tile(np.array([[0.7, 0.3], [0.3, 0.7]]), (100, 1))
    right = np.arange(200) // 2 % 2 == 0
    assert plain(top_label_error, np.where(right, told.argmax(1), told.argmin(1)), told) == pytest.approx(0.2)
    weights = np.ones((2, 200))
    weights[1, told.argmax(1) == 0] = 0
    assert top_label_error(np.where(right, told.argmax(1), told.argmin(1)), told, weights) == pytest.approx(0.2)


def test_measures_of_labels_are_those_of_scikit_learn() -> None:
    target, p = labels()
    for average, function in (("macro", label_macro), ("micro", label_micro)):
        assert plain(function, auroc, target, p) == pytest.approx(roc_auc_score(target, p, average=average))
        expected = average_precision_score(target, p, average=average)
        assert plain(function, auprc, target, p) == pytest.approx(expected)
    assert plain(exact_match, target, p) == pytest.approx(accuracy_score(target, p >= 0.5))


def test_unknown_labels_are_left_out_of_what_they_are_unknown_for() -> None:
    target, p = labels()
    hidden = np.where(np.random.default_rng(3).random((240, 3)) < 0.3, np.nan, target)
    known = ~np.isnan(hidden)
    each = [roc_auc_score(target[known[:, k], k], p[known[:, k], k]) for k in range(3)]
    assert plain(label_macro, auroc, hidden, p) == pytest.approx(np.mean(each))
    assert plain(label_micro, auroc, hidden, p) == pytest.approx(roc_auc_score(target[known], p[known]))
    whole = known.all(1)
    assert plain(exact_match, hidden, p) == pytest.approx(accuracy_score(target[whole], p[whole] >= 0.5))
    hidden[:, 0] = 1.0  # of one outcome only: no part of the mean
    assert plain(label_macro, auroc, hidden, p) == pytest.approx(np.mean(each[1:]))
    weights = np.random.default_rng(4).integers(0, 3, (500, 240)).astype(float)  # more than a block
    again = np.repeat(np.arange(240), weights[-1].astype(int))
    assert label_micro(auroc, hidden, p, weights)[-1] == pytest.approx(
        plain(label_micro, auroc, hidden[again], p[again])
    )


def test_the_quadratic_kappa_is_that_of_scikit_learn_and_scores_are_those_of_brute_force() -> None:
    target, p = classes()
    expected = cohen_kappa_score(target, p.argmax(1), weights="quadratic")
    assert plain(quadratic_kappa, target, p) == pytest.approx(expected)
    score = [
        sum((p[i, : k + 1].sum() - (target[i] <= k)) ** 2 for k in range(3)) / 3 for i in range(len(target))
    ]  # fmt: skip
    assert plain(ranked_probability_score, target, p) == pytest.approx(np.mean(score))
    best = [min(range(4), key=lambda k: sum(p[i, j] * abs(k - j) for j in range(4))) for i in range(len(target))]
    assert (median_level(p) == best).all()  # the median is the level with the least expected error
    assert plain(level_error, target, p) == pytest.approx(np.abs(np.array(best) - target).mean())
    same = np.zeros(6, int)
    assert np.isnan(plain(quadratic_kappa, same, np.tile([0.9, 0.1], (6, 1))))


def test_estimates_have_intervals_around_them() -> None:
    target, p = classes()
    resamples = draw_subjects(np.arange(240) // 2, np.random.default_rng(0), 100)
    found = class_estimates(target, p, resamples, ordinal=True)
    assert len(found) == 10
    found |= {f"labels {name}": value for name, value in label_estimates(*labels(), resamples).items()}
    assert len(found) == 15
    for name, estimate in found.items():
        assert estimate.value is not None, name
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high, name


def test_what_is_no_probability_or_no_class_is_refused_with_its_number() -> None:
    target, p = classes(10)
    with pytest.raises(EvaluationError, match="expected targets of 0 to 3: 1 of 10 are not"):
        check_classes(np.append(target[:9], 4), p)
    with pytest.raises(EvaluationError, match="sum to 1: 2 of 10 cases' do not"):
        check_classes(target, p * np.where(np.arange(10) < 2, 0.5, 1)[:, None])
    with pytest.raises(EvaluationError, match="probabilities from 0 to 1: 1 of 40 are not"):
        check_classes(target, np.where(np.arange(40).reshape(10, 4) == 3, np.nan, p))
    with pytest.raises(EvaluationError, match=r"targets \(N,\) and probabilities \(N, K\), got \(9,\), \(10, 4\)"):
        check_classes(target[:9], p)
    with pytest.raises(EvaluationError, match="targets of 1, 0 or NaN: 1 of 4 are not"):
        check_labels(np.array([[0, 1], [2, np.nan]]), np.full((2, 2), 0.5))
    with pytest.raises(EvaluationError, match=r"\(N, L\), got \(2, 3\), \(2, 2\)"):
        check_labels(np.zeros((2, 3)), np.full((2, 2), 0.5))
