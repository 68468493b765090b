"""Table streams: one vector of features per case, each feature with its own age."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.cases import ages
from ingest.align.events import Cases, Origin, sources_of
from ingest.align.feature import (
    Column,
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
from ingest.observations import BIRTH_CODE
from ingest.statistics import StreamStatistics
from ingest.task import Feature, TableStream


class TableAligner:
    """values (n, F): the reduced value of each feature; hours: of the latest observation that it rests on.

    `first` has the age of the first. A categorical feature is the position of its text among the levels. `any` and
    `count` are observed for every case: no such code is a 0, because a diagnosis is written down only where there
    is one. Static facts have hours 0.
    """

    def __init__(self, spec: TableStream, given: Given) -> None:
        check_features(given.stream, spec.features)
        self.spec, self.tally = spec, given.tally
        self.births = given.events.select((BIRTH_CODE,))
        self.columns = [
            build_column(f, given.events, given.vocabulary) if f.derive is None else None for f in spec.features
        ]
        self.levels = fixed_levels(spec.features, given.levels)

    @property
    def statistics(self) -> StreamStatistics:
        features = self.spec.features
        return StreamStatistics(
            kind="table",
            elements=len(features),
            feature_shape=(),
            names=tuple(f.name for f in features),
            units=tuple(f.unit or ("a" if f.derive == "age" else "") for f in features),
            levels=dict(self.levels),
        )

    def texts(self, cases: Cases) -> dict[str, Counter[str]]:
        """Feature with `levels: auto` -> how often each text is a value of these cases."""
        found = {}
        for feature, column in zip(self.spec.features, self.columns, strict=True):
            if column is not None and feature.levels == "auto":
                _, value, *_ = self._reduce(column, cases, Tally())
                found[feature.name] = Counter(column.texts[int(v)] for v in value)
        return found

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """One block for all cases."""
        n, width = len(cases), len(self.spec.features)
        values = np.zeros((n, width), np.float32)
        observed = np.zeros((n, width), bool)
        hours = np.zeros((n, width), np.float32)
        rests: list[tuple[np.ndarray, Runs, int]] = []  # (case of each value, what it rests on, its place)
        for place, (feature, column) in enumerate(zip(self.spec.features, self.columns, strict=True)):
            if column is None:
                values[:, place], observed[:, place], case, run = self._derived(feature, cases)
                rests.append((case, run, place))
                continue
            case, value, time, run = self._reduce(column, cases, self.tally)
            known = np.ones(len(case), bool)
            if column.categorical:
                value, known = to_levels(column, self.levels.get(feature.name, ()), value, self.tally)
            if feature.reduce in ("any", "count"):
                observed[:, place] = True
            values[case[known], place] = value[known]
            observed[case[known], place] = True
            hours[case[known], place] = cases.hours(case, time)[known]
            rests.append((np.where(known, case, -1), run, place))
        have = np.flatnonzero(observed.any(1))
        row = np.full(n + 1, -1)  # the last one: of a value that does not count
        row[have] = np.arange(len(have))
        self.tally.add("used", observed)
        origins = []
        for case, run, place in rests:
            number, event = run.pairs()
            origins.append(Origin(run.events, row[case[number]], event, place))
        yield Block(have, values[have], observed[have], hours[have], sources_of(origins))

    def empty(self) -> Block:
        return next(self.blocks(Cases.none()))

    def _reduce(self, column: Column, cases: Cases, tally: Tally) -> tuple[np.ndarray, np.ndarray, np.ndarray, Runs]:
        """(case, value, time of the value, the observations that it rests on) of each case that has any."""
        pairs = usable(column, cases, window_of(column.feature, self.spec.window_hours), tally)
        starts = run_starts(pairs.case)
        ends = np.append(starts[1:], len(pairs.case))[: len(starts)]
        how = column.feature.reduce
        value = reduce_runs(how, column.value[pairs.event], starts)
        time = column.events.time[pairs.event]
        at = time[starts] if how == "first" else time[ends - 1]
        return pairs.case[starts], value, at, Runs(column.events, pairs.event, starts, ends).resting_on(how)

    def _derived(self, feature: Feature, cases: Cases) -> tuple[np.ndarray, np.ndarray, np.ndarray, Runs]:
        """(value, observed) of a derived feature for every case; (case, the observation) that it rests on."""
        years, born = ages(self.births, cases)
        low, high = feature.plausible or (0.0, np.inf)
        known = ~np.isnan(years)
        fits = known & (years >= low) & (years <= high)
        self.tally.add("implausible", known & ~fits)
        case = np.flatnonzero(fits)
        number = np.arange(len(case))
        return np.where(fits, years, 0), fits, case, Runs(self.births, born[case], number, number + 1)
