"""Series streams: a time series of channels, at the times at which they were measured or in regular bins."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.events import HOUR_US, STATIC, Cases, Origin, sources_of
from ingest.align.feature import (
    build_column,
    check_features,
    fixed_levels,
    reduce_runs,
    run_starts,
    to_levels,
    usable,
)
from ingest.align.report import Tally
from ingest.align.runs import Runs, window_of
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from ingest.task import SeriesStream


class SeriesAligner:
    """values, observed (n, T, F), hours (n, T), oldest first.

    Irregular: the latest T = max_times distinct times of a case, filled from the front. Several values of one channel
    at one time become one by the channel's `reduce`; with `all` the k-th of them is in the k-th element of that time.
    With bins: T bins (see `SeriesStream`), each channel reduced within each; hours: of the latest value in the bin.
    """

    def __init__(self, spec: SeriesStream, given: Given) -> None:
        check_features(given.stream, spec.channels)
        if derived := [c.name for c in spec.channels if c.derive is not None]:
            raise TaskError(
                f"stream {given.stream}: expected channels with codes, got derived {derived}; put them in a table"
            )
        self.spec, self.tally = spec, given.tally
        self.columns = [build_column(channel, given.events, given.vocabulary) for channel in spec.channels]
        self.levels = fixed_levels(spec.channels, given.levels)

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            kind="series",
            elements=self.spec.times,
            feature_shape=(len(self.spec.channels),),
            names=tuple(c.name for c in self.spec.channels),
            units=tuple(c.unit or "" for c in self.spec.channels),
            levels=dict(self.levels),
        )

    def texts(self, cases: Cases) -> dict[str, Counter[str]]:
        """Feature with `levels: auto` -> how often each text is a value of these cases."""
        found = {}
        for number, column in enumerate(self.columns):
            if column.feature.levels == "auto":
                points = self._points(number, cases, Tally())
                found[column.feature.name] = Counter(column.texts[int(v)] for v in points.value)
        return found

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """One block for all cases."""
        parts = [self._points(number, cases, self.tally) for number in range(len(self.columns))]
        slot = self._slots(parts)
        self.tally.add("beyond max_times", slot < 0)
        self.tally.add("used", slot >= 0)
        case, time, value = (np.concatenate([getattr(p, name) for p in parts]) for name in ("case", "time", "value"))
        channel = np.repeat(np.arange(len(parts)), [len(part.case) for part in parts])
        kept = slot >= 0
        have = np.unique(case[kept])
        row = np.full(len(cases), -1)
        row[have] = np.arange(len(have))
        shape = (len(have), self.spec.times)
        values = np.zeros((*shape, len(parts)), np.float32)
        observed = np.zeros(values.shape, bool)
        latest = np.full(shape, STATIC)
        place = (row[case[kept]], slot[kept])
        values[*place, channel[kept]] = value[kept]
        observed[*place, channel[kept]] = True
        np.maximum.at(latest, place, time[kept])
        rows, slots = np.nonzero(observed.any(2))
        hours = np.zeros(shape, np.float32)
        hours[rows, slots] = cases.hours(have[rows], latest[rows, slots])
        problems = self._problems(have, hours, values, observed)
        fine = np.array([number not in problems for number in have.tolist()], bool)
        row[have] = np.where(fine, np.cumsum(fine) - 1, -1)
        sources = sources_of(list(_origins(parts, slot, row)))
        yield Block(have[fine], values[fine], observed[fine], hours[fine], sources, problems=problems)

    def empty(self) -> Block:
        return next(self.blocks(Cases.none()))

    def _points(self, number: int, cases: Cases, tally: Tally) -> "Points":
        """The values of a channel, one for each time or bin (or observation, where all are kept)."""
        column = self.columns[number]
        pairs = usable(column, cases, window_of(column.feature, self.spec.window_hours), tally)
        if cases.timed:
            timed = column.events.time[pairs.event] != STATIC
            tally.add("without a time", ~timed)
            pairs = pairs.where(timed)
        time = column.events.time[pairs.event]
        moment = time if self.spec.bin_hours is None else self._bins(cases.index_time[pairs.case] - time)
        starts = run_starts(pairs.case, moment)
        nth = np.zeros(len(starts), np.int64)
        if column.feature.reduce == "all":
            nth = np.arange(len(time)) - np.repeat(starts, np.diff(np.append(starts, len(time))))
            starts = np.arange(len(time))
        ends = np.append(starts[1:], len(time))[: len(starts)]
        how = "last" if column.feature.reduce == "all" else column.feature.reduce
        value = reduce_runs(how, column.value[pairs.event], starts)
        known = np.ones(len(starts), bool)
        if column.categorical and column.feature.name in self.levels:
            value, known = to_levels(column, self.levels[column.feature.name], value, tally)
        run = Runs(column.events, pairs.event, starts[known], ends[known]).resting_on(how)
        return Points(
            pairs.case[starts][known], moment[starts][known], nth[known], time[ends - 1][known], value[known], run
        )

    def _bins(self, age: np.ndarray) -> np.ndarray:
        """The bin of each age in microseconds, the last one ending at the index time. A bin holds its end."""
        back = age // round((self.spec.bin_hours or 1) * HOUR_US)
        return np.asarray(self.spec.times - 1 - np.minimum(back, self.spec.times - 1))

    def _slots(self, parts: "list[Points]") -> np.ndarray:
        """(P,) the element of each point of all channels, -1 where it is older than those that are kept."""
        case, moment, nth = (np.concatenate([getattr(p, name) for p in parts]) for name in ("case", "moment", "nth"))
        if self.spec.bin_hours is not None:
            return np.asarray(moment, np.int64)
        order = np.lexsort([nth, moment, case])
        starts = run_starts(case[order], moment[order], nth[order])
        element = np.cumsum(np.bincount(starts, minlength=len(order))[: len(order)]) - 1  # of each ordered point
        element_case = case[order][starts]
        counts = np.bincount(element_case, minlength=1)
        rank = np.arange(len(starts)) - (np.cumsum(counts) - counts)[element_case]
        place = rank - np.maximum(counts[element_case] - self.spec.times, 0)
        slot = np.empty(len(order), np.int64)
        slot[order] = place[element]
        return np.maximum(slot, -1)

    def _problems(
        self, have: np.ndarray, hours: np.ndarray, values: np.ndarray, observed: np.ndarray
    ) -> dict[int, str]:
        """Case -> why its channels cannot all be right."""
        if not self.spec.checks:
            return {}
        from ingest.meaning.consistency import inconsistent

        names = [channel.name for channel in self.spec.channels]
        found = {}
        for row, case in enumerate(have.tolist()):
            some = observed[row].any(1)  # unobserved elements have no time
            why = inconsistent(self.spec.checks, names, hours[row][some], values[row][some], observed[row][some])
            if why is not None:
                found[case] = why
        self.tally.add("cases whose channels contradict each other", len(found))
        return found


@dataclass(frozen=True)
class Points:
    """P values of a channel: case, moment (a time, or a bin), nth of that moment, time of the latest observation.

    runs: the observations that each rests on.
    """

    case: np.ndarray
    moment: np.ndarray
    nth: np.ndarray
    time: np.ndarray
    value: np.ndarray
    runs: Runs


def _origins(parts: list[Points], slot: np.ndarray, row: np.ndarray) -> Iterator[Origin]:
    """Which observations each channel's points rest on. row (C,): of each case, -1 where it lacks the stream."""
    first = 0
    for number, part in enumerate(parts):
        mine = slot[first : first + len(part.case)]
        first += len(part.case)
        point, event = part.runs.pairs()
        rows = np.where(mine >= 0, row[part.case], -1)
        yield Origin(part.runs.events, rows[point], event, mine[point], feature=number)
