"""Weighted: a convex combination of the present streams."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import EachLinear, MemberScales
from models.fusions.pooling import masked_softmax, pool


class WeightedFusion(nn.Module):
    """h_m = Σ_s w_ms (W_s p_s + b_s), w_m = softmax of θ_m over the present streams.

    θ is learned, one number per member and stream, and the same for every case: equal weights at first, the mean over
    what is available of HeMIS (Havaei et al. 2016). An absent stream's weight goes to the others in proportion.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.project = EachLinear(streams, width, width)
        self.weights = nn.Parameter(torch.zeros(members, streams))
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        weight = masked_softmax(self.weights.expand(len(there), -1, -1), there[:, None])
        said = self.dropout(self.project(pooled))
        fused: torch.Tensor = self.members(weight.to(said.dtype) @ said)
        return fused
