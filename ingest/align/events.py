"""Observations of a task's codes as sorted columns, and which of them a case may see."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingest.align.report import Tally
from ingest.observations import SCHEMA

STATIC = np.iinfo(np.int64).min  # the time of a fact without one: before everything
TIMELESS = np.iinfo(np.int64).max  # the index time of a case without one: after everything
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Events:
    """E observations in order of (owner, time, time known, code, value, ...), so that input order never matters.

    owner: the subject, or for `per_record` tasks the number of the record. time, known: microseconds since 1970;
    `known` is when the system could first use the value, max(time, available_time).
    """

    owner: np.ndarray
    time: np.ndarray
    known: np.ndarray
    table: pa.Table  # the same rows, with the columns of SCHEMA

    def __len__(self) -> int:
        return len(self.owner)

    def select(self, codes: Collection[str]) -> "Events":
        """The observations of these codes."""
        return self.take(pc.is_in(self.table["code"], pa.array(sorted(codes), pa.string())).to_numpy())

    def take(self, mask: np.ndarray) -> "Events":
        """The observations where `mask` (E,) is true."""
        return Events(self.owner[mask], self.time[mask], self.known[mask], self.table.filter(pa.array(mask)))

    def numbers(self) -> np.ndarray:
        """(E,) float64, NaN where there is no number."""
        return np.asarray(self.table["numeric_value"].to_numpy(zero_copy_only=False), np.float64)

    def texts(self) -> pd.Series:
        """(E,) the text of each observation; that of a number where only a number was given; None where neither."""
        texts = self.table["text_value"].to_pandas().astype(object)
        bare = texts.isna().to_numpy() & np.isfinite(self.numbers())
        texts[bare] = [f"{number:g}" for number in self.numbers()[bare]]
        return texts.where(texts.notna(), None)

    def strings(self, column: str) -> np.ndarray:
        """(E,) a text column as objects, None where null."""
        return np.array(self.table[column].to_pylist(), object)


@dataclass(frozen=True)
class Cases:
    """C cases in order of owner: who, when, and what came of it.

    index_time: microseconds since 1970, `TIMELESS` where the task has none. target: float32. record_file, record:
    the source record of a `per_record` case, else empty.
    """

    case_id: np.ndarray
    owner: np.ndarray
    subject: np.ndarray
    index_time: np.ndarray
    target: np.ndarray
    record_file: np.ndarray
    record: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, rows: np.ndarray) -> "Cases":
        """The cases at `rows` (bool or positions)."""
        return Cases(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def timed(self) -> bool:
        """Whether they have index times."""
        return not (self.index_time == TIMELESS).any()

    @classmethod
    def none(cls) -> "Cases":
        """No cases."""
        whole, words = np.zeros(0, np.int64), np.zeros(0, object)
        return cls(words, whole, whole, whole, np.zeros(0, np.float32), words, words)

    def chunks(self, size: int) -> "list[tuple[int, Cases]]":
        """Runs of at most `size` cases, each with the position of its first."""
        starts = range(0, len(self), size)
        return [(start, self.take(np.arange(start, min(start + size, len(self))))) for start in starts]

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


@dataclass(frozen=True)
class Records:
    """The source records that are cases of a `per_record` task, in order: owner n is the n-th."""

    subject: np.ndarray
    file: np.ndarray
    record: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """The sorted events of a task's codes, and what surrounds them.

    subjects: how many were looked at. code_counts: the observations of every code of the whole table, of the task or
    not. records: where they are the cases.
    """

    events: Events
    subjects: int
    code_counts: dict[str, int]
    records: Records | None = None


def prepare_events(
    observations: pa.Table, codes: Collection[str], subjects: Collection[int] | None, per_record: str | None
) -> Prepared:
    """Choose the rows of a task's codes (and subjects) and bring them into their one order."""
    table = conform(observations)
    counted = pc.value_counts(table["code"].combine_chunks())
    code_counts = {str(c["values"]): int(c["counts"]) for c in counted.to_pylist()}
    if subjects is not None:
        table = table.filter(pc.is_in(table["subject_id"], pa.array(sorted(subjects), pa.int64())))
    n_subjects = pc.count_distinct(table["subject_id"]).as_py()
    table = table.filter(pc.is_in(table["code"], pa.array(sorted(codes), pa.string()))).combine_chunks()
    owner = table["subject_id"].to_numpy()
    records = None
    if per_record is not None:
        owner, records = _number_records(table, per_record)
        table, owner = table.filter(pa.array(owner >= 0)), owner[owner >= 0]
    return Prepared(_sorted_events(table, owner), n_subjects, code_counts, records)


def conform(observations: pa.Table) -> pa.Table:
    """The table with exactly the columns of SCHEMA; a plain MEDS table lacks some, and they become null."""
    columns = [
        observations[f.name].cast(f.type)
        if f.name in observations.column_names
        else pa.nulls(observations.num_rows, f.type)
        for f in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _sorted_events(table: pa.Table, owner: np.ndarray) -> Events:
    time = _microseconds(table["time"])
    known = np.maximum(time, _microseconds(table["available_time"]))
    code = _ranks(table["code"])
    number = np.asarray(table["numeric_value"].to_numpy(zero_copy_only=False), np.float64)
    keys: list[np.ndarray] = [number, code, known, time, owner]
    order = np.lexsort(keys)
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        ordered = key[order]
        same &= (ordered[1:] == ordered[:-1]) | ((ordered[1:] != ordered[1:]) & (ordered[:-1] != ordered[:-1]))
    if same.any():  # equal so far: only then are the texts worth ranking
        tied = order[np.flatnonzero(np.append(same, False) | np.append(False, same))]
        rank = np.zeros(len(order), np.int64)
        names = ["text_value", "unit", "asset", "asset_sha256", "source_file", "source_record"]
        some = table.take(pa.array(tied)).select(names).to_pandas().astype(object).fillna("")
        rank[tied] = some.groupby(names, sort=True).ngroup().to_numpy()
        order = np.lexsort([rank, *keys])
    return Events(owner[order], time[order], known[order], table.take(pa.array(order)))


def _number_records(table: pa.Table, per_record: str) -> tuple[np.ndarray, Records]:
    """(owner (E,) the record's number or -1 where it has no such code, the records in order of subject and time)."""
    keys = ["subject_id", "source_file", "source_record"]
    frame = table.select(keys).to_pandas()
    frame["source_file"] = frame["source_file"].astype(object).fillna("")
    frame["source_record"] = frame["source_record"].astype(object).fillna("")
    frame["time"] = _microseconds(table["time"])
    holding = frame[pc.equal(table["code"], per_record).to_numpy(zero_copy_only=False)]
    firsts = holding.groupby(keys, as_index=False)["time"].min()
    firsts["length"] = firsts["source_record"].str.len()  # "row 9" before "row 10"
    firsts = firsts.sort_values(["subject_id", "time", "source_file", "length", "source_record"], ignore_index=True)
    firsts["owner"] = np.arange(len(firsts))
    owner = frame[keys].merge(firsts[[*keys, "owner"]], on=keys, how="left")["owner"].fillna(-1).to_numpy(np.int64)
    records = Records(
        firsts["subject_id"].to_numpy(np.int64),
        firsts["source_file"].to_numpy(object),
        firsts["source_record"].to_numpy(object),
    )
    return owner, records


def _microseconds(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(column.cast(pa.int64()), int(STATIC)).to_numpy())


def _ranks(column: pa.ChunkedArray) -> np.ndarray:
    """(E,) the place of each text among the distinct ones in order."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    place = np.argsort(np.argsort(np.array(encoded.dictionary.to_pylist(), dtype=object)))
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    return place[indices] if len(place) else np.zeros(0, np.int64)


def sources_of(parts: Sequence[tuple[Events, np.ndarray, np.ndarray]]) -> pa.Table:
    """Where values came from, in order of row and without repeats: row, source_file, source_record, asset.

    parts: (events, the row of each value, the position of its event); rows below 0 are left out.
    """
    names = ["source_file", "source_record", "asset"]
    schema = pa.schema([pa.field("row", pa.int64()), *(SCHEMA.field(name) for name in names)])
    tables = [schema.empty_table()]
    for events, row, event in parts:
        kept = row >= 0
        taken = events.table.select(names).take(pa.array(event[kept]))
        tables.append(taken.add_column(0, schema.field("row"), pa.array(row[kept], pa.int64())))
    everything = pa.concat_tables(tables).group_by(schema.names, use_threads=False).aggregate([])
    return everything.select(schema.names).sort_by([(name, "ascending") for name in schema.names])
