"""Low-rank updates: a pretrained network that stays as it is, with little matrices learnt beside its weights."""

import re

import torch
from torch import nn
from torch.nn.utils import parametrize

from ingest.errors import TaskError


class LowRank(nn.Module):
    """A weight W becomes W + B A (Hu et al. 2021, "LoRA: low-rank adaptation of large language models", eq. 3, α = r).

    A (r, in, *kernel) is random and B (out, r) is 0, so that at first nothing changes. Beside a convolution this is a
    convolution of r filters, then one of side 1. r is at most the weight's own rank.
    """

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        rank = min(rank, len(weight), weight[0].numel())
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:]))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.up = nn.Parameter(torch.zeros(len(weight), rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """weight (out, in, *kernel) → the same shape."""
        return weight + (self.up @ self.down.flatten(1)).reshape(weight.shape)


def add_low_rank(network: nn.Module, rank: int, targets: str = "") -> list[str]:
    """Freeze the network and put low-rank updates beside its linear and convolutional weights; returns their names.

    targets: a regular expression, found anywhere in a layer's name. Grouped convolutions are left out: each filter of
    a depthwise one sees one channel, and has no rank to spare. Raises TaskError where nothing is left.
    """
    chosen = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and getattr(module, "groups", 1) == 1
        and re.search(targets, name)
    }
    if not chosen:
        raise TaskError(
            f"encoder.lora_rank {rank}: expected linear or convolutional layers named like {targets!r}, found none in "
            f"{type(network).__name__}; use frozen: true, or train it whole"
        )
    network.requires_grad_(False)
    for module in chosen.values():
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
    return list(chosen)
