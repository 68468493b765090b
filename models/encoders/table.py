"""A table row to one token per observed feature, by numerical embeddings and level embeddings."""

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.tokens import Standardise, Tokens


class TableEncoder(nn.Module):
    """Each feature has its own embedding (Gorishniy et al. 2022, "On embeddings for numerical features", sec. 3.3).

    A numerical feature is standardised, clipped to ±5 and passes a linear layer with a ReLU of its own; a
    categorical one has a vector per level.
    """

    level_start: torch.Tensor
    categorical: torch.Tensor

    def __init__(self, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        features = statistics.elements
        self.standardise = Standardise(statistics.mean, statistics.std)
        sizes = [len(statistics.levels.get(name, ())) for name in statistics.names]
        self.register_buffer("level_start", torch.tensor([sum(sizes[:i]) for i in range(features)]))
        self.register_buffer("categorical", torch.tensor([size > 0 for size in sizes]))
        self.weight = nn.Parameter(torch.randn(features, width) * 0.5)
        self.bias = nn.Parameter(torch.randn(features, width) * 0.5)
        self.levels = nn.Embedding(max(sum(sizes), 1), width)
        self.out = nn.Linear(width, width)
        self.name = nn.Parameter(torch.randn(features, width) * 0.02)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, F) → tokens (B, F, D)."""
        standard = self.standardise(stream.values)
        numeric = (standard[..., None] * self.weight + self.bias).relu()
        position = torch.where(self.categorical, stream.values.long() + self.level_start, 0)
        embedded = torch.where(self.categorical[:, None], self.levels(position), numeric)
        values = self.dropout(self.out(embedded)) + self.name
        return Tokens(values * stream.observed[..., None], stream.observed)
