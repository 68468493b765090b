"""Tokens: what every encoder gives and every fusion takes. And the pooling that several encoders share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

NO_COLUMNS = torch.zeros(0, 0, dtype=torch.float64)


@dataclass(frozen=True)
class Tokens:
    """values (B, K, D) float, present (B, K) bool; where absent, values are 0 and mean nothing.

    columns (B, P) float64: the stream summed up for an expert that reads columns (`models.flat`), NaN where absent;
    P is 0 where there is no such expert.
    """

    values: torch.Tensor
    present: torch.Tensor
    columns: torch.Tensor = NO_COLUMNS

    def __post_init__(self) -> None:
        if self.columns is NO_COLUMNS:
            none = self.values.new_zeros(len(self.values), 0, dtype=torch.float64)
            object.__setattr__(self, "columns", none)

    def keep(self, mask: torch.Tensor) -> "Tokens":
        """The same tokens where mask (B,) bool allows."""
        return Tokens(self.values, self.present & mask[:, None], torch.where(mask[:, None], self.columns, torch.nan))

    def rows(self, index: torch.Tensor) -> "Tokens":
        """The cases at `index` (long)."""
        return Tokens(self.values[index], self.present[index], self.columns[index])

    def expand(self, cases: int) -> "Tokens":
        """One case, as often as that."""
        return Tokens(self.values.expand(cases, -1, -1), self.present.expand(cases, -1), self.columns.expand(cases, -1))

    def absent(self) -> "Tokens":
        """The stream of nobody, cut to one token, because absent tokens change nothing but cost time."""
        return Tokens(
            self.values[:, :1],
            torch.zeros_like(self.present[:, :1]),
            torch.full_like(self.columns, torch.nan),
        )

    def mean(self) -> torch.Tensor:
        """(B, D): the mean of the present tokens, 0 where there is none."""
        weight = self.present.to(self.values.dtype)
        return (self.values * weight[..., None]).sum(1) / weight.sum(1, keepdim=True).clamp(min=1)


class Standardise(nn.Module):
    """Physical units to the training split's z-scores, clipped to ±5."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], trailing: int = 0) -> None:
        super().__init__()
        for name, numbers in (("mean", mean), ("std", std)):
            tensor = torch.tensor(numbers, dtype=torch.float32)
            self.register_buffer(name, tensor.reshape(-1, *(1,) * trailing))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """values (..., F, *trailing dimensions)."""
        return ((values - self.mean) / self.std).clamp(-5, 5)


class AttentionPool(nn.Module):
    """Elements to K tokens by K learned queries over the present elements (attention with a softmax).

    Ilse et al. 2018, "Attention-based deep multiple instance learning", eq. 8-9, with K queries.
    """

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, queries))

    def forward(self, elements: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """elements (..., T, D), observed (..., T) → (..., K, D); 0 where nothing is observed."""
        score = self.score(elements)
        score = score.masked_fill(~observed[..., None], torch.finfo(score.dtype).min)
        weight = score.softmax(-2) * observed[..., None]
        return torch.einsum("...tk,...td->...kd", weight, elements)


class SumPool(nn.Module):
    """Elements to K tokens by K gated sums: unlike a softmax it can count how often something is said or heard."""

    def __init__(self, width: int, queries: int, typical_elements: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, queries)
        self.scale = typical_elements**-0.5
        self.norm = nn.LayerNorm(width)

    def forward(self, elements: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """elements (B, T, D), observed (B, T) → (B, K, D)."""
        gate = self.gate(elements).sigmoid() * observed[..., None]
        pooled: torch.Tensor = self.norm(torch.einsum("btk,btd->bkd", gate, elements) * self.scale)
        return pooled


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """The cases of all parts, in order."""
    return Tokens(
        torch.cat([p.values for p in parts]),
        torch.cat([p.present for p in parts]),
        torch.cat([p.columns for p in parts]),
    )
