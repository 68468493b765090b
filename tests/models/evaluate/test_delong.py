"""DeLong's variance is that of the Mann-Whitney components, of a published table, and of the bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from models.evaluate.bootstrap import bootstrap_interval, draw_resamples, paired_difference
from models.evaluate.delong import Delong, delong, delong_test
from models.evaluate.metrics import EvaluationError, OneClassError, UndefinedError, auroc


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_pairs(target: np.ndarray, risks: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Obuchowski's covariance from the kernel of every pair, subject by subject."""
    events, others = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
    m, n = len(events), len(others)
    kernel = np.array(
        [[[1.0 if r[i] > r[j] else 0.5 if r[i] == r[j] else 0.0 for j in others] for i in events] for r in risks]
    )
    area = kernel.mean((1, 2))
    v10, v01 = kernel.mean(2), kernel.mean(1)
    names = np.unique(groups)
    covariance = np.zeros((len(risks), len(risks)))
    has_event = sum(bool((target[groups == g] == 1).any()) for g in names)
    has_other = sum(bool((target[groups == g] == 0).any()) for g in names)
    for r in range(len(risks)):
        for s in range(len(risks)):
            s10 = s01 = s11 = s11_turned = 0.0
            for g in names:
                mine, theirs = groups[events] == g, groups[others] == g
                a = [v10[k, mine].sum() - mine.sum() * area[k] for k in (r, s)]
                b = [v01[k, theirs].sum() - theirs.sum() * area[k] for k in (r, s)]
                s10, s01 = s10 + a[0] * a[1], s01 + b[0] * b[1]
                s11, s11_turned = s11 + a[0] * b[1], s11_turned + b[0] * a[1]
            covariance[r, s] = (
                has_event / ((has_event - 1) * m) * s10 / m
                + has_other / ((has_other - 1) * n) * s01 / n
                + len(names) / (len(names) - 1) * (s11 + s11_turned) / (m * n)
            )
    return covariance


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 30), st.integers(1, 4))
def test_it_is_the_variance_of_the_components_over_all_pairs_with_ties_and_subjects(
    seed: int, n: int, cases_per_subject: int
) -> None:
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // cases_per_subject
    target = (np.arange(n) % 2).astype(float)
    if len(np.unique(groups)) < 2:
        return
    risks = rng.integers(0, 6, (2, n)) / 6
    found = delong(target, risks, groups)
    assert found.auroc == pytest.approx([roc_auc_score(target, risk) for risk in risks])
    assert found.covariance == pytest.approx(by_pairs(target, risks, groups), abs=1e-12)


def test_it_gives_the_published_standard_error_of_the_tomographic_images() -> None:
    # Ratings of 109 images, Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747. AUROC, standard error and
    # interval by DeLong's method as Stata's manual prints them for these data (roctab).
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    risk = np.concatenate([np.repeat(np.arange(1, 6), normal), np.repeat(np.arange(1, 6), abnormal)]) / 5
    found = delong(np.repeat([0, 1], [58, 51]), risk)
    assert found.auroc[0] == pytest.approx(0.8932, abs=5e-5)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(0.0307, abs=5e-5)
    assert found.interval() == pytest.approx((0.83295, 0.95339), abs=5e-6)


@pytest.mark.parametrize("cases_per_subject", [1, 4])
def test_interval_and_test_agree_with_the_bootstrap_over_subjects(cases_per_subject: int) -> None:
    rng = np.random.default_rng(3)
    subjects = np.repeat(np.arange(400), cases_per_subject)
    own = rng.normal(size=400)[subjects]
    x = own + 0.6 * rng.normal(size=len(subjects))
    target = (rng.random(len(subjects)) < sigmoid(1.2 * own - 1)).astype(float)
    a, b = sigmoid(x), sigmoid(x + 0.7 * rng.normal(size=len(x)))
    resamples = draw_resamples(target, subjects, rng, 1500)
    drawn = np.concatenate([auroc(target, a, w) for w in resamples.weights()])
    found = delong(target, np.stack([a, b]), subjects)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(drawn.std(), rel=0.06)
    interval = bootstrap_interval(auroc, target, a, resamples)
    assert found.interval() == pytest.approx((interval.low, interval.high), abs=0.006)
    contrast, test = paired_difference(auroc, target, a, b, resamples), delong_test(target, a, b, subjects)
    assert test.difference == pytest.approx(contrast.value)
    half = 1.96 * test.standard_error
    assert (test.difference - half, test.difference + half) == pytest.approx((contrast.low, contrast.high), abs=0.004)
    if cases_per_subject > 1:  # taking cases for independent would be too sure
        assert delong(target, a).covariance[0, 0] < 0.85 * found.covariance[0, 0]


def test_p_is_uniform_where_two_models_are_equally_good() -> None:
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=120)
        target = (rng.random(120) < sigmoid(x)).astype(float)
        a, b = (sigmoid(x + rng.normal(size=120)) for _ in range(2))
        found.append(delong_test(target, a, b).p)
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.08
    assert 0.43 < np.mean(np.array(found) < 0.5) < 0.57


def test_models_that_rank_alike_do_not_differ_and_turning_round_turns_the_sign() -> None:
    rng = np.random.default_rng(0)
    target = (rng.random(80) < 0.4).astype(float)
    a, b = rng.random(80), rng.random(80)
    same = delong_test(target, a, a**3)
    assert (same.difference, same.z, same.p) == (0, 0, 1)
    one, other = delong_test(target, a, b), delong_test(target, b, a)
    assert (one.z, one.p) == pytest.approx((-other.z, other.p))


def test_what_has_no_variance_is_refused_with_the_reason() -> None:
    target = np.repeat([0.0, 1.0], 10)
    with pytest.raises(UndefinedError, match="the difference has no variance"):
        delong_test(target, target, np.full(20, 0.5))
    with pytest.raises(UndefinedError, match="two subjects of each class, got 1 with the event and 2 without"):
        delong(target, target, np.repeat([1, 2, 3], [6, 4, 10]))
    with pytest.raises(OneClassError):
        delong(np.zeros(4), np.zeros(4))
    with pytest.raises(EvaluationError, match="risks from 0 to 1: 1 of 20"):
        delong(target, np.append(np.zeros(19), 2.0))


def test_a_wald_interval_stays_within_0_and_1() -> None:
    assert Delong(np.array([0.99]), np.array([[0.01]])).interval()[1] == 1.0
