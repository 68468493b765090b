"""Heads: from the fused vector to logits."""

import torch
from torch import nn


class BinaryHead(nn.Module):
    """One logit per member, each with weights of its own; 0 before any training."""

    def __init__(self, width: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(members, width))
        self.bias = nn.Parameter(torch.zeros(members))

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """fused (B, members, D) → logits (B, members)."""
        return (fused * self.weight).sum(-1) + self.bias


HEADS: dict[str, type[BinaryHead]] = {"binary": BinaryHead}
