"""Concatenation: each stream's mean token beside a flag for its presence."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens


class ConcatFusion(nn.Module):
    """Each stream's mean token beside a flag for its presence, through one hidden layer (late concatenation)."""

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(streams * (width + 1), 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.member = nn.Parameter(torch.randn(members, width) * 0.5 + 1)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        flags = [tokens.present.any(1, keepdim=True) for tokens in streams]
        joined = torch.cat(
            [torch.cat([t.mean(), f.to(t.values.dtype)], 1) for t, f in zip(streams, flags, strict=True)], 1
        )
        fused: torch.Tensor = self.hidden(joined)[:, None] * self.member
        return fused
