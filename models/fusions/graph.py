"""Graph: streams are nodes, and what they say spreads along learned edges."""

import torch
from torch import nn
from torch.nn import functional as F

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import EachLinear, MemberScales, linear
from models.fusions.pooling import mean_of_present, pool


class GraphFusion(nn.Module):
    """Graph convolution over the present streams (Kipf & Welling 2017, eq. 2, with the residual of their appendix B).

    H_0 = W_s p_s + b_s, H_(l+1) = H_l + GELU(N H_l W_l + b_l), h = the mean node; N = D^-½ A D^-½ over present nodes
    alone, A_st = softplus of a learned symmetric number, self-loops included; D its row sums. At first A is 1
    throughout: every stream hears every other.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.project = EachLinear(streams, width, width)
        self.edges = nn.Parameter(torch.full((streams, streams), torch.e - 1).log())
        self.layers = nn.ModuleList(linear(width, width) for _ in range(config.layers))
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        spread = self.normalised(there)
        nodes = self.project(pooled)
        for layer in self.layers:
            nodes = nodes + self.dropout(F.gelu(layer(spread.to(nodes.dtype) @ nodes)))
        fused: torch.Tensor = self.members(mean_of_present(nodes, there))
        return fused

    def normalised(self, there: torch.Tensor) -> torch.Tensor:
        """there (B, M) bool → N (B, M, M), with rows and columns of 0 for absent streams."""
        edges = F.softplus((self.edges + self.edges.T) / 2) * (there[:, :, None] & there[:, None])
        # An absent node has no edge; a degree of 1 keeps its root finite.
        root = (edges.sum(2) + (~there).to(edges.dtype)).rsqrt()
        return edges * root[:, :, None] * root[:, None]
