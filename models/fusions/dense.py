"""Dense: every layer reads all streams and all layers before it."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import MemberScales, linear
from models.fusions.pooling import beside_flags, pool


class DenseFusion(nn.Module):
    """Dense connection (Huang et al. 2017, eq. 2) from the streams to every layer and from every layer to the last.

    x_0 = [p_1 … p_M, flags], x_l = [x_(l-1), GELU(W_l x_(l-1) + b_l)], h = V x_L + c. No batch norm, unlike the paper:
    a case's risk is not to depend on its companions.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        inputs = streams * (width + 1)
        self.layers = nn.ModuleList(linear(inputs + i * config.growth, config.growth) for i in range(config.layers))
        self.read = linear(inputs + config.layers * config.growth, width)
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        known = beside_flags(*pool(streams))
        for layer in self.layers:
            known = torch.cat([known, self.dropout(nn.functional.gelu(layer(known)))], 1)
        fused: torch.Tensor = self.members(self.read(known))
        return fused
