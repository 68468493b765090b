"""Calibration of logits by any method: what each changes, where each helps, and that it comes back from JSON."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from ingest.errors import TaskError
from models.config import CalibrationConfig
from models.objectives import Objective
from models.objectives.binary import BinaryObjective, LabelsObjective
from models.objectives.classes import ClassesObjective
from models.objectives.regression import RegressionObjective
from models.trust.calibrate import LOG_SCALE_PRIOR_SD
from models.trust.logits import LogitCalibration, fit_logits


def two_patterns(n: int, seed: int, apart: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, outcomes and patterns of two streams; where the second is absent the risk is higher by `apart`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, n)
    present = np.stack([np.ones(n, bool), rng.random(n) < 0.5], 1)
    logit = x + apart * np.where(present[:, 1], -1, 1)
    return x, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float), present


def fit(method: str, x: np.ndarray, y: np.ndarray, present: np.ndarray | None = None, **more: Any) -> LogitCalibration:
    config = CalibrationConfig(method=method, **more)  # type: ignore[arg-type]
    return fit_logits(BinaryObjective(), x[:, None], y[:, None], y, present, config)


def test_a_temperature_is_the_scale_alone_that_fits_best() -> None:
    x, y, _ = two_patterns(3000, 0, 0.0)
    part = fit("temperature", 2.5 * x, y).parts[0]

    def loss(log_scale: float) -> float:
        u = 2.5 * x * np.exp(log_scale)
        return float((np.logaddexp(0, u) - y * u).sum() + (log_scale / LOG_SCALE_PRIOR_SD) ** 2 / 2)

    assert part.scale == pytest.approx(float(np.exp(minimize_scalar(loss).x)), rel=1e-4)
    assert (part.shift, part.shift_variance, part.covariance) == (0.0, 0.0, 0.0)


def test_none_leaves_logits_as_they_are() -> None:
    x, y, _ = two_patterns(50, 0, 0.0)
    logits = torch.from_numpy(x)[:, None]
    assert torch.equal(fit("none", x, y).apply(logits), logits)


def test_patterns_that_differ_get_maps_of_their_own_and_calibrate_better() -> None:
    x, y, present = two_patterns(2000, 0, 0.8)
    one, each = fit("platt", x, y), fit("platt", x, y, present, per_pattern=True)
    assert set(each.patterns) == {"10", "11"}
    assert each.patterns["10"][0].shift == pytest.approx(0.8, abs=0.25)
    assert each.patterns["11"][0].shift == pytest.approx(-0.8, abs=0.25)
    new, happened, shown = two_patterns(4000, 1, 0.8)
    logits = torch.from_numpy(new)[:, None]
    truth, here = torch.from_numpy(happened)[:, None], torch.from_numpy(shown)
    losses = [float(BinaryObjective().loss(fitted.apply(logits, here), truth).mean()) for fitted in (one, each)]
    assert losses[1] < losses[0] - 0.02


def test_patterns_that_do_not_differ_share_their_map() -> None:
    x, y, present = two_patterns(2000, 3, 0.0)
    each = fit("platt", x, y, present, per_pattern=True)
    for parts in each.patterns.values():
        assert parts[0].shift == pytest.approx(each.parts[0].shift, abs=0.08)
        assert parts[0].scale == pytest.approx(each.parts[0].scale, rel=0.1)


def test_a_pattern_with_too_few_cases_of_either_kind_uses_the_common_map() -> None:
    x, y, present = two_patterns(400, 4, 0.8)
    rare = np.arange(400) < 15
    present[rare] = [False, True]
    each = fit("platt", x, y, present, per_pattern=True)
    assert "01" not in each.patterns
    logits, common = torch.from_numpy(x)[:, None], each.parts[0]
    said = each.apply(logits, torch.from_numpy(present))[rare, 0].numpy()
    assert said == pytest.approx(common.scale * x[rare] + common.shift)


def test_each_case_is_mapped_by_its_own_pattern_also_members_at_once() -> None:
    x, y, present = two_patterns(2000, 0, 0.8)
    each = fit("isotonic", x, y, present, per_pattern=True)
    members = torch.from_numpy(np.random.default_rng(0).normal(size=(2000, 3, 1)))
    shown = torch.from_numpy(present)
    whole = each.apply(members, shown)
    for row in (0, 5, 9):
        alone = each.apply(members[row : row + 1], shown[row : row + 1])
        assert torch.equal(alone[0], whole[row])
    with pytest.raises(ValueError, match="patterns have their own calibration"):
        each.apply(members)


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic", "none"])
@pytest.mark.parametrize("per_pattern", [False, True])
def test_it_comes_back_from_json_as_it_was(method: str, per_pattern: bool) -> None:
    x, y, present = two_patterns(600, 5, 0.5)
    fitted = fit(method, x, y, present, per_pattern=per_pattern)
    kept = json.loads(json.dumps(fitted.to_json(), allow_nan=False))
    assert LogitCalibration.from_json(kept, BinaryObjective()) == fitted
    old = {"parts": kept["parts"]}
    assert LogitCalibration.from_json(old, BinaryObjective()).parts == fitted.parts


def test_the_variance_of_the_risk_is_the_delta_methods() -> None:
    x, y, present = two_patterns(800, 6, 0.5)
    fitted = fit("platt", x, y, present, per_pattern=True)
    logits, shown = torch.from_numpy(x)[:, None], torch.from_numpy(present)
    found = fitted.risk_variance(BinaryObjective(), logits, shown)
    for pattern, code in (([True, False], "10"), ([True, True], "11")):
        part, mine = fitted.patterns[code][0], (present == pattern).all(1)
        expected = part.scale_variance * x[mine] ** 2 + 2 * part.covariance * x[mine] + part.shift_variance
        assert found[mine] == pytest.approx(expected)


@pytest.mark.parametrize(
    "objective",
    [ClassesObjective(("a", "b", "c"), ("c",)), RegressionObjective(1.0), LabelsObjective(("a", "b"), "a")],
    ids=["classes", "regression", "labels"],
)
def test_an_isotonic_curve_is_for_one_binary_target(objective: Objective) -> None:
    with pytest.raises(TaskError, match="isotonic: expected one binary target"):
        fit_logits(objective, np.zeros((4, objective.outputs)), np.zeros((4, objective.columns)), np.zeros(4),
                   config=CalibrationConfig(method="isotonic"))  # fmt: skip


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_several_classes_that_are_too_sure_are_cooled(method: str) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = (rng.random((4000, 1)) > shares.cumsum(1)).sum(1)[:, None].astype(float)
    fitted = fit_logits(ClassesObjective(("a", "b", "c"), ("c",)), 3 * logits, said, (said[:, 0] == 2).astype(float),
                        config=CalibrationConfig(method=method))  # type: ignore[arg-type]  # fmt: skip
    assert fitted.parts[0].scale == pytest.approx(1 / 3, rel=0.05)
