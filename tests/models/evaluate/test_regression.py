"""Measures of a predicted number are those of scikit-learn, scipy, and a numeric integral."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, spearmanr
from sklearn.metrics import mean_absolute_error as sklearn_mae
from sklearn.metrics import r2_score
from sklearn.metrics import root_mean_squared_error as sklearn_rmse

from models.evaluate.bootstrap import draw_subjects
from models.evaluate.metrics import EvaluationError
from models.evaluate.regression import (
    check_numbers,
    coverage,
    crps_gaussian,
    gaussian_interval,
    mean_absolute_error,
    r_squared,
    regression_estimates,
    root_mean_squared_error,
    spearman,
)

REFERENCES: dict[Callable[..., np.ndarray], Callable[..., float]] = {
    mean_absolute_error: sklearn_mae,
    root_mean_squared_error: sklearn_rmse,
    r_squared: r2_score,
    spearman: lambda y, p: float(spearmanr(y, p).statistic),
}


def cases(n: int = 200, seed: int = 0, digits: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes, means and standard deviations that are true."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(7, 2, n), rng.uniform(0.5, 2, n)
    return np.round(mean + std * rng.normal(size=n), digits), np.round(mean, digits), std


@pytest.mark.parametrize("function", REFERENCES)
def test_a_measure_is_that_of_another_library_with_ties_and_a_weight_of_two_is_a_case_twice(
    function: Callable[..., np.ndarray],
) -> None:
    y, p, _ = cases(digits=0)
    assert function(y, p, np.ones((1, 200)))[0] == pytest.approx(REFERENCES[function](y, p))
    weights = np.random.default_rng(1).integers(0, 3, (5, 200))
    again = [np.repeat(np.arange(200), w) for w in weights]
    expected = [REFERENCES[function](y[a], p[a]) for a in again]
    assert function(y, p, weights.astype(float)) == pytest.approx(expected)


def test_crps_is_the_integral_that_defines_it_and_the_absolute_error_without_spread() -> None:
    y, mean, std = cases(12, 3)
    expected = []
    for outcome, centre, spread in zip(y, mean, std, strict=True):
        below = quad(lambda x, c=centre, s=spread: norm.cdf(x, c, s) ** 2, centre - 12 * spread, outcome)[0]
        above = quad(lambda x, c=centre, s=spread: norm.sf(x, c, s) ** 2, outcome, centre + 12 * spread)[0]
        expected.append(below + above)
    assert crps_gaussian(y, mean, std, np.ones((1, 12)))[0] == pytest.approx(np.mean(expected), abs=1e-8)
    assert crps_gaussian(y, mean, np.zeros(12), np.ones((1, 12)))[0] == pytest.approx(np.abs(y - mean).mean())


def test_the_true_distribution_has_the_lowest_crps_and_covers_as_often_as_it_says() -> None:
    y, mean, std = cases(20_000, digits=6)
    one = np.ones((1, 20_000))
    true = crps_gaussian(y, mean, std, one)[0]
    assert true < min(crps_gaussian(y, mean, factor * std, one)[0] for factor in (0.6, 1.6))
    for level in (0.5, 0.9):
        assert coverage(y, *gaussian_interval(mean, std, level), one)[0] == pytest.approx(level, abs=0.01)
    narrow = gaussian_interval(np.zeros(1), np.ones(1), 0.95)
    assert (narrow[0][0], narrow[1][0]) == pytest.approx((-1.959964, 1.959964))


def test_estimates_have_intervals_and_those_without_a_value_say_why() -> None:
    y, mean, std = cases()
    resamples = draw_subjects(np.arange(200), np.random.default_rng(0), 100)
    found = regression_estimates(y, mean, std, resamples)
    assert set(found) == {
        "mean_absolute_error", "root_mean_squared_error", "r_squared", "spearman", "crps",
        "coverage_50%", "coverage_80%", "coverage_90%", "coverage_95%",
    }  # fmt: skip
    for name, estimate in found.items():
        assert estimate.value is not None, name
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high, name
    flat = regression_estimates(np.full(200, 3.0), mean, None, resamples)
    assert flat["r_squared"].reason == flat["spearman"].reason == "all cases have the same value"
    assert "crps" not in flat


def test_what_is_no_number_is_refused_with_its_count() -> None:
    y = np.arange(3.0)
    with pytest.raises(EvaluationError, match="expected finite predictions: 1 of 3 are not"):
        check_numbers(y, np.array([1, np.nan, 2]))
    with pytest.raises(EvaluationError, match=r"expected predictions \(3,\), got \(2,\)"):
        check_numbers(y, np.zeros(2))
    with pytest.raises(EvaluationError, match="standard deviations of 0 or more: 2 of 3 are not"):
        check_numbers(y, y, np.array([-1, -2, 0]))
