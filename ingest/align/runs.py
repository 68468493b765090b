"""Which observations a reduced value rests on, and how far back a feature looks."""

from dataclasses import dataclass, replace

import numpy as np

from ingest.align.events import Events
from ingest.task import Feature


@dataclass(frozen=True)
class Runs:
    """R values, each made of a run of observations in order of time: event[first[r]:end[r]] of `events`."""

    events: Events
    event: np.ndarray
    first: np.ndarray
    end: np.ndarray

    def resting_on(self, how: str) -> "Runs":
        """Only what a reduction looks at: one observation for `last` and `first`, else all of them."""
        if how == "last":
            return replace(self, first=self.end - 1)
        if how == "first":
            return replace(self, end=self.first + 1)
        return self

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(number of the value, position in `events`) of every observation that a value rests on."""
        counts = self.end - self.first
        value = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(value)) - np.repeat(np.cumsum(counts) - counts, counts)
        return value, self.event[np.repeat(self.first, counts) + within]


def window_of(feature: Feature, stream_hours: float | None) -> float | None:
    """How far back a feature looks."""
    return stream_hours if feature.window_hours is None else feature.window_hours
