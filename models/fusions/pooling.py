"""Tokens before they are fused: what is absent is 0, each stream is one vector, a softmax runs over what is there."""

import torch

from models.encoders.tokens import Tokens


def without_absent(streams: list[Tokens]) -> list[torch.Tensor]:
    """The values (B, K, D), 0 wherever a token is absent: one that was masked keeps what it held."""
    return [t.values.masked_fill(~t.present[..., None], 0) for t in streams]


def pool(streams: list[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """M streams of tokens (B, K, D) → the mean present token of each (B, M, D), 0 where absent; there (B, M) bool."""
    values = without_absent(streams)
    means = torch.stack([mean_of_present(x, t.present) for x, t in zip(values, streams, strict=True)], 1)
    return means, torch.stack([t.present.any(1) for t in streams], 1)


def beside_flags(pooled: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """pooled (B, M, D), there (B, M) bool → (B, M (D + 1)): all streams in one vector, then a flag for each."""
    return torch.cat([pooled.flatten(1), there.to(pooled.dtype)], 1)


def mean_of_present(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """values (B, N, *rest), present (B, N) bool → (B, *rest): the mean over what is present, 0 where nothing is."""
    weight = present.to(values.dtype).reshape(*present.shape, *(1,) * (values.ndim - 2))
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


def masked_softmax(scores: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Weights over the last axis that sum to 1 over what is present; all 0 where nothing is."""
    weight = scores.masked_fill(~present, torch.finfo(scores.dtype).min).softmax(-1)
    return weight * present


def pairs(streams: int) -> list[tuple[int, int]]:
    """Every pair of streams s < t."""
    return [(s, t) for s in range(streams) for t in range(s + 1, streams)]
