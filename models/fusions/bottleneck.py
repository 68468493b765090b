"""Bottleneck: streams exchange through a few shared tokens alone."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import Layer, MemberScales
from models.fusions.pooling import mean_of_present, without_absent


class BottleneckFusion(nn.Module):
    """Attention bottlenecks (Nagrani et al. 2021, §3.2): in each layer every stream has a transformer of its own.

    [x_s, z_s] = layer_ls([x_s, z]), then z = the mean of z_s over the present streams; z stays where there is none.
    Theirs reads a class token of each stream; here one more layer lets the bottlenecks z see each other, and h = the
    mean of LN(z): with a single layer, streams would otherwise only add.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.bottlenecks = nn.Parameter(torch.randn(1, config.bottlenecks, width) * 0.1)
        self.layers = nn.ModuleList(_LayerOfEach(streams, width, config.heads, dropout) for _ in range(config.layers))
        self.last = Layer(width, config.heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        tokens = without_absent(streams)
        shared = self.bottlenecks.expand(len(tokens[0]), -1, -1)
        always = streams[0].present.new_ones(shared.shape[:2])
        seen = [torch.cat([t.present, always], 1) for t in streams]
        there = torch.stack([t.present.any(1) for t in streams], 1)
        nobody = ~there.any(1)[:, None, None]
        for layer in self.layers:
            after = layer([torch.cat([x, shared], 1) for x in tokens], seen)
            tokens = [x[:, : t.shape[1]] for x, t in zip(after, tokens, strict=True)]
            told = torch.stack([x[:, -shared.shape[1] :] for x in after], 1)
            shared = torch.where(nobody, shared, mean_of_present(told, there))
        fused: torch.Tensor = self.members(self.norm(self.last(shared, shared, always)).mean(1))
        return fused


class _LayerOfEach(nn.Module):
    """A transformer layer for each stream."""

    def __init__(self, streams: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.streams = nn.ModuleList(Layer(width, heads, dropout) for _ in range(streams))

    def forward(self, tokens: list[torch.Tensor], present: list[torch.Tensor]) -> list[torch.Tensor]:
        """M of tokens (B, K, D) and present (B, K) bool → M of (B, K, D)."""
        return [layer(x, x, there) for layer, x, there in zip(self.streams, tokens, present, strict=True)]
