"""Experts: several networks, and a router that says how much each counts for a case."""

import torch
from torch import nn

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.layers import EachLinear, linear
from models.fusions.pooling import beside_flags, pool


class ExpertsFusion(nn.Module):
    """A mixture of E experts (Shazeer et al. 2017, eq. 1), routed softly: h_m = Σ_e g_me f_e(x), g_m = softmax(R_m x).

    x = [p_1 … p_M, flags], so that experts may specialise in what is there; f_e has one hidden layer of 2 D. Every
    member has a router of its own. All experts are asked (the softmax of their eq. 2, no top-k): with few of them and
    few cases, a choice that jumps is worth less than one that can be explained by gradients.
    """

    def __init__(self, config: FusionConfig, width: int, streams: int, members: int, dropout: float) -> None:
        super().__init__()
        inputs = streams * (width + 1)
        self.members = members
        self.router = linear(inputs, members * config.experts)
        self.hidden = EachLinear(config.experts, inputs, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.out = EachLinear(config.experts, 2 * width, width)

    def forward(self, streams: list[Tokens]) -> torch.Tensor:
        """M streams of tokens (B, K, D) → (B, members, D)."""
        known = beside_flags(*pool(streams))
        hidden = self.hidden(known[:, None].expand(-1, len(self.hidden.weight), -1))
        said = self.out(self.dropout(nn.functional.gelu(hidden)))
        return torch.einsum("bme,bed->bmd", self._route(known).to(said.dtype), said)

    def route(self, streams: list[Tokens]) -> torch.Tensor:
        """(B, members, E): how much each expert counts; sums to 1."""
        return self._route(beside_flags(*pool(streams)))

    def imbalance(self, streams: list[Tokens]) -> torch.Tensor:
        """A scalar, 0 where all experts count the same over these cases: a penalty that keeps each of them in use.

        The squared coefficient of variation of the experts' importance (Shazeer et al. 2017, eq. 6-7), mean of
        the members.
        """
        importance = self.route(streams).float().sum(0)
        return (importance.var(1, correction=0) / importance.mean(1).square()).mean()

    def _route(self, known: torch.Tensor) -> torch.Tensor:
        routed: torch.Tensor = self.router(known).unflatten(1, (self.members, -1)).softmax(-1)
        return routed
