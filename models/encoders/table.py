"""Table rows to tokens: one per observed feature, or one for the whole row."""

from collections.abc import Callable

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.outside import VectorEncoder
from models.encoders.table_networks import FtTransformer, Mlp
from models.encoders.tokens import Standardise, Tokens


def build_table_encoder(
    config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float
) -> nn.Module:
    """The table encoder that a task asks for."""
    name = "features" if config.network == "default" else config.network
    if name not in TABLE_NETWORKS:
        raise TaskError(f"table encoder: expected one of {', '.join(TABLE_NETWORKS)}, got {config.network!r}")
    return TABLE_NETWORKS[name](config, statistics, width, dropout)


class TableEncoder(nn.Module):
    """Each feature has its own embedding (Gorishniy et al. 2022, "On embeddings for numerical features", sec. 3.4).

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
        seen = stream.values.masked_fill(~stream.observed, 0.0)
        standard = self.standardise(seen)
        numeric = (standard[..., None] * self.weight + self.bias).relu()
        position = torch.where(self.categorical, seen.long() + self.level_start, 0)
        embedded = torch.where(self.categorical[:, None], self.levels(position), numeric)
        values = self.dropout(self.out(embedded)) + self.name
        return Tokens(values * stream.observed[..., None], stream.observed)


TABLE_NETWORKS: dict[str, Callable[[EncoderConfig, StreamStatistics, int, float], nn.Module]] = {
    "features": lambda config, statistics, width, dropout: TableEncoder(statistics, width, dropout=dropout),
    "ft-transformer": lambda config, statistics, width, dropout: FtTransformer(
        statistics, width, "linear", config.layers or 2, config.heads, dropout=dropout
    ),
    "ft-transformer-plr": lambda config, statistics, width, dropout: FtTransformer(
        statistics, width, "periodic", config.layers or 2, config.heads, dropout=dropout
    ),
    "mlp": lambda config, statistics, width, dropout: Mlp(
        statistics, width, "linear", config.layers or 2, dropout=dropout
    ),
    "mlp-plr": lambda config, statistics, width, dropout: Mlp(
        statistics, width, "periodic", config.layers or 2, dropout=dropout
    ),
    "vector": lambda config, statistics, width, dropout: VectorEncoder(config, statistics, width, dropout=dropout),
}
