"""Sum: what the present streams say, one by one, added."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import MemberScales, StreamSum
from models.fusions.pooling import pool


class SumFusion(nn.Module):
    """h = M^-½ Σ_s W_s p_s + b_s over the present streams s, with p_s the mean of the stream's tokens.

    Additive fusion, which says nothing about streams together (Baltrušaitis et al. 2019, §6.1, model-agnostic fusion).
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.sum = StreamSum(streams, width)
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        fused: torch.Tensor = self.members(self.dropout(self.sum(*pool(streams))))
        return fused
