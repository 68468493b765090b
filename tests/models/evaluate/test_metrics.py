"""Every measure agrees with an independent formula, and refuses what it cannot give."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from models.evaluate.calibration_curve import (
    calibration_error,
    ece,
    floors,
    risk_bins,
    smooth_frequency,
    spline_basis,
    spline_knots,
    wilson_interval,
)
from models.evaluate.logistic import fit_logistic
from models.evaluate.metrics import (
    EvaluationError,
    Measure,
    OneClassError,
    UndefinedError,
    auprc,
    auroc,
    brier,
    calibration_intercept,
    calibration_slope,
    log_loss,
    logit,
    measure,
    net_benefit,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cases(n: int, seed: int, *, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and risks where logit P(event) = shift + slope x logit(risk)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 1.4, n)
    return (rng.random(n) < sigmoid(slope * x + shift)).astype(float), sigmoid(x)


REFERENCES: dict[Measure, Callable[..., float]] = {
    auroc: roc_auc_score,
    auprc: average_precision_score,
    brier: brier_score_loss,
    log_loss: sklearn_log_loss,
}


@pytest.mark.parametrize("function", REFERENCES)
@pytest.mark.parametrize("digits", [1, 2, 12])
def test_a_measure_is_that_of_scikit_learn_with_ties_and_with_weights(function: Measure, digits: int) -> None:
    y, risk = cases(300, digits)
    risk = np.clip(np.round(risk, digits), 0.02, 0.98)
    reference = REFERENCES[function]
    assert measure(function, y, risk) == pytest.approx(reference(y, risk), abs=1e-12)
    weights = np.random.default_rng(1).integers(0, 4, (5, 300)).astype(float)
    expected = [reference(y[w > 0], risk[w > 0], sample_weight=w[w > 0]) for w in weights]
    assert function(y, risk, weights) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_mann_whitney_statistic(pairs: list[tuple[int, bool]]) -> None:
    risk = np.array([p for p, _ in pairs]) / 10
    y = np.array([event for _, event in pairs], float)
    if 0 < y.sum() < len(y):
        statistic = mannwhitneyu(risk[y == 1], risk[y == 0], method="asymptotic").statistic
        assert measure(auroc, y, risk) == pytest.approx(statistic / (y.sum() * (1 - y).sum()))


def test_slope_and_intercept_are_those_of_a_likelihood_maximised_by_another_method() -> None:
    y, risk = cases(400, 3, slope=0.6, shift=0.4)
    x = logit(risk)

    def loss(b: np.ndarray, slope: float | None = None) -> float:
        eta = b[0] + (b[1] if slope is None else slope) * x
        return float((np.logaddexp(0, eta) - y * eta).sum())

    both = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9}).x
    large = minimize(loss, np.zeros(1), args=(1.0,), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9}).x
    assert measure(calibration_slope, y, risk) == pytest.approx(both[1], abs=1e-4)
    assert measure(calibration_intercept, y, risk) == pytest.approx(large[0], abs=1e-4)


def test_slope_and_intercept_find_what_was_put_in() -> None:
    y, risk = cases(60_000, 4, slope=0.7)
    assert measure(calibration_slope, y, risk) == pytest.approx(0.7, abs=0.02)
    y, risk = cases(60_000, 5, shift=-0.5)
    assert measure(calibration_intercept, y, risk) == pytest.approx(-0.5, abs=0.03)


def test_calibration_errors_vanish_for_calibrated_risks_and_equal_the_known_shift() -> None:
    y, risk = cases(60_000, 6)
    assert measure(calibration_error, y, risk) < 0.004
    assert measure(ece, y, risk) < 0.008
    y, risk = cases(60_000, 7, slope=0.6, shift=0.5)
    known = float(np.abs(sigmoid(0.6 * logit(risk) + 0.5) - risk).mean())
    assert measure(calibration_error, y, risk) == pytest.approx(known, abs=0.004)
    assert measure(ece, y, risk) == pytest.approx(known, abs=0.01)


def test_the_floor_is_what_calibrated_outcomes_show_on_average() -> None:
    shown, risks = [], []
    for seed in range(60):
        y, risk = cases(300, seed)
        shown.append((measure(calibration_error, y, risk), measure(ece, y, risk)))
        risks.append(risk)
    ici, binned = floors(risks[0], np.random.default_rng(0))
    assert np.mean(shown, 0) == pytest.approx([ici.mean, binned.mean], rel=0.15)
    assert ici.high > ici.mean > 0
    assert np.mean([s[0] <= ici.high for s in shown]) >= 0.85


def test_ece_is_that_of_ten_equal_bins_where_cases_divide_evenly() -> None:
    y, risk = cases(200, 8)
    order = np.argsort(risk).reshape(10, 20)
    by_hand = np.mean([abs(y[o].mean() - risk[o].mean()) for o in order])
    assert measure(ece, y, risk) == pytest.approx(by_hand)
    assert [b.n for b in risk_bins(y, risk)] == [20] * 10


def test_the_spline_is_linear_beyond_its_outer_knots_and_smooth_at_them() -> None:
    knots = spline_knots(np.random.default_rng(0).normal(size=500))
    assert len(knots) == 4
    outside = spline_basis(np.array([knots[-1] + step for step in (0.0, 1.0, 2.0)]), knots)
    assert np.diff(outside, 2, axis=0) == pytest.approx(0, abs=1e-9)
    near = spline_basis(np.array([knots[1] - 1e-6, knots[1], knots[1] + 1e-6]), knots)
    assert np.abs(np.diff(near, axis=0)).max() < 1e-5


def test_a_constant_risk_has_a_calibration_error_but_no_slope() -> None:
    y, _ = cases(200, 9)
    risk = np.full(200, 0.9)
    assert measure(calibration_error, y, risk) == pytest.approx(0.9 - y.mean(), abs=1e-3)
    with pytest.raises(UndefinedError, match="calibration_slope: no finite value; all cases have the same risk"):
        measure(calibration_slope, y, risk)


def test_separated_outcomes_have_no_slope_but_a_finite_curve() -> None:
    y = np.repeat([0.0, 1.0], 30)
    risk = np.linspace(0.1, 0.9, 60)
    with pytest.raises(UndefinedError, match="the risk separates the outcomes completely"):
        measure(calibration_slope, y, risk)
    curve = smooth_frequency(y, risk, np.ones((1, 60)), risk)
    assert np.isfinite(curve).all()
    assert ((curve >= 0) & (curve <= 1)).all()


def test_net_benefit_is_true_less_false_positives_at_the_odds_of_the_threshold() -> None:
    y = np.array([1, 1, 0, 0, 0], float)
    risk = np.array([0.9, 0.1, 0.5, 0.3, 0.05])
    assert net_benefit(y, risk, np.ones((1, 5)), 0.2)[0] == pytest.approx(1 / 5 - 2 / 5 * 0.25)


def test_wilson_gives_a_textbook_interval() -> None:
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20)[0] == 0


def test_logistic_fits_of_many_resamples_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(2)
    design = np.concatenate([np.ones((150, 1)), rng.normal(size=(150, 2))], 1)
    y = (rng.random(150) < sigmoid(design @ np.array([-0.5, 1.0, -2.0]))).astype(float)
    weights = rng.integers(0, 3, (20, 150)).astype(float)
    together = fit_logistic(design, y, weights)
    alone = np.concatenate([fit_logistic(design, y, w[None]) for w in weights])
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("function", [auroc, auprc, brier, log_loss, calibration_slope, calibration_error, ece])
def test_one_class_only_is_refused_with_the_counts(function: Measure) -> None:
    with pytest.raises(OneClassError, match=r"^evaluation needs both classes: 0 events in 37 cases of the test split$"):
        measure(function, np.zeros(37), np.full(37, 0.2), "of the test split")
    with pytest.raises(OneClassError, match=r"5 events in 5 cases$"):
        measure(function, np.ones(5), np.full(5, 0.2))


def test_unknown_outcomes_and_impossible_risks_are_refused_with_their_number() -> None:
    with pytest.raises(EvaluationError, match="outcomes of 0 or 1: 1 of 3 cases have another"):
        measure(auroc, np.array([0, 1, np.nan]), np.full(3, 0.1))
    with pytest.raises(EvaluationError, match="risks from 0 to 1: 2 of 3 are not"):
        measure(auroc, np.array([0, 1, 1]), np.array([0.1, np.nan, 1.2]))
    with pytest.raises(EvaluationError, match=r"expected \(3,\), got \(2,\)"):
        measure(auroc, np.array([0, 1, 1]), np.array([0.1, 0.2]))
