"""How weights move: optimisers, the learning rate from epoch to epoch, and the clipping of gradients."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from models.config import TrainingConfig

FLOOR = 0.05  # where cosine and linear end, as a share of the rate
RISE, FIRST, LAST = 0.3, 1 / 25, 1 / 250_000  # of one-cycle: epochs that rise, and the shares it begins and ends with


def build_optimizer(settings: TrainingConfig, network: nn.Module, rates: Mapping[str, float]) -> torch.optim.Optimizer:
    """An optimiser of the parameters that `rates` names, each at its rate.

    Each group keeps its rate as `base`, which the schedule multiplies.
    """
    spared = set() if settings.decay == "all" else undecayed(network)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name in rates:
            groups.setdefault((rates[name], name in spared), []).append(parameter)
    listed = [
        {"params": mine, "base": rate, "lr": rate, "weight_decay": 0.0 if spare else settings.weight_decay}
        for (rate, spare), mine in groups.items()
    ]
    return OPTIMIZERS[settings.optimizer](listed, settings)


def undecayed(network: nn.Module) -> set[str]:
    """The parameters that decay would not make simpler: biases, and the vectors and numbers of normalisations."""
    return {name for name, parameter in network.named_parameters() if name.endswith("bias") or parameter.ndim < 2}


def schedule(settings: TrainingConfig, number: int, epochs: int) -> float:
    """The learning rate's factor in an epoch, counted from 1.

    cosine: half a cosine down to a twentieth (Loshchilov & Hutter 2017, eq. 5, without restarts). linear: straight down
    to it. step: times `step_factor` every `step_epochs`. All of them after a linear warm-up. one-cycle: up from 1/25
    and down to 1/250,000 by cosines, the rise 30 % of the epochs (Smith & Topin 2018), without another warm-up.
    """
    if settings.schedule == "one-cycle":
        return _one_cycle(number - 1, epochs)
    warmup = settings.warmup_epochs
    if number <= warmup:
        return number / (warmup + 1)
    part = (number - warmup) / max(epochs - warmup, 1)
    match settings.schedule:
        case "cosine":
            return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * part))
        case "linear":
            return 1 - (1 - FLOOR) * part
        case "step":
            return float(settings.step_factor ** ((number - warmup - 1) // settings.step_epochs))
        case _:
            return 1.0


def clip(parameters: Iterable[nn.Parameter], most: float) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Scale gradients down to a norm of at most `most` (Pascanu et al. 2013, algorithm 1), without waiting for a GPU.

    Returns the norm of all of them before, and that of each parameter that has one.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch._foreach_norm(gradients, 2)
    total = torch.linalg.vector_norm(torch.stack(list(norms)), 2)
    torch._foreach_mul_(gradients, (most / (total + 1e-6)).clamp(max=1.0))
    return total, norms


def _one_cycle(step: int, epochs: int) -> float:
    """The factor at a step counted from 0."""
    top = max(RISE * epochs - 1, 0.0)
    if step <= top:
        return _between(FIRST, 1.0, step / top) if top else 1.0
    return _between(1.0, LAST, (step - top) / (epochs - 1 - top))


def _between(first: float, last: float, part: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * part))


def _sgd(groups: list[dict[str, Any]], settings: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=1.0, momentum=settings.momentum, nesterov=settings.nesterov)


# (groups with their rates and decay, settings) -> optimiser
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainingConfig], torch.optim.Optimizer]] = {
    "adamw": lambda groups, _: torch.optim.AdamW(groups),
    "adam": lambda groups, _: torch.optim.Adam(groups),
    "sgd": _sgd,
}
