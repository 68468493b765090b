"""Schedules are those of torch's own, gradients are clipped as torch clips them, and decay spares what it should."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from models.config import TrainingConfig
from models.training.optimise import build_optimizer, clip, schedule, undecayed

EPOCHS, WARMUP = 20, 4


def factors(**given: Any) -> list[float]:
    return [schedule(TrainingConfig(warmup_epochs=WARMUP, **given), n, EPOCHS) for n in range(1, EPOCHS + 1)]


def torchs(make: Any, steps: int, skip: int = 0) -> list[float]:
    """The rates of one of torch's schedulers from a rate of 1; `skip` leaves out its first."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps + skip):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates[skip:]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS - WARMUP, eta_min=0.05)),
        ("linear", lambda o: lr_scheduler.LinearLR(o, 1.0, 0.05, EPOCHS - WARMUP)),
    ],
)
def test_after_the_warm_up_the_rate_falls_as_torchs_does(name: str, make: Any) -> None:
    found = factors(schedule=name)
    assert found[:WARMUP] == pytest.approx([n / (WARMUP + 1) for n in range(1, WARMUP + 1)])
    assert found[WARMUP:] == pytest.approx(torchs(make, EPOCHS - WARMUP, skip=1))


def test_steps_are_torchs() -> None:
    found = factors(schedule="step", step_epochs=5, step_factor=0.3)
    assert found[WARMUP:] == pytest.approx(torchs(lambda o: lr_scheduler.StepLR(o, 5, 0.3), EPOCHS - WARMUP))


def test_one_cycle_is_torchs_and_needs_no_warm_up() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=EPOCHS, cycle_momentum=False)
    rates = []
    for step in range(EPOCHS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step < EPOCHS - 1:
            scheduler.step()
    assert factors(schedule="one-cycle") == pytest.approx(rates, rel=1e-6)


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_one_cycle_of_few_epochs_has_a_rate_for_each(epochs: int) -> None:
    settings = TrainingConfig(schedule="one-cycle")
    assert all(0 < schedule(settings, n, epochs) <= 1 for n in range(1, epochs + 1))


def test_a_constant_rate_stays() -> None:
    assert factors(schedule="constant")[WARMUP:] == [1.0] * (EPOCHS - WARMUP)


@pytest.mark.parametrize("most", [0.1, 1.0, 1e6])
def test_gradients_are_clipped_as_torch_clips_them(most: float) -> None:
    torch.manual_seed(0)
    first = [nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(4))]
    second = [nn.Parameter(p.detach().clone()) for p in first]
    for one, two in zip(first[:2], second[:2], strict=True):  # the third has none
        one.grad = torch.randn_like(one)
        two.grad = one.grad.clone()
    expected = torch.nn.utils.clip_grad_norm_(first, most)
    total, each = clip(second, most)
    assert torch.equal(total, expected)
    assert len(each) == 2
    assert math.hypot(*(float(norm) for norm in each)) == pytest.approx(float(total), rel=1e-6)
    for one, two in zip(first[:2], second[:2], strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.equal(one.grad, two.grad)


def test_decay_can_leave_out_biases_and_norms() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    assert undecayed(network) == {"0.bias", "1.weight", "1.bias", "2.weight", "2.bias", "3.bias"}
    rates = {name: 0.1 for name, _ in network.named_parameters()}
    settings = TrainingConfig(optimizer="sgd", momentum=0.0, decay="weights", weight_decay=0.5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = build_optimizer(settings, network, rates)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, tensor in network.named_parameters():
        kept = 1.0 if name in undecayed(network) else 1 - 0.1 * 0.5
        assert torch.allclose(tensor, before[name] * kept), name


def test_each_parameter_moves_at_its_own_rate() -> None:
    layers = [nn.Linear(2, 2, bias=False) for _ in range(3)]
    network = nn.Sequential(*layers)
    settings = TrainingConfig(optimizer="sgd", momentum=0.0, weight_decay=0.0)
    before = [layer.weight.detach().clone() for layer in layers]
    optimizer = build_optimizer(settings, network, {"0.weight": 0.1, "1.weight": 0.3})
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = [float((was - layer.weight.detach()).mean()) for was, layer in zip(before, layers, strict=True)]
    assert moved == pytest.approx([0.1, 0.3, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
        (
            {"optimizer": "sgd", "momentum": 0.8, "nesterov": True},
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
        ),
    ],
)
def test_the_optimiser_is_the_one_that_is_asked_for(given: dict[str, Any], plain: Any) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    one = build_optimizer(TrainingConfig(weight_decay=0.1, **given), first, {"weight": 0.01, "bias": 0.01})
    two = plain(second.parameters())
    for _ in range(4):
        x = torch.randn(5, 3)
        for network, optimizer in ((first, one), (second, two)):
            optimizer.zero_grad()
            (network(x) ** 2).sum().backward()
            optimizer.step()
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


@pytest.mark.parametrize("given", [{"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.0}])
def test_nesterov_needs_descent_with_momentum(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nesterov: expected optimizer sgd with a momentum above 0, got"):
        TrainingConfig(nesterov=True, **given)
