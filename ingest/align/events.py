"""Observations of a task's codes as sorted columns, which of them a case may see, and what came of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.align.report import Tally
from ingest.observations import SCHEMA

STATIC = np.iinfo(np.int64).min  # the time of a fact without one: before everything
TIMELESS = np.iinfo(np.int64).max  # the index time of a case without one: after everything
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Held:
    """The observation table that events are rows of. Columns are taken when they are asked for, texts above all.

    order (E,): the row of the table of each event, in the events' own order. codes: the distinct ones, sorted.
    """

    table: pa.Table  # with the columns of SCHEMA
    order: np.ndarray
    codes: tuple[str, ...]

    @cached_property
    def numbers(self) -> np.ndarray:
        """(E,) float64, NaN where there is no number."""
        numbers = np.asarray(self.table["numeric_value"].to_numpy(zero_copy_only=False), np.float64)
        return np.asarray(numbers[self.order])

    def column(self, name: str, rows: np.ndarray) -> pa.ChunkedArray:
        """A column of the events at `rows`."""
        return self.table[name].take(pa.array(self.order[rows]))


@dataclass(frozen=True)
class Events:
    """E observations in order of (owner, time, release, code, value, ...), so that input order never matters.

    owner: the subject, or for `per_record` tasks the number of the record. time, known: microseconds since 1970;
    `known` is when the value counts as known by the task's clock: max(time, available_time), or `time` alone.
    code: positions in `held.codes`. rows: positions among all the events that `held` has, ascending.
    """

    owner: np.ndarray
    time: np.ndarray
    known: np.ndarray
    code: np.ndarray
    rows: np.ndarray
    held: Held

    def __len__(self) -> int:
        return len(self.owner)

    def select(self, codes: Collection[str]) -> "Events":
        """The observations of these codes."""
        wanted = np.array([code in codes for code in self.held.codes], bool)
        return self.take(wanted[self.code])

    def take(self, mask: np.ndarray) -> "Events":
        """The observations where `mask` (E,) is true, or at these ascending positions."""
        at = np.flatnonzero(mask) if mask.dtype == bool else mask
        return Events(self.owner[at], self.time[at], self.known[at], self.code[at], self.rows[at], self.held)

    @cached_property
    def table(self) -> pa.Table:
        """The observations with all columns of SCHEMA. `column` is cheaper where one is enough."""
        return self.held.table.take(pa.array(self.held.order[self.rows]))

    def column(self, name: str) -> pa.ChunkedArray:
        """(E,) one column of SCHEMA."""
        return self.held.column(name, self.rows)

    def numbers(self) -> np.ndarray:
        """(E,) float64, NaN where there is no number."""
        return np.asarray(self.held.numbers[self.rows])

    def texts(self) -> pd.Series:
        """(E,) the text of each observation; that of a number where only a number was given; None where neither."""
        texts = self.column("text_value").to_pandas().astype(object)
        bare = texts.isna().to_numpy() & np.isfinite(self.numbers())
        texts[bare] = [f"{number:g}" for number in self.numbers()[bare]]
        return texts.where(texts.notna(), None)

    def strings(self, column: str) -> np.ndarray:
        """(E,) a text column as objects, None where null."""
        return np.array(self.column(column).to_pylist(), object)

    @classmethod
    def none(cls) -> "Events":
        """No events."""
        whole = np.zeros(0, np.int64)
        return cls(whole, whole, whole, whole, whole, Held(SCHEMA.empty_table(), whole, ()))


@dataclass(frozen=True)
class Cases:
    """C cases in order of owner: who, when, and what came of it.

    index_time: microseconds since 1970, `TIMELESS` where the task has none. target: float32, whether the risk event
    happened. outcome (C, K): the numbers that state what came of them. record_file, record: the source record of a
    `per_record` case, else empty.
    """

    case_id: np.ndarray
    owner: np.ndarray
    subject: np.ndarray
    index_time: np.ndarray
    target: np.ndarray
    outcome: np.ndarray
    record_file: np.ndarray
    record: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, rows: "np.ndarray | slice") -> "Cases":
        """The cases at `rows` (bool, positions or a slice)."""
        return Cases(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def timed(self) -> bool:
        """Whether they have index times."""
        return not (self.index_time == TIMELESS).any()

    @classmethod
    def none(cls) -> "Cases":
        """No cases."""
        whole, words = np.zeros(0, np.int64), np.zeros(0, object)
        return cls(words, whole, whole, whole, np.zeros(0, np.float32), np.zeros((0, 1), np.float32), words, words)

    @classmethod
    def joined(cls, parts: "Sequence[Cases]") -> "Cases":
        """All of them, one part after another."""
        every = parts or [cls.none()]
        return cls(*(np.concatenate([getattr(part, name) for part in every]) for name in cls.__dataclass_fields__))

    def chunks(self, size: int) -> "list[tuple[int, Cases]]":
        """Runs of at most `size` cases, each with the position of its first."""
        return [(start, self.take(slice(start, start + size))) for start in range(0, len(self), size)]

    def hours(self, case: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Hours from the index time of `case` (P,) to `time` (P,): negative before; 0 for static facts."""
        index = self.index_time[case]
        timed = (time != STATIC) & (index != TIMELESS)
        return np.where(timed, (np.where(timed, time, 0) - np.where(timed, index, 0)) / HOUR_US, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Seen:
    """P pairs of a case and an observation that it may see, in order of case, then of time."""

    case: np.ndarray
    event: np.ndarray

    def where(self, mask: np.ndarray) -> "Seen":
        """The pairs where `mask` (P,) is true."""
        return Seen(self.case[mask], self.event[mask])


def seen(events: Events, cases: Cases, window_hours: float | None = None, tally: Tally | None = None) -> Seen:
    """Every pair of a case and an observation of its own that was known by its index time, and within the window.

    The window is closed: [index - window_hours, index]. What is left out is counted in `tally`.
    """
    pairs = owned(events, cases)
    time, known, index = events.time[pairs.event], events.known[pairs.event], cases.index_time[pairs.case]
    old = np.zeros(len(time), bool)
    if window_hours is not None:
        old = (time != STATIC) & (time < index - round(window_hours * HOUR_US))
    future = (time > index) & ~old
    late = (known > index) & ~old & ~future
    if tally is not None:
        tally.add("before the window", old)
        tally.add("measured after the index time", future)
        tally.add("available only after the index time", late)
    return pairs.where(~(old | future | late))


def owned(events: Events, cases: Cases) -> Seen:
    """Every pair of a case and an observation of its owner, whenever it was made."""
    low = np.searchsorted(events.owner, cases.owner, "left")
    counts = np.searchsorted(events.owner, cases.owner, "right") - low
    case = np.repeat(np.arange(len(cases)), counts)
    within = np.arange(len(case)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Seen(case, np.repeat(low, counts) + within)


SOURCE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),  # in the stream's arrays
        pa.field("element", pa.int32()),  # in T: the first that this observation gave something to
        pa.field("count", pa.int32()),  # of elements in a run from there on
        pa.field("feature", pa.int32()),  # in the last axis; -1: all of it
        *(SCHEMA.field(name) for name in ("source_file", "source_record", "asset", "time", "available_time")),
    ]
)
_NUMBERS = SOURCE_SCHEMA.names[:4]


@dataclass(frozen=True)
class Origin:
    """Which elements which observations gave: (P,) arrays, or one number for all. Rows below 0 are left out."""

    events: Events
    row: np.ndarray
    event: np.ndarray
    element: "np.ndarray | int" = 0
    count: "np.ndarray | int" = 1
    feature: "np.ndarray | int" = -1


def sources_of(origins: Sequence[Origin]) -> pa.Table:
    """Where every element came from, in order of row, element, feature and time: `SOURCE_SCHEMA`.

    All origins are events of one table.
    """
    if not origins:
        return SOURCE_SCHEMA.empty_table()
    held = origins[0].events.held
    assert all(origin.events.held is held for origin in origins)
    kept = [origin.row >= 0 for origin in origins]
    numbers = {
        name: np.concatenate(
            [np.broadcast_to(getattr(o, name), o.row.shape)[at] for o, at in zip(origins, kept, strict=True)]
        )
        for name in _NUMBERS
    }
    place = np.concatenate([o.events.rows[o.event[at]] for o, at in zip(origins, kept, strict=True)])
    order = np.lexsort([place, numbers["count"], numbers["feature"], numbers["element"], numbers["row"]])
    columns = [pa.array(numbers[name][order], SOURCE_SCHEMA.field(name).type) for name in _NUMBERS]
    taken = held.table.select(SOURCE_SCHEMA.names[4:]).take(pa.array(held.order[place[order]]))
    return pa.Table.from_arrays([*columns, *taken.columns], schema=SOURCE_SCHEMA)
