"""Bringing observations of whole subjects into their one order, and numbering records where those are the cases."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.align.events import Events, Held
from ingest.observations import microseconds
from ingest.task import Task

_TEXTS = ("text_value", "unit", "asset", "asset_sha256", "source_file", "source_record")


@dataclass(frozen=True)
class Records:
    """The source records that are cases of a `per_record` task, in order: the n-th is the owner `first` + n."""

    first: int
    subject: np.ndarray
    file: np.ndarray
    record: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """The sorted events of a task's codes. subjects: how many they are of. records: where they are the cases."""

    events: Events
    subjects: int
    records: Records | None = None


def prepare_events(table: pa.Table, task: Task, first_record: int = 0) -> Prepared:
    """Observations of some whole subjects in their one order. first_record: the number of their first record."""
    table = table.combine_chunks()
    owner = table["subject_id"].to_numpy()
    subjects = len(pc.unique(table["subject_id"]))
    records = None
    if task.index.per_record is not None:
        owner, records = _number_records(table, task.index.per_record, first_record)
        table, owner = table.filter(pa.array(owner >= 0)), owner[owner >= 0]
    return Prepared(_sorted_events(table, owner, known_by=task.known_by), subjects, records)


def _sorted_events(table: pa.Table, owner: np.ndarray, *, known_by: str) -> Events:
    time = microseconds(table["time"]).to_numpy()
    release = np.maximum(time, microseconds(table["available_time"]).to_numpy())
    code, codes = _positions(table["code"])
    ascending = (owner[1:] > owner[:-1]) | ((owner[1:] == owner[:-1]) & (time[1:] >= time[:-1]))
    order = np.arange(len(owner)) if ascending.all() else np.lexsort([time, owner])
    new = _changes(owner[order]) | _changes(time[order])
    for key_of in (
        lambda rows: release[rows],
        lambda rows: code[rows],
        lambda rows: _numbers(table, rows),
        lambda rows: _text_ranks(table, rows),  # only where all else is equal are the texts worth ranking
    ):
        order, new = _refined(order, new, key_of)
    known = time if known_by == "time" else release
    held = Held(table, order, codes)
    return Events(owner[order], time[order], known[order], code[order], np.arange(len(order)), held)


def _refined(
    order: np.ndarray, new: np.ndarray, key_of: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The order with each run of equal rows sorted by one more key, and where runs begin then.

    order (E,): rows; new (E,): whether another run begins there. Rows that are alone are not looked at: in most data
    few are tied, and most of those are in order already.
    """
    tied = np.flatnonzero(~new | ~np.append(new[1:], True)[: len(new)])
    if not len(tied):
        return order, new
    run = np.cumsum(new)[tied]
    key = key_of(order[tied])
    if ((key[1:] < key[:-1]) & (run[1:] == run[:-1])).any():
        within = np.lexsort([key, run])
        order = order.copy()
        order[tied], key = order[tied][within], key[within]
    new = new.copy()
    new[tied] |= _changes(key)
    return order, new


def _changes(key: np.ndarray) -> np.ndarray:
    """(E,) whether a value differs from the one before; the first does."""
    return np.append(np.ones(min(len(key), 1), bool), key[1:] != key[:-1])


def _numbers(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    """Numbers to sort by: what is no number comes last."""
    numbers = np.asarray(table["numeric_value"].to_numpy(zero_copy_only=False), np.float64)[rows]
    return np.where(np.isnan(numbers), np.inf, numbers)


def _text_ranks(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    names = list(_TEXTS)
    some = table.select(names).take(pa.array(rows)).to_pandas().astype(object).fillna("")
    return np.asarray(some.groupby(names, sort=True).ngroup().to_numpy())


def _number_records(table: pa.Table, per_record: str, first: int) -> tuple[np.ndarray, Records]:
    """(owner (E,) the record's number or -1 where it has no such code, the records in order of subject and time)."""
    keys = ["subject_id", "source_file", "source_record"]
    frame = table.select(keys).to_pandas()
    frame["source_file"] = frame["source_file"].astype(object).fillna("")
    frame["source_record"] = frame["source_record"].astype(object).fillna("")
    frame["time"] = microseconds(table["time"]).to_numpy()
    holding = frame[pc.equal(table["code"], per_record).to_numpy(zero_copy_only=False)]
    firsts = holding.groupby(keys, as_index=False)["time"].min()
    firsts["length"] = firsts["source_record"].str.len()  # "row 9" before "row 10"
    firsts = firsts.sort_values(["subject_id", "time", "source_file", "length", "source_record"], ignore_index=True)
    firsts["owner"] = first + np.arange(len(firsts))
    owner = frame[keys].merge(firsts[[*keys, "owner"]], on=keys, how="left")["owner"].fillna(-1).to_numpy(np.int64)
    records = Records(
        first,
        firsts["subject_id"].to_numpy(np.int64),
        firsts["source_file"].to_numpy(object),
        firsts["source_record"].to_numpy(object),
    )
    return owner, records


def _positions(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the place of each text among the distinct ones in order, those)."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    found = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(found)
    place = np.empty(len(found), np.int64)
    place[order] = np.arange(len(found))
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    return (place[indices] if len(place) else np.zeros(0, np.int64)), tuple(found[order])
