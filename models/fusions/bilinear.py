"""Bilinear: products of every token of one stream with every token of another."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import MemberScales, StreamSum
from models.fusions.pooling import masked_softmax, mean_of_present, pairs, pool, without_absent


class BilinearFusion(nn.Module):
    """Bilinear attention of low rank R over every pair of present streams (Kim, Jun & Zhang 2018, BAN, §3).

    F_st = Σ_ij A_ij (U_s x_si) ∘ (U_t x_tj), A = softmax over i, j of q_st · (V_s x_si ∘ V_t x_tj), U and V (R × D);
    h = sum of the streams (`StreamSum`) + the mean of P_st F_st over the pairs s < t of which both are there.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        rank, self.pairs = config.rank, pairs(streams)
        self.sum = StreamSum(streams, width)
        self.factor = nn.Parameter(torch.randn(streams, width, rank) * width**-0.5)
        self.attend = nn.Parameter(torch.randn(streams, width, rank) * width**-0.5)
        self.score = nn.Parameter(torch.randn(len(self.pairs), rank) * rank**-0.5)
        self.read = nn.Parameter(torch.randn(len(self.pairs), rank, width) * rank**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        fused = self.sum(pooled, there)
        if self.pairs:
            said = torch.stack(self._products(streams), 1)
            both = torch.stack([there[:, s] & there[:, t] for s, t in self.pairs], 1)
            fused = fused + mean_of_present(torch.einsum("bpr,prd->bpd", said, self.read), both)
        members: torch.Tensor = self.members(self.dropout(fused))
        return members

    def _products(self, streams: list[Tokens]) -> list[torch.Tensor]:
        """F (B, R) of each pair."""
        values = without_absent(streams)
        factors = [x @ weight for x, weight in zip(values, self.factor, strict=True)]
        attends = [x @ weight for x, weight in zip(values, self.attend, strict=True)]
        found = []
        for (s, t), score in zip(self.pairs, self.score, strict=True):
            scores = torch.einsum("bir,bjr->bij", attends[s] * score, attends[t])
            present = streams[s].present[:, :, None] & streams[t].present[:, None]
            weight = masked_softmax(scores.flatten(1), present.flatten(1)).view_as(scores)
            found.append((factors[s] * (weight.to(scores.dtype) @ factors[t])).sum(1))
        return found
