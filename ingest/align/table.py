"""Table streams: one vector of features per case, each feature with its own age."""

from collections.abc import Iterator

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.cases import ages
from ingest.align.events import Cases, Events, sources_of
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
from ingest.observations import BIRTH_CODE
from ingest.statistics import StreamStatistics
from ingest.task import Feature, TableStream

Picked = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


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
        self.columns = [build_column(f, given.events) if f.derive is None else None for f in spec.features]
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

    def fit(self, training: Cases) -> None:
        """Take the levels of `levels: auto` from the training cases."""
        for feature, column in zip(self.spec.features, self.columns, strict=True):
            if column is not None and feature.levels == "auto" and feature.name not in self.levels:
                _, value, *_ = self._reduce(column, training, Tally())
                self.levels[feature.name] = common_levels(column, value)

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """One block for all cases."""
        n, width = len(cases), len(self.spec.features)
        values = np.zeros((n, width), np.float32)
        observed = np.zeros((n, width), bool)
        hours = np.zeros((n, width), np.float32)
        used: list[tuple[Events, np.ndarray, np.ndarray]] = []
        for place, (feature, column) in enumerate(zip(self.spec.features, self.columns, strict=True)):
            if column is None:
                values[:, place], observed[:, place] = self._derived(feature, cases)
                continue
            case, value, time, pair_case, pair_event = self._reduce(column, cases, self.tally)
            known = np.ones(len(case), bool)
            if column.categorical:
                value, known = to_levels(column, self.levels[feature.name], value, self.tally)
            if feature.reduce in ("any", "count"):
                observed[:, place] = True
            values[case[known], place] = value[known]
            observed[case[known], place] = True
            hours[case, place] = np.where(known, cases.hours(case, time), 0)
            used.append((column.events, pair_case, pair_event))
        have = np.flatnonzero(observed.any(1))
        row = np.full(n, -1)
        row[have] = np.arange(len(have))
        self.tally.add("used", observed)
        sources = sources_of([(events, row[case], event) for events, case, event in used])
        yield Block(have, values[have], observed[have], hours[have], sources)

    def empty(self) -> Block:
        return next(self.blocks(Cases.none()))

    def _reduce(self, column: Column, cases: Cases, tally: Tally) -> Picked:
        """(case, value, time of the value, case of each pair, event of each pair)."""
        pairs = usable(column, cases, self.spec.window_hours, tally)
        starts = run_starts(pairs.case)
        how = column.feature.reduce
        value = reduce_runs(how, column.value[pairs.event], starts)
        time = column.events.time[pairs.event]
        at = reduce_runs("first" if how == "first" else "last", time, starts).astype(np.int64)
        if how in ("last", "first"):  # only the one that was picked is a source
            picked = starts if how == "first" else np.append(starts[1:], len(time)) - 1
            return pairs.case[starts], value, at, pairs.case[starts], pairs.event[picked[: len(starts)]]
        return pairs.case[starts], value, at, pairs.case, pairs.event

    def _derived(self, feature: Feature, cases: Cases) -> tuple[np.ndarray, np.ndarray]:
        """(value, observed) of a derived feature."""
        years = ages(self.births, cases)
        low, high = feature.plausible or (0.0, np.inf)
        known = ~np.isnan(years)
        fits = known & (years >= low) & (years <= high)
        self.tally.add("implausible", known & ~fits)
        return np.where(fits, years, 0), fits
