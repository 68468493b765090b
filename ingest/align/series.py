"""Series streams: an irregular time series of channels."""

from collections.abc import Iterator

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.events import STATIC, Cases, sources_of
from ingest.align.feature import (
    Column,
    build_column,
    check_features,
    common_levels,
    fixed_levels,
    reduce_runs,
    run_starts,
    to_levels,
    usable,
)
from ingest.align.report import Tally
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from ingest.task import SeriesStream


class SeriesAligner:
    """values, observed (n, T, F), hours (n, T): the latest T = max_times distinct times of a case, oldest first.

    Several values of one channel at one time become one by the channel's `reduce`. Times fill T from the front.
    """

    def __init__(self, spec: SeriesStream, given: Given) -> None:
        check_features(given.stream, spec.channels)
        if derived := [c.name for c in spec.channels if c.derive is not None]:
            raise TaskError(
                f"stream {given.stream}: expected channels with codes, got derived {derived}; put them in a table"
            )
        self.spec, self.tally = spec, given.tally
        self.columns = [build_column(channel, given.events) for channel in spec.channels]
        self.levels = fixed_levels(spec.channels, given.levels)

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            kind="series",
            elements=self.spec.max_times,
            feature_shape=(len(self.spec.channels),),
            names=tuple(c.name for c in self.spec.channels),
            units=tuple(c.unit or "" for c in self.spec.channels),
            levels=dict(self.levels),
        )

    def fit(self, training: Cases) -> None:
        """Take the levels of `levels: auto` from the training cases."""
        for column in self.columns:
            name = column.feature.name
            if column.feature.levels == "auto" and name not in self.levels:
                self.levels[name] = common_levels(column, self._points(column, training, Tally())[2])

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """One block for all cases."""
        parts = []
        for number, column in enumerate(self.columns):
            case, time, value, event = self._points(column, cases, self.tally)
            if column.categorical:
                value, known = to_levels(column, self.levels[column.feature.name], value, self.tally)
                case, time, value, event = case[known], time[known], value[known], event[known]
            parts.append((case, time, np.full(len(case), number), value, event))
        case, time, place, value, event = (np.concatenate([part[i] for part in parts]) for i in range(5))
        slot, moments_case, moments_slot, moments_time = self._slots(case, time)
        kept = slot >= 0
        self.tally.add("beyond max_times", ~kept)
        self.tally.add("used", kept)
        case, place, value, event, slot = case[kept], place[kept], value[kept], event[kept], slot[kept]

        have = np.unique(case)
        row = np.full(len(cases), -1)
        row[have] = np.arange(len(have))
        shape = (len(have), self.spec.max_times)
        values = np.zeros((*shape, len(self.columns)), np.float32)
        observed = np.zeros(values.shape, bool)
        hours = np.zeros(shape, np.float32)
        values[row[case], slot, place] = value
        observed[row[case], slot, place] = True
        hours[row[moments_case], moments_slot] = cases.hours(moments_case, moments_time)
        sources = sources_of([(c.events, row[case[place == i]], event[place == i]) for i, c in enumerate(self.columns)])
        yield Block(have, values, observed, hours, sources)

    def empty(self) -> Block:
        return next(self.blocks(Cases.none()))

    def _points(self, column: Column, cases: Cases, tally: Tally) -> tuple[np.ndarray, ...]:
        """(case, time, value, event) of each distinct time of a channel; event: the last at that time."""
        pairs = usable(column, cases, self.spec.window_hours, tally)
        timed = column.events.time[pairs.event] != STATIC
        if cases.timed:
            tally.add("without a time", ~timed)
            pairs = pairs.where(timed)
        time = column.events.time[pairs.event]
        starts = run_starts(pairs.case, time)
        value = reduce_runs(column.feature.reduce, column.value[pairs.event], starts)
        last = np.append(starts[1:], len(time))[: len(starts)] - 1
        return pairs.case[starts], time[starts], value, pairs.event[last]

    def _slots(self, case: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, ...]:
        """(place in T of each point or -1, and of each kept moment: its case, place and time)."""
        order = np.lexsort([time, case])
        starts = run_starts(case[order], time[order])
        moment = np.cumsum(np.bincount(starts, minlength=len(order))) - 1  # of each ordered point
        moment_case, moment_time = case[order][starts], time[order][starts]
        counts = np.bincount(moment_case, minlength=1)
        first = np.cumsum(counts) - counts
        rank = np.arange(len(starts)) - first[moment_case]
        place = rank - np.maximum(counts[moment_case] - self.spec.max_times, 0)
        slot = np.empty(len(order), np.int64)
        slot[order] = place[moment]
        kept = place >= 0
        return slot, moment_case[kept], place[kept], moment_time[kept]
