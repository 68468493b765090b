"""Concatenation: each stream's mean token beside a flag for its presence."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import linear
from models.fusions.pooling import pool


class ConcatFusion(nn.Module):
    """Each stream's mean token beside a flag for its presence, through one hidden layer (late concatenation)."""

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            linear(streams * (width + 1), 2 * width), nn.GELU(), nn.Dropout(dropout), linear(2 * width, width)
        )
        self.member = nn.Parameter(torch.randn(members, width) * 0.5 + 1)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        joined = torch.cat([pooled, there[..., None].to(pooled.dtype)], 2).flatten(1)
        fused: torch.Tensor = self.hidden(joined)[:, None] * self.member
        return fused
