"""Features as columns of numbers: z-scores, and a column of 0 or 1 for each level of a categorical feature."""

import torch
from torch import nn

from ingest.statistics import StreamStatistics
from models.encoders.tokens import Standardise


class Columns(nn.Module):
    """F features to C columns, each with its mask. A categorical feature with n levels takes n columns.

    A linear layer over the columns holds a vector per level, so it embeds levels and weighs numbers at once.
    """

    feature: torch.Tensor
    level: torch.Tensor

    def __init__(self, statistics: StreamStatistics) -> None:
        super().__init__()
        self.standardise = Standardise(statistics.mean, statistics.std)
        features = len(statistics.mean)
        sizes = [len(statistics.levels.get(name, ())) for name in statistics.names] or [0] * features
        places = [(f, level) for f, size in enumerate(sizes) for level in (range(size) if size else (-1,))]
        self.count = len(places)
        self.register_buffer("feature", torch.tensor([feature for feature, _ in places]))
        self.register_buffer("level", torch.tensor([level for _, level in places]))

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """values, observed (..., F) → numbers (..., C), 0 where not observed, and observed (..., C)."""
        seen = values.masked_fill(~observed, 0.0)
        numbers = self.standardise(seen)[..., self.feature]
        at_level = (seen.round()[..., self.feature] == self.level).to(numbers.dtype)
        mask = observed[..., self.feature]
        return torch.where(self.level < 0, numbers, at_level) * mask, mask
