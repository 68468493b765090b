"""What several fusions are made of: linear maps that keep the scale, attention over what is there, members' scales."""

import torch
from torch import nn
from torch.nn import functional as F


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear map that keeps the variance of its input (LeCun et al. 1998, "Efficient BackProp", eq. 16)."""
    made = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(made.weight, std=inputs**-0.5)
    if bias:
        nn.init.zeros_(made.bias)
    return made


class EachLinear(nn.Module):
    """A linear map of its own for each of N vectors: (B, N, inputs) → (B, N, outputs), at the scale of `linear`."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(count, outputs))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """vectors (B, N, inputs) → (B, N, outputs)."""
        return torch.einsum("bni,nio->bno", vectors, self.weight) + self.bias


class StreamSum(nn.Module):
    """M^-½ Σ over present streams of W_s p_s + b_s: what the streams say one by one."""

    def __init__(self, streams: int, width: int) -> None:
        super().__init__()
        self.project = EachLinear(streams, width, width)
        self.scale = streams**-0.5

    def forward(self, pooled: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """pooled (B, M, D), there (B, M) bool → (B, D)."""
        total: torch.Tensor = (self.project(pooled) * there[..., None]).sum(1) * self.scale
        return total


class MemberScales(nn.Module):
    """Every member reads the fused vector through a scale of its own (Wen et al. 2020, BatchEnsemble, eq. 1)."""

    def __init__(self, width: int, members: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(members, width) * 0.5 + 1)

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """fused (B, D), or (B, members, D) where they differ already → (B, members, D)."""
        return (fused if fused.ndim == 3 else fused[:, None]) * self.scale


class Attention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, eq. 1) over the keys that are present.

    A query that has nothing to look at gets 0. Keys have no bias: a softmax would not see it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = linear(width, width)
        self.key = linear(width, width, bias=False)
        self.value = linear(width, width)
        self.out = linear(width, width)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """queries (B, Q, D), keys (B, K, D), present (B, K) or (B, Q, K) bool → (B, Q, D)."""
        seen = present if present.ndim == 3 else present[:, None].expand(-1, queries.shape[1], -1)
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, keys), (self.value, keys))
        )
        # A finite floor, as a row of -inf alone has no softmax.
        floor = torch.zeros_like(seen, dtype=query.dtype).masked_fill(~seen, torch.finfo(query.dtype).min)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=floor[:, None])
        told: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return told * seen.any(2, keepdim=True)


class Layer(nn.Module):
    """A pre-norm transformer layer (Xiong et al. 2020) whose queries may look at other tokens than themselves."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.think = nn.Sequential(
            nn.LayerNorm(width), linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """queries (B, Q, D), keys (B, K, D), present (B, K) or (B, Q, K) bool → (B, Q, D)."""
        seen = queries + self.dropout(self.attention(self.norm(queries), self.norm(keys), present))
        after: torch.Tensor = seen + self.dropout(self.think(seen))
        return after
