"""Survival measures are those of scikit-survival, of brute force, and of closed forms where nothing is censored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.nonparametric import (
    CensoringDistributionEstimator,
    cumulative_incidence_competing_risks,
    kaplan_meier_estimator,
)
from sksurv.util import Surv

from models.evaluate.bootstrap import draw_subjects
from models.evaluate.metrics import EvaluationError
from models.evaluate.survival import (
    auroc_at,
    brier_at,
    censoring_distribution,
    check_survival,
    cumulative_incidence,
    harrell_c,
    integrated_brier,
    kaplan_meier,
    state_at,
    survival_estimates,
    uno_c,
)

HOURS = np.array([4.0, 8.0, 12.0, 20.0])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cases(
    n: int = 250, seed: int = 0, *, causes: int = 1, censored: bool = True, whole_hours: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Durations, causes and a log hazard that the first cause follows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    latent = [rng.exponential(12 * np.exp(-0.9 * x)), *(rng.exponential(25, n) for _ in range(causes - 1))]
    if censored:
        latent.insert(0, rng.uniform(1, 40, n))
    all_times = np.stack(latent)
    cause = all_times.argmin(0) + (0 if censored else 1)
    duration = all_times.min(0)
    return (np.ceil(duration) if whole_hours else duration), cause, x


def plain(values: np.ndarray) -> float:
    assert values.shape == (1,)
    return float(values[0])


ONE = np.ones((1, 250))


@pytest.mark.parametrize("whole_hours", [False, True])
def test_the_curves_are_those_of_scikit_survival_with_ties_too(whole_hours: bool) -> None:
    duration, cause, _ = cases(causes=2, whole_hours=whole_hours)
    hours, survival = kaplan_meier_estimator(cause > 0, duration)
    ours = kaplan_meier(duration, cause, ONE)
    assert ours.hours == pytest.approx(hours)
    assert ours.values[0] == pytest.approx(survival)
    estimator = CensoringDistributionEstimator().fit(Surv.from_arrays(cause > 0, duration))
    asked = np.linspace(0, 30, 61)
    assert censoring_distribution(duration, cause, ONE).at(asked)[0] == pytest.approx(estimator.predict_proba(asked))
    hours, incidence = cumulative_incidence_competing_risks(cause, duration)
    for k in (1, 2):
        assert cumulative_incidence(duration, cause, ONE, k).values[0] == pytest.approx(incidence[k])


def test_incidences_and_survival_sum_to_one_and_one_cause_is_the_complement() -> None:
    duration, cause, _ = cases(causes=3)
    survival = kaplan_meier(duration, cause, ONE).at(HOURS)
    each = [cumulative_incidence(duration, cause, ONE, k).at(HOURS) for k in (1, 2, 3)]
    assert survival + sum(each) == pytest.approx(1)
    duration, cause, _ = cases()
    incidence = cumulative_incidence(duration, cause, ONE).at(HOURS)
    assert incidence == pytest.approx(1 - kaplan_meier(duration, cause, ONE).at(HOURS))


def test_a_curve_before_its_first_change_and_just_before_a_change() -> None:
    curve = kaplan_meier(np.array([2.0, 2.0, 5.0, 7.0]), np.array([1, 0, 1, 1]), np.ones((1, 4)))
    assert curve.at(np.array([1.9, 2.0, 5.0, 9.0]))[0] == pytest.approx([1, 0.75, 0.375, 0])
    assert curve.just_before(np.array([2.0, 5.0]))[0] == pytest.approx([1, 0.75])


@pytest.mark.parametrize("whole_hours", [False, True])
def test_harrells_c_is_that_of_scikit_survival(whole_hours: bool) -> None:
    duration, cause, x = cases(whole_hours=whole_hours)
    risk = np.round(x, 1)
    reference = concordance_index_censored(cause == 1, duration, risk)[0]
    assert plain(harrell_c(duration, cause, risk, ONE)) == pytest.approx(reference)


@pytest.mark.parametrize("until", [15.0, 25.0])
def test_unos_c_auroc_and_brier_scores_are_those_of_scikit_survival(until: float) -> None:
    duration, cause, x = cases()
    known = Surv.from_arrays(cause == 1, duration)
    reference = concordance_index_ipcw(known, known, np.round(x, 1), tau=until)[0]
    # There G is taken at the event and here just before it: the same, as no censoring has the time of an event.
    assert plain(uno_c(duration, cause, np.round(x, 1), ONE, until_hours=until)) == pytest.approx(reference)
    within = HOURS[(duration.min() < HOURS) & (duration.max() > HOURS)]
    aurocs, _ = cumulative_dynamic_auc(known, known, x, within)
    assert [plain(auroc_at(duration, cause, x, ONE, h)) for h in within] == pytest.approx(list(aurocs))
    incidence = 1 - np.exp(-np.outer(np.exp(0.9 * x), within) / 12)
    briers = brier_score(known, known, 1 - incidence, within)[1]
    ours = [plain(brier_at(duration, cause, incidence[:, i], ONE, h)) for i, h in enumerate(within)]
    assert ours == pytest.approx(list(briers))
    reference = integrated_brier_score(known, known, 1 - incidence, within)
    assert plain(integrated_brier(duration, cause, incidence, ONE, within)) == pytest.approx(reference)


def test_without_censoring_they_are_the_plain_measures_of_what_has_happened() -> None:
    duration, cause, x = cases(causes=2, censored=False)
    for hours in HOURS:
        for k in (1, 2):
            happened = (duration <= hours) & (cause == k)
            assert plain(auroc_at(duration, cause, x, ONE, hours, k)) == pytest.approx(roc_auc_score(happened, x))
            brier = plain(brier_at(duration, cause, sigmoid(x), ONE, hours, k))
            assert brier == pytest.approx(brier_score_loss(happened, sigmoid(x)))
    assert plain(uno_c(duration, cause, x, ONE)) == pytest.approx(plain(harrell_c(duration, cause, x, ONE)))
    marginal = cumulative_incidence(duration, cause, ONE, 2).at(HOURS)[0]
    assert marginal == pytest.approx([((duration <= h) & (cause == 2)).mean() for h in HOURS])


def by_pairs(duration: np.ndarray, cause: np.ndarray, risk: np.ndarray, *, ipcw: bool) -> float:
    """Wolbers' C over all pairs, with the censoring curve as a product over the cases themselves."""

    def seen_before(t: float) -> float:
        product = 1.0
        for s in np.unique(duration[(cause == 0) & (duration < t)]):
            leaving = ((duration == s) & (cause == 0)).sum()
            at_risk = ((duration > s) | ((duration == s) & (cause == 0))).sum()
            product *= 1 - leaving / at_risk
        return product

    g = np.array([seen_before(t) for t in duration]) if ipcw else np.ones(len(duration))
    above = whole = 0.0
    for i in np.flatnonzero(cause == 1):
        for j in range(len(duration)):
            if duration[j] > duration[i] or (duration[j] == duration[i] and cause[j] == 0):
                weight = 1 / g[i] ** 2
            elif cause[j] > 1:
                weight = 1 / (g[i] * g[j])
            else:
                continue
            whole += weight
            above += weight * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    return above / whole


@pytest.mark.parametrize("causes", [1, 2])
@pytest.mark.parametrize("whole_hours", [False, True])
def test_both_cs_are_those_of_all_pairs_with_competing_causes_and_ties(causes: int, whole_hours: bool) -> None:
    duration, cause, x = cases(80, 4, causes=causes, whole_hours=whole_hours)
    risk, one = np.round(x), np.ones((1, 80))
    assert plain(harrell_c(duration, cause, risk, one)) == pytest.approx(by_pairs(duration, cause, risk, ipcw=False))
    assert plain(uno_c(duration, cause, risk, one)) == pytest.approx(by_pairs(duration, cause, risk, ipcw=True))


def test_measures_with_censoring_estimate_what_they_are_without_it() -> None:
    n, one = 8000, np.ones((1, 8000))
    rng = np.random.default_rng(1)
    duration, cause, x = cases(n, 1, causes=2, censored=False)
    leaves = rng.uniform(0.5, 24, n)
    seen, seen_cause = np.minimum(duration, leaves), np.where(leaves < duration, 0, cause)
    assert (seen_cause == 0).mean() > 0.25
    for function in (auroc_at, brier_at):
        whole = plain(function(duration, cause, sigmoid(x), one, 12.0))
        assert plain(function(seen, seen_cause, sigmoid(x), one, 12.0)) == pytest.approx(whole, abs=0.012)
    whole = plain(uno_c(duration, cause, x, one, until_hours=20.0))
    assert plain(uno_c(seen, seen_cause, x, one, until_hours=20.0)) == pytest.approx(whole, abs=0.012)
    true = ((duration <= 12) & (cause == 1)).mean()
    happened, weights = state_at(seen, seen_cause, one, 12.0)
    assert (weights @ happened).item() / n == pytest.approx(true, abs=0.012)
    assert true - happened.mean() > 0.05  # where whoever was lost counts as well


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_a_weight_of_two_is_a_case_twice(seed: int) -> None:
    duration, cause, x = cases(40, seed, causes=2, whole_hours=True)
    weights = np.random.default_rng(seed).integers(0, 3, 40)
    twice = np.repeat(np.arange(40), weights)
    again = duration[twice], cause[twice], sigmoid(x[twice])
    one, weighted = np.ones((1, len(twice))), weights[None].astype(float)
    for function in (harrell_c, uno_c):
        expected = function(*again, one)
        assert function(duration, cause, sigmoid(x), weighted) == pytest.approx(expected, nan_ok=True)
    for function in (auroc_at, brier_at):
        expected = function(*again, one, 6.0)
        assert function(duration, cause, sigmoid(x), weighted, 6.0) == pytest.approx(expected, nan_ok=True)
    curve = cumulative_incidence(*again[:2], one, 2).at(HOURS)
    assert cumulative_incidence(duration, cause, weighted, 2).at(HOURS) == pytest.approx(curve)


def test_a_case_censored_by_a_time_weighs_nothing_and_the_others_make_up_for_it() -> None:
    duration, cause, _ = cases(whole_hours=True)
    happened, weights = state_at(duration, cause, ONE, 10.0)
    assert (weights[0, (cause == 0) & (duration <= 10)] == 0).all()
    assert (happened == ((cause == 1) & (duration <= 10))).all()
    assert weights.sum() == pytest.approx(250)
    incidence = cumulative_incidence(duration, cause, ONE).at(np.array([10.0]))[0, 0]
    assert (weights @ happened).item() / 250 == pytest.approx(incidence)


def test_estimates_have_intervals_and_the_true_risks_explain_more_than_knowing_nothing() -> None:
    duration, cause, x = cases(causes=2)
    resamples = draw_subjects(np.arange(250) // 2, np.random.default_rng(0), 150)
    rate = np.exp(0.9 * x) / 12
    total = rate + 1 / 25
    part = (rate / total)[:, None] * (1 - np.exp(-np.outer(total, HOURS)))
    incidence = np.stack([part, part], 2)
    found = survival_estimates(duration, cause, incidence, HOURS, resamples)
    assert list(found) == ["harrell_c", "uno_c", "auroc", "brier", "scaled_brier", "integrated_brier"]
    for name, estimate in found.items():
        assert estimate.value is not None, name
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high, name
    low = found["scaled_brier"].low
    assert low is not None
    assert low > 0
    everybody = np.broadcast_to(cumulative_incidence(duration, cause, ONE).at(HOURS)[0][:, None], (250, 4, 2))
    nothing = survival_estimates(duration, cause, everybody, HOURS, resamples)
    assert nothing["scaled_brier"].value == pytest.approx(0, abs=1e-12)
    assert nothing["auroc"].value == 0.5


def test_a_measure_without_a_pair_says_why() -> None:
    resamples = draw_subjects(np.arange(30), np.random.default_rng(0), 20)
    duration, incidence = np.linspace(1, 30, 30), np.full((30, 1, 1), 0.2)
    found = survival_estimates(duration, np.zeros(30, int), incidence, [20.0], resamples)
    assert found["uno_c"].value is None
    assert found["uno_c"].reason == "too few cases whose order, or whose state at that time, is known"
    assert "integrated_brier" not in found


def test_impossible_cases_are_refused_with_their_number() -> None:
    with pytest.raises(EvaluationError, match=r"durations of 0 hours or more: 2 of 3 are not"):
        check_survival(np.array([1, -1, np.nan]), np.zeros(3))
    with pytest.raises(EvaluationError, match=r"causes of 0 \(censored\) or 1 to 2: 1 of 3 are not"):
        check_survival(np.ones(3), np.array([0, 1, 3]), 2)
    with pytest.raises(EvaluationError, match=r"one duration and one cause for each case: got \(3,\) and \(2,\)"):
        check_survival(np.ones(3), np.zeros(2))
    resamples = draw_subjects(np.arange(3), np.random.default_rng(0), 5)
    with pytest.raises(EvaluationError, match=r"expected \(3, 2, causes\), got \(3, 1, 1\)"):
        survival_estimates(np.ones(3), np.ones(3), np.zeros((3, 1, 1)), [1.0, 2.0], resamples)
    with pytest.raises(EvaluationError, match="two or more times that rise"):
        integrated_brier(np.ones(3), np.ones(3), np.zeros((3, 2)), np.ones((1, 3)), [2.0, 1.0])
