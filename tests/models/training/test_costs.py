"""Rare classes may count more and easy cases less, and logits still mean what they meant."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.task import parse_task
from models.config import TrainingConfig
from models.objectives.binary import BinaryObjective
from models.objectives.classes import ClassesObjective, OrdinalObjective
from models.objectives.objective import Objective
from models.training.costs import ClassCost, balanced, build_cost, check_contrasts

CPU = torch.device("cpu")
BINARY = cast(Objective, BinaryObjective())
OBJECTIVES: list[tuple[Objective, int]] = [
    (BINARY, 2),
    (cast(Objective, ClassesObjective(("a", "b", "c"), ("c",))), 3),
    (cast(Objective, OrdinalObjective(("a", "b", "c"), ("c",))), 3),
]


@settings(max_examples=30)
@given(logit=st.floats(-6, 6), outcome=st.sampled_from([0.0, 1.0]), gamma=st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_the_focal_loss_is_lins(logit: float, outcome: float, gamma: float) -> None:
    p = 1 / (1 + np.exp(-logit))
    p_t = p if outcome else 1 - p
    found = ClassCost(BINARY, None, gamma).loss(
        torch.tensor([[logit]], dtype=torch.float64), torch.tensor([[outcome]], dtype=torch.float64)
    )
    assert float(found) == pytest.approx(-((1 - p_t) ** gamma) * np.log(p_t), rel=1e-6, abs=1e-12)


def test_the_focal_loss_of_classes_and_alpha_are_lins() -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(6, 2, 3)), rng.integers(0, 3, 6)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    p = np.stack([shares[i, :, label[i]] for i in range(6)])
    outcome = torch.from_numpy(label)[:, None, None].double()  # (B, 1, K), as members are given it
    found = ClassCost(OBJECTIVES[1][0], None, 2.0).loss(torch.from_numpy(logits), outcome)
    assert found.numpy() == pytest.approx(-((1 - p) ** 2) * np.log(p), rel=1e-6)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_certainty_gives_a_finite_slope(logit: float, gamma: float) -> None:
    logits = torch.tensor([[logit]], requires_grad=True)
    ClassCost(BINARY, None, gamma).loss(logits, torch.tensor([[1.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    classes = np.random.default_rng(1).choice(3, 200, p=[0.7, 0.25, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=classes)
    found = balanced(classes.astype(float), 3)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[classes].mean() == pytest.approx(1)


def test_a_class_that_nobody_has_makes_no_infinity() -> None:
    assert balanced(np.array([0.0, 0.0, 2.0, 2.0]), 3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("objective", "classes"), OBJECTIVES, ids=["binary", "multiclass", "ordinal"])
def test_weighed_classes_leave_logits_calibrated_in_the_large(objective: Objective, classes: int) -> None:
    """Of a model of a constant alone, the best logits under balanced weights give the shares that the classes have."""
    shares = np.array([0.9, 0.1]) if classes == 2 else np.array([0.8, 0.15, 0.05])
    label = np.repeat(np.arange(classes), (shares * 200).round().astype(int))
    outcome = torch.from_numpy(label)[:, None].double()
    weight = torch.from_numpy(balanced(label, classes)).double()
    logits = torch.zeros(objective.outputs, dtype=torch.float64, requires_grad=True)
    cost = ClassCost(objective, weight, 0.0)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def close() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cost.loss(logits.expand(len(label), -1), outcome).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        return loss

    optimizer.step(close)  # type: ignore[no-untyped-call]  # torch's own
    found = objective.probabilities(logits.detach()).numpy()
    assert found == pytest.approx(shares[1:] if classes == 2 else shares, abs=1e-6)


def test_weights_make_the_rare_class_count_as_much_as_the_common_one() -> None:
    label = torch.tensor([0.0] * 9 + [1.0])[:, None]
    weight = torch.from_numpy(balanced(label[:, 0].numpy(), 2))
    # at the logits of the shares themselves, both classes are weighed to a half
    logits = torch.full((10, 1), float(np.log(0.1 / 0.9)))
    costs = ClassCost(BINARY, weight, 0.0).loss(logits, label)
    assert float(costs[:9].sum()) == pytest.approx(float(costs[9]), rel=1e-5)
    assert float(costs[9]) == pytest.approx(5 * np.log(2), rel=1e-5)


def test_nothing_asked_for_is_the_objective_itself(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort, objective = synthetic_cohort(n=160), BINARY
    assert build_cost(TrainingConfig(), cohort.task, objective, cohort.outcome, CPU) is objective
    assert build_cost(TrainingConfig(loss="focal", focal_gamma=0), cohort.task, objective, cohort.outcome, CPU) is (
        objective
    )
    cost = build_cost(TrainingConfig(class_weights="balanced"), cohort.task, objective, cohort.outcome, CPU)
    assert isinstance(cost, ClassCost)
    assert cost.weight is not None
    share = cohort.outcome.mean()
    assert cost.weight.tolist() == pytest.approx([0.5 / (1 - share), 0.5 / share], rel=1e-5)


@pytest.mark.parametrize("given", [{"loss": "focal"}, {"class_weights": "balanced"}])
def test_an_outcome_without_classes_is_refused(given: dict[str, str], synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=160)
    target = {"kind": "regression", "value": "LOINC//2160-0", "horizon_hours": 48, "above": 10.0}
    task = parse_task({**cohort.task.model_dump(mode="json"), "target": target}, "test")
    key = next(iter(given))
    with pytest.raises(TaskError, match=rf"model.training.{key}: .*expected one target of kind .*, got regr"):
        build_cost(TrainingConfig(**given), task, BINARY, cohort.outcome, CPU)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"model\.training\.triplet: expected one target of kind binary"):
        check_contrasts(TrainingConfig(triplet=1.0), task)
    check_contrasts(TrainingConfig(cross_modal_contrastive=1.0), task)
