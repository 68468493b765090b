"""Cross-attention: each stream asks the tokens of the others."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import Layer, MemberScales
from models.fusions.pooling import mean_of_present, pool, without_absent


class CrossAttentionFusion(nn.Module):
    """q_s = p_s + name_s goes through layers that attend to x_tj + name_t of the other present streams t ≠ s.

    h = the mean of LN(q_s) over the present streams. After Tsai et al. 2019, "Multimodal transformer", §3: each
    layer attends to the encoders' tokens, not to those of a layer before. Theirs has weights for each of the M (M - 1)
    directions and sequences as queries; ours shares them, told apart by name, and asks one question per stream. A
    stream that is there by itself has nobody to ask: it passes through the layers as it is.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.stream_name = nn.Parameter(torch.randn(streams, width) * 0.1)
        self.layers = nn.ModuleList(Layer(width, config.heads, dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        queries = pooled + self.stream_name
        named = zip(without_absent(streams), self.stream_name, strict=True)
        tokens = torch.cat([x + name for x, name in named], 1)
        others = torch.stack([_without(streams, s) for s in range(len(streams))], 1)
        for layer in self.layers:
            queries = layer(queries, tokens, others)
        fused: torch.Tensor = self.members(mean_of_present(self.norm(queries), there))
        return fused


def _without(streams: list[Tokens], asking: int) -> torch.Tensor:
    """(B, K of all streams) bool: what is present of the streams other than the one that asks."""
    seen = [t.present if s != asking else torch.zeros_like(t.present) for s, t in enumerate(streams)]
    return torch.cat(seen, 1)
