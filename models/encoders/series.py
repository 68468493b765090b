"""Irregular time series to tokens: as a set of observations, or as events that a network over time reads."""

import math
from collections.abc import Callable

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.readout import Readout
from models.encoders.series_attention import EventTransformer
from models.encoders.series_convolution import Tcn, enough_layers
from models.encoders.series_events import ToEvents, log_hours
from models.encoders.series_recurrent import GruD, Lstm
from models.encoders.tokens import AttentionPool, Standardise, Tokens

PERIODS_HOURS = (1.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)


def build_series_encoder(
    config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float
) -> nn.Module:
    """The series encoder that a task asks for."""
    if config.network in ("default", "set"):
        return SeriesEncoder(statistics, width, dropout=dropout)
    if config.network not in EVENT_NETWORKS:
        expected = ", ".join(("set", *EVENT_NETWORKS))
        raise TaskError(f"series encoder: expected one of {expected}, got {config.network!r}")
    events = ToEvents(statistics)
    network = EVENT_NETWORKS[config.network](config, events.count, statistics.elements, width, dropout)
    return EventEncoder(events, network, width, dropout=dropout)


class EventEncoder(nn.Module):
    """A network over the events of a series, from events to a state at each; its last state, and all of them pooled."""

    def __init__(self, events: ToEvents, network: nn.Module, width: int, *, dropout: float) -> None:
        super().__init__()
        self.events = events
        self.network = network
        self.readout = Readout(width + 1, width, dropout=dropout)

    def states(self, stream: Stream) -> torch.Tensor:
        """(B, S, D): the state at each event, oldest first."""
        states: torch.Tensor = self.network(self.events(stream))
        return states

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, F), hours (B, T) → tokens (B, 2, D)."""
        events = self.events(stream)
        # GRU-D knows how far events lie apart, but not how old the last one is.
        age = log_hours(-events.hours)[..., None]
        tokens: Tokens = self.readout(torch.cat([self.network(events), age], -1), events.there)
        return tokens


class SeriesEncoder(nn.Module):
    """Observed values as a set, one token per observed channel; no grid, no imputation.

    Each observation is embedded by its channel, its standardised value (or its level) and its time before the index
    (after Horn et al. 2020, "Set functions for time series", eq. 1-3), then pooled over time within its channel by
    attention.
    """

    frequency: torch.Tensor
    categorical: torch.Tensor
    level_start: torch.Tensor

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
        sizes = [len(statistics.levels.get(name, ())) for name in statistics.names] or [0] * channels
        self.register_buffer("categorical", torch.tensor([size > 0 for size in sizes]), persistent=False)
        starts = [sum(sizes[:i]) for i in range(channels)]
        self.register_buffer("level_start", torch.tensor(starts), persistent=False)
        self.levels = nn.Embedding(sum(sizes), width) if sum(sizes) else None

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, F), hours (B, T) → tokens (B, F, D)."""
        seen = stream.values.masked_fill(~stream.observed, 0.0)
        said = self.standardise(seen)[..., None] * self.weight
        if self.levels is not None:
            level = torch.where(self.categorical, seen.long() + self.level_start, 0)
            said = torch.where(self.categorical[:, None], self.levels(level), said)
        angle = stream.hours[..., None] * self.frequency
        clock = torch.cat([angle.sin(), angle.cos(), stream.hours[..., None] / 24], -1)
        elements = said + self.bias + self.time(clock)[:, :, None]
        elements = self.element(elements).transpose(1, 2)  # (B, F, T, D)
        observed = stream.observed.transpose(1, 2)  # (B, F, T)
        pooled = self.pool(elements, observed).flatten(-2)
        count = observed.sum(-1, keepdim=True).to(pooled.dtype).add(1).log()
        present = observed.any(-1)
        values = self.out(torch.cat([pooled, count], -1)) + self.name
        return Tokens(values * present[..., None], present)


def _gru_d(config: EncoderConfig, columns: int, elements: int, width: int, dropout: float) -> nn.Module:
    if (config.layers or 1) > 1:
        raise TaskError(
            f"encoder.layers: expected 1 for gru-d, got {config.layers}; lstm, tcn and transformer take more"
        )
    return GruD(columns, width)


# name -> builder of a network from events to states, from (config, columns, elements, width, dropout)
EVENT_NETWORKS: dict[str, Callable[[EncoderConfig, int, int, int, float], nn.Module]] = {
    "gru-d": _gru_d,
    "lstm": lambda config, columns, _, width, dropout: Lstm(columns, width, config.layers or 1, dropout=dropout),
    "tcn": lambda config, columns, elements, width, dropout: Tcn(
        columns, width, config.layers or enough_layers(elements), dropout=dropout
    ),
    "transformer": lambda config, columns, _, width, dropout: EventTransformer(
        columns, width, config.layers or 2, config.heads, dropout=dropout
    ),
}
