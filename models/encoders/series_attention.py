"""A transformer over the events of a series, one element per time."""

import math

import torch
from torch import nn

from models.encoders.self_attention import SelfAttention
from models.encoders.series_events import Events

SHORTEST_PERIOD_H, LONGEST_PERIOD_H = 0.5, 768.0  # before training


class EventTransformer(nn.Module):
    """What was observed at a time is one element: its values and masks, projected, plus an embedding of the time.

    An element per time and not per observation (as in Tipirneni & Reddy 2022, STraTS): 48 times of 36 channels are
    48 elements instead of up to 1,728, whose attention costs 1,300 times as much.
    """

    def __init__(self, columns: int, size: int, layers: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * columns, size)
        self.time = Time2Vec(size)
        self.attention = SelfAttention(size, layers, heads, dropout=dropout)

    def forward(self, events: Events) -> torch.Tensor:
        """Events → states (B, S, size), each of which has seen all events."""
        seen = torch.cat([events.values, events.observed.to(events.values.dtype)], -1)
        states: torch.Tensor = self.attention(self.enter(seen) + self.time(events.hours), events.there)
        return states


class Time2Vec(nn.Module):
    """Hours as a vector: one linear part, and sines of learned frequency and phase (Kazemi et al. 2019, eq. 1)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        spread = torch.linspace(math.log(SHORTEST_PERIOD_H), math.log(LONGEST_PERIOD_H), size - 1)
        self.frequency = nn.Parameter(torch.cat([torch.tensor([1 / LONGEST_PERIOD_H]), 2 * math.pi / spread.exp()]))
        self.phase = nn.Parameter(torch.cat([torch.zeros(1), 2 * math.pi * torch.rand(size - 1)]))

    def forward(self, hours: torch.Tensor) -> torch.Tensor:
        """hours (...) → (..., size)."""
        angle = hours[..., None] * self.frequency + self.phase
        return torch.cat([angle[..., :1], angle[..., 1:].sin()], -1)
