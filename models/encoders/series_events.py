"""A series as events: the times at which anything was observed, in order, and what was known of each column by then."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.columns import Columns

_LOG_WEEK = math.log1p(7 * 24 * 3600)


@dataclass(frozen=True)
class Events:
    """S events of B series, oldest first. What lies behind a case's last event is padding.

    values (B, S, C) columns, 0 where not observed; observed (B, S, C) bool; hours (B, S), of padding 0;
    there (B, S) bool: whether it is an event.
    """

    values: torch.Tensor
    observed: torch.Tensor
    hours: torch.Tensor
    there: torch.Tensor

    def before(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Each column's latest value before each event (0: none yet), and the hours since, both (B, S, C).

        Where a column was not seen yet the hours count from the first event: delta of Che et al. 2018, eq. 2.
        """
        number = torch.arange(self.values.shape[1], device=self.values.device)[None, :, None]
        latest = torch.where(self.observed, number, -1).cummax(1).values
        previous = torch.cat([torch.full_like(latest[:, :1], -1), latest[:, :-1]], 1)
        place = previous.clamp(min=0)
        value = self.values.gather(1, place) * (previous >= 0)
        hours = self.hours[..., None]
        return value, hours - hours.expand_as(value).gather(1, place)

    def inputs(self) -> torch.Tensor:
        """(B, S, 3 C + 1): each column's latest value, whether it is new, how long unseen; and the event's age."""
        value, since = self.before()
        latest = torch.where(self.observed, self.values, value)
        age = log_hours(-self.hours)[..., None]
        return torch.cat([latest, self.observed.to(latest.dtype), log_hours(since), age], -1)


class ToEvents(nn.Module):
    """Leaves out every element at which nothing is observed: hidden, padding and never recorded are the same.

    What is left is in order of `hours`, so an encoder reads when and not where in the array. Times that nobody in the
    batch has are cut off, which also saves their cost.
    """

    def __init__(self, statistics: StreamStatistics) -> None:
        super().__init__()
        self.columns = Columns(statistics)

    @property
    def count(self) -> int:
        """C."""
        return self.columns.count

    def forward(self, stream: Stream) -> Events:
        """values, observed (B, T, F), hours (B, T) → events."""
        there = stream.observed_times
        hours = stream.hours.masked_fill(~there, torch.inf)
        longest = max(int(there.sum(1).max()), 1) if len(there) else 1
        order = hours.argsort(dim=1, stable=True)[:, :longest]
        there = there.gather(1, order)
        features = order[..., None].expand(-1, -1, stream.values.shape[2])
        values, observed = self.columns(stream.values.gather(1, features), stream.observed.gather(1, features))
        return Events(values, observed, hours.gather(1, order).masked_fill(~there, 0.0), there)


def log_hours(hours: torch.Tensor) -> torch.Tensor:
    """Spans from seconds to years on one scale: 0 is now, 1 a week."""
    return (hours.clamp(min=0) * 3600).log1p() / _LOG_WEEK
