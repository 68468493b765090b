"""Heads: from the fused vector to logits."""

import torch
from torch import nn


class BinaryHead(nn.Module):
    """One logit per member, each with weights of its own."""

    def __init__(self, width: int, members: int, prior_logit: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, width) * width**-0.5)
        self.bias = nn.Parameter(torch.full((members,), prior_logit))

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """fused (B, members, D) → logits (B, members)."""
        return (fused * self.weight).sum(-1) + self.bias


HEADS: dict[str, type[BinaryHead]] = {"binary": BinaryHead}
