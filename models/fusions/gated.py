"""Gated: each stream passes a gate that depends on all of them."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import EachLinear, MemberScales, linear
from models.fusions.pooling import beside_flags, pool


class GatedFusion(nn.Module):
    """A gated multimodal unit for M streams (Arevalo et al. 2017, GMU, figure 2a).

    h = M^-½ Σ_s 2 σ(V_s x + c_s) ∘ tanh(W_s p_s + b_s) over the present streams, x = [p_1 … p_M, flags]. Beside the
    paper's unit: the flags of what is there, the scale, and the 2, for which an undecided gate is 1.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.project = EachLinear(streams, width, width)
        self.gates = linear(streams * (width + 1), streams * width)
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        gates = 2 * self.gates(beside_flags(pooled, there)).sigmoid().reshape(pooled.shape) * there[..., None]
        total = (gates * self.project(pooled).tanh()).sum(1) * len(streams) ** -0.5
        fused: torch.Tensor = self.members(self.dropout(total))
        return fused
