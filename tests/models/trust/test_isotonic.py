"""An isotonic curve rises, has no ties, is near the shares of events, and helps where a line cannot."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from models.config import CalibrationConfig
from models.objectives.binary import BinaryObjective
from models.trust.isotonic import Curve, fit_curve
from models.trust.logits import fit_logits


def bent(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds, outcomes and true risks that no line joins: too sure above 0, not sure enough below."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, n)
    risk = 1 / (1 + np.exp(-np.where(x > 0, 0.15 * x, 1.8 * x)))
    return x, (rng.random(n) < risk).astype(float), risk


def test_of_many_cases_the_curve_is_the_isotonic_regression() -> None:
    x, y, _ = bent(20_000, 0)
    said = torch.sigmoid(fit_curve(x, y)(torch.from_numpy(x))).numpy()
    steps = IsotonicRegression(out_of_bounds="clip").fit(x, y).predict(x)
    assert np.abs(said - steps).mean() < 0.01
    assert said.mean() == pytest.approx(y.mean(), abs=0.005)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 80), st.floats(0.1, 10))
def test_it_rises_everywhere_without_ties_and_is_finite(seed: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, spread, n)
    curve = fit_curve(x, np.append([0.0, 1.0], rng.integers(0, 2, n - 2)))
    at = torch.linspace(-5 * spread, 5 * spread, 400, dtype=torch.float64)
    said = curve(at)
    assert bool(torch.isfinite(said).all())
    assert bool((said.diff() > 0).all())
    assert bool((curve.spread(at) > 0).all())


def test_it_helps_where_a_line_cannot_and_its_spread_is_its_scatter() -> None:
    x, _, risk = bent(4000, 99)
    at = torch.from_numpy(x)[:, None]
    errors: dict[str, list[float]] = {"platt": [], "isotonic": [], "temperature": []}
    for seed in range(10):
        seen, y, _ = bent(1000, seed)
        for method, found in errors.items():
            config = CalibrationConfig(method=method)  # type: ignore[arg-type]
            fitted = fit_logits(BinaryObjective(), seen[:, None], y[:, None], y, config=config)
            found.append(float(np.abs(torch.sigmoid(fitted.apply(at)[:, 0]).numpy() - risk).mean()))
    assert np.mean(errors["isotonic"]) < 0.7 * np.mean(errors["platt"])
    assert np.mean(errors["platt"]) < np.mean(errors["temperature"])


def test_it_goes_to_json_and_back() -> None:
    x, y, _ = bent(300, 1)
    curve = fit_curve(x, y)
    assert Curve.from_json(json.loads(json.dumps(curve.to_json(), allow_nan=False))) == curve
