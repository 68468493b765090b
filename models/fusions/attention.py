"""Attention: a transformer over the present tokens, read by gated sums."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.pooling import without_absent


class AttentionFusion(nn.Module):
    """A transformer over the present tokens, read by gated sums, one set of gates per member.

    Tokens carry a learned name of their stream; pre-norm layers (Xiong et al. 2020) let each see what else is there.
    Then every token gives its evidence, weighed by a gate that depends on the others. Sums rather than a softmax:
    independent evidence adds on the log-odds, and a token that is absent leaves the others' evidence as it was. A
    constant token stands for "nothing known", so that a case with no stream at all has a well-defined risk: the
    baseline of every attribution.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.stream_name = nn.Parameter(torch.randn(streams, width) * 0.1)
        self.nothing = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.evidence = nn.Linear(width, width)
        self.gates = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, members))
        self.per_stream = nn.Parameter(torch.ones(streams + 1, members))

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        plain = [x + name for x, name in zip(without_absent(streams), self.stream_name, strict=True)]
        batch = len(plain[0])
        tokens = torch.cat([self.nothing.expand(batch, -1, -1).to(plain[0].dtype), *plain], 1)
        absent = ~torch.cat([streams[0].present.new_ones(batch, 1), *(t.present for t in streams)], 1)
        seen = tokens
        for layer in self.layers:
            seen = layer(seen, src_key_padding_mask=absent)
        # A stream of many tokens has no more say at first than a stream of one.
        share = torch.cat(
            [plain[0].new_ones(batch, 1), *(t.present / t.present.sum(1, keepdim=True).clamp(min=1) for t in streams)],
            1,
        )
        sizes = [1, *(t.present.shape[1] for t in streams)]
        weight = torch.cat([w.expand(k, -1) for w, k in zip(self.per_stream, sizes, strict=True)])  # (K, members)
        gates = 2 * self.gates(seen).sigmoid() * share[..., None] * weight
        fused: torch.Tensor = torch.einsum("bkm,bkd->bmd", gates.to(tokens.dtype), self.evidence(tokens))
        return fused
