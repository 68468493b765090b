"""Joint: one transformer over all tokens of all streams, read at a token of its own (early fusion)."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import Layer, MemberScales
from models.fusions.pooling import without_absent


class JointFusion(nn.Module):
    """A transformer over [class token, x_si + name_s …], every token seeing all that are present; h = LN(class token).

    The single-stream design of VisualBERT (Li et al. 2019, §3), the class token of BERT (Devlin et al. 2019, §3).
    With nothing present the class token sees itself.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.stream_name = nn.Parameter(torch.randn(streams, width) * 0.1)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.layers = nn.ModuleList(Layer(width, config.heads, dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        batch = len(streams[0].values)
        named = [x + name for x, name in zip(without_absent(streams), self.stream_name, strict=True)]
        tokens = torch.cat([self.class_token.expand(batch, -1, -1), *named], 1)
        present = torch.cat([streams[0].present.new_ones(batch, 1), *(t.present for t in streams)], 1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, tokens, present)
        read = self.layers[-1](tokens[:, :1], tokens, present)  # nobody reads what the last makes of other tokens
        fused: torch.Tensor = self.members(self.norm(read[:, 0]))
        return fused
