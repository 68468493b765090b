"""Calibration finds the affine map, knows how sure it is, and refuses what cannot be calibrated."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluate.metrics import EvaluationError, OneClassError
from models.trust.calibrate import Calibration, fit_calibration


def drawn(n: int, seed: int, scale: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, n)
    return x, (rng.random(n) < 1 / (1 + np.exp(-(scale * x + shift)))).astype(float)


def test_it_finds_the_scale_and_the_shift_of_many_cases() -> None:
    fitted = fit_calibration(*drawn(50_000, 0, 0.4, -0.8))
    assert fitted.scale == pytest.approx(0.4, abs=0.02)
    assert fitted.shift == pytest.approx(-0.8, abs=0.03)
    assert (fitted.cases, fitted.risk(np.array([2.0]))[0]) == (50_000, pytest.approx(0.5, abs=0.01))


def test_its_variance_is_the_scatter_of_fits_to_other_samples() -> None:
    # Of many cases: with few, the prior draws the fits together, and the stated variance is the larger one.
    fits = [fit_calibration(*drawn(2000, seed, 0.7, -1.0)) for seed in range(200)]
    at = np.array([-3.0, 0.0, 2.0])
    scatter = np.var([fit.logit(at) for fit in fits], 0)
    stated = np.mean([fit.logit_variance(at) for fit in fits], 0)
    assert stated == pytest.approx(scatter, rel=0.3)


def test_few_events_are_held_near_the_identity() -> None:
    separated = fit_calibration(np.array([-1.0, -0.5, 0.2, 3.0]), np.array([0, 0, 0, 1]))
    assert 0.5 < separated.scale < 4
    backwards = fit_calibration(*drawn(200, 1, -0.5, 0.0))
    assert backwards.scale > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 20), st.integers(5, 60))
def test_it_keeps_the_order_of_the_cases_and_is_always_finite(seed: int, spread: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, spread, n)
    y = np.append([0.0, 1.0], rng.integers(0, 2, n - 2))
    fitted = fit_calibration(x, y)
    assert fitted.scale > 0
    assert np.isfinite(list(fitted.to_json().values())).all()
    assert (fitted.logit_variance(x) >= 0).all()


def test_a_split_of_one_class_is_refused_with_the_counts() -> None:
    with pytest.raises(OneClassError, match=r"^calibration needs both classes: 0 events in 37 cases of the validation"):
        fit_calibration(np.zeros(37), np.zeros(37))
    with pytest.raises(EvaluationError, match="with 1 not finite"):
        fit_calibration(np.array([np.nan, 0.0]), np.array([0, 1]))


def test_it_goes_to_json_and_back() -> None:
    fitted = fit_calibration(*drawn(100, 2, 1.0, 0.0))
    assert Calibration.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False))) == fitted
    assert Calibration().logit(np.array([0.3]))[0] == 0.3
