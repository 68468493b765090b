"""Each feature of a table as a vector of its own."""

import math
from typing import Literal

import torch
from torch import nn

from ingest.statistics import StreamStatistics
from models.encoders.tokens import Standardise

FREQUENCIES = 16
FREQUENCY_STD = 0.3  # per standard deviation of the feature, before training

Numbers = Literal["linear", "periodic"]


class FeatureTokens(nn.Module):
    """Numbers by a linear or a periodic embedding, levels by a vector each; every feature has its own bias.

    linear: b + x W (Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", sec. 3.3). periodic:
    sines and cosines of x at learned frequencies, a linear layer per feature, ReLU (PLR of Gorishniy et al. 2022, "On
    embeddings for numerical features", sec. 3.3), which also bends where a risk rises on both sides.
    """

    level_start: torch.Tensor
    categorical: torch.Tensor

    def __init__(self, statistics: StreamStatistics, width: int, numbers: Numbers) -> None:
        super().__init__()
        features = statistics.elements
        self.standardise = Standardise(statistics.mean, statistics.std)
        sizes = [len(statistics.levels.get(name, ())) for name in statistics.names]
        self.register_buffer("level_start", torch.tensor([sum(sizes[:i]) for i in range(features)]))
        self.register_buffer("categorical", torch.tensor([size > 0 for size in sizes]))
        bound = width**-0.5
        self.number = Linear(features, width) if numbers == "linear" else Periodic(features, width)
        self.levels = nn.Embedding(max(sum(sizes), 1), width)
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))
        nn.init.uniform_(self.levels.weight, -bound, bound)

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """values, observed (B, F) → (B, F, D), 0 where not observed."""
        seen = values.masked_fill(~observed, 0.0)
        level = torch.where(self.categorical, seen.long() + self.level_start, 0)
        said = torch.where(self.categorical[:, None], self.levels(level), self.number(self.standardise(seen)))
        tokens: torch.Tensor = (said + self.bias) * observed[..., None]
        return tokens


class Linear(nn.Module):
    """x W, W of each feature its own."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, width).uniform_(-(width**-0.5), width**-0.5))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """numbers (B, F) → (B, F, D)."""
        return numbers[..., None] * self.weight


class Periodic(nn.Module):
    """ReLU(W [sin(2 pi c x), cos(2 pi c x)] + b), with c, W and b of each feature its own."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(features, FREQUENCIES) * FREQUENCY_STD)
        bound = (2 * FREQUENCIES) ** -0.5
        self.weight = nn.Parameter(torch.empty(features, 2 * FREQUENCIES, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """numbers (B, F) → (B, F, D)."""
        angle = 2 * math.pi * self.frequency * numbers[..., None]
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        return (torch.einsum("bfk,fkd->bfd", waves, self.weight) + self.bias).relu()
