"""An irregular time series to one token per observed channel, from every (time, channel, value) that is there."""

import math

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.tokens import AttentionPool, Standardise, Tokens

PERIODS_HOURS = (1.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)


class SeriesEncoder(nn.Module):
    """Observed values as a set; no grid, no imputation.

    Each observation is embedded by its channel, its standardised value and its time before the index (after Horn et
    al. 2020, "Set functions for time series", eq. 1-3), then pooled over time within its channel by attention.
    """

    frequency: torch.Tensor

    def __init__(self, statistics: StreamStatistics, width: int, *, dropout: float, queries: int = 2) -> None:
        super().__init__()
        channels = statistics.feature_shape[0]
        self.standardise = Standardise(statistics.mean, statistics.std)
        self.register_buffer("frequency", 2 * math.pi / torch.tensor(PERIODS_HOURS))
        self.weight = nn.Parameter(torch.randn(channels, width) * 0.5)
        self.bias = nn.Parameter(torch.randn(channels, width) * 0.5)
        self.time = nn.Linear(2 * len(PERIODS_HOURS) + 1, width)
        self.element = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.pool = AttentionPool(width, queries)
        self.out = nn.Sequential(nn.Linear(queries * width + 1, width), nn.Dropout(dropout))
        self.name = nn.Parameter(torch.randn(channels, width) * 0.02)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, F), hours (B, T) → tokens (B, F, D)."""
        standard = self.standardise(stream.values)
        angle = stream.hours[..., None] * self.frequency
        clock = torch.cat([angle.sin(), angle.cos(), stream.hours[..., None] / 24], -1)
        elements = standard[..., None] * self.weight + self.bias + self.time(clock)[:, :, None]
        elements = self.element(elements).transpose(1, 2)  # (B, F, T, D)
        observed = stream.observed.transpose(1, 2)  # (B, F, T)
        pooled = self.pool(elements, observed).flatten(-2)
        count = observed.sum(-1, keepdim=True).to(pooled.dtype).add(1).log()
        present = observed.any(-1)
        values = self.out(torch.cat([pooled, count], -1)) + self.name
        return Tokens(values * present[..., None], present)
