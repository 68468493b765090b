"""Correspondence: tokens of two streams that match are found, and fused as couples."""

import torch
from torch import nn
from torch.nn import functional as F

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import MemberScales, StreamSum, linear
from models.fusions.pooling import masked_softmax, mean_of_present, pairs, pool, without_absent


class CorrespondenceFusion(nn.Module):
    """A learned soft alignment between the tokens of every two present streams; aligned couples are fused and pooled.

    S_ij = (Z_s x_si · Z_t x_tj) / √D; T is what `sinkhorn` makes of S, its rows divided by their sums;
    F_st = mean_i P GELU(A_s x_si + B_t Σ_j T_ij x_tj + c_s) + d, and F_ts the same with T's columns. h = sum of the
    streams (`StreamSum`) + the mean of F_st over all ordered pairs of present streams.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        self.steps, self.pairs = config.sinkhorn_steps, pairs(streams)
        self.sum = StreamSum(streams, width)
        self.similar = nn.ModuleList(linear(width, width, bias=False) for _ in range(streams))
        self.mine = nn.ModuleList(linear(width, 2 * width) for _ in range(streams))
        self.yours = nn.ModuleList(linear(width, 2 * width, bias=False) for _ in range(streams))
        self.read = linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.members = MemberScales(width, members)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        pooled, there = pool(streams)
        fused = self.sum(pooled, there)
        if self.pairs:
            both = torch.stack([there[:, s] & there[:, t] for s, t in self.pairs for _ in range(2)], 1)
            fused = fused + mean_of_present(torch.stack(self._couples(streams), 1), both)
        members: torch.Tensor = self.members(self.dropout(fused))
        return members

    def _couples(self, streams: list[Tokens]) -> list[torch.Tensor]:
        """F_st and F_ts (B, D) of each pair s < t."""
        values = without_absent(streams)
        similar, mine, yours = (
            [layer(x) for layer, x in zip(layers, values, strict=True)]
            for layers in (self.similar, self.mine, self.yours)
        )
        found = []
        for s, t in self.pairs:
            scores = similar[s] @ similar[t].transpose(1, 2) * similar[s].shape[2] ** -0.5
            here, there = streams[s].present, streams[t].present
            aligned = sinkhorn(scores.float(), here, there, self.steps)
            for i, j, match in ((s, t, aligned), (t, s, aligned.transpose(1, 2))):
                share = masked_softmax(match, streams[j].present[:, None]).to(mine[i].dtype)
                hidden = F.gelu(mine[i] + share @ yours[j])
                found.append(self.read(mean_of_present(hidden, streams[i].present)))
        return found


def sinkhorn(scores: torch.Tensor, here: torch.Tensor, there: torch.Tensor, steps: int) -> torch.Tensor:
    """log T + constants of rows and columns for the T ∝ exp(scores) whose marginals are uniform over what is present.

    scores (B, I, J), here (B, I) bool, there (B, J) bool → (B, I, J): the scores plus potentials of rows and columns
    after so many rounds of row then column scaling (Cuturi 2013, algorithm 1, in logarithms). Row softmaxes of it give
    the share of each column in a row, and the reverse. Absent entries mean nothing. 0 steps give the scores.
    """
    both = here[:, :, None] & there[:, None]
    masked = scores.masked_fill(~both, torch.finfo(scores.dtype).min / 4)
    row, column = torch.zeros_like(scores[:, :, 0]), torch.zeros_like(scores[:, 0])
    for _ in range(steps):
        row = _potential(masked + column[:, None], both.any(2))
        column = _potential((masked + row[:, :, None]).transpose(1, 2), both.any(1))
    return scores + row[:, :, None] + column[:, None]


def _potential(scores: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """What to add to each row so that its exponentials sum to 1 / (rows present); 0 for an absent row."""
    share = -present.sum(1, keepdim=True).clamp(min=1).to(scores.dtype).log()
    return (share - scores.logsumexp(2)).masked_fill(~present, 0)
