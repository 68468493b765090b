"""A part of the observation table, written in bounded memory however much comes: sorted runs, then merged.

Rows wait in memory until there are many, are sorted and set aside as a run; runs are merged as soon as there are
`FAN_IN` of a level, and all at the end, one range of subjects after the other. So a part is in the order that MEDS asks
for, subject by subject, and what a merge holds is the rows of one range, however many runs there were.
"""

import shutil
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.files import replacing_file
from ingest.observations import SCHEMA, microseconds

MAX_ROWS = 32_768
MAX_BYTES = 32 * 1024 * 1024
ROW_GROUP = 32_768
MERGED_ROWS = 8_192  # at once: a merge holds them several times over
SPILL_BATCH = 2_048
FAN_IN = 16


@dataclass(frozen=True)
class _Run:
    """A sorted run set aside: an Arrow file of batches, with the first and last subject of each, and how many rows it
    counts as."""

    path: Path
    first: tuple[int, ...]
    last: tuple[int, ...]
    weight: tuple[int, ...]


@dataclass
class PartWriter:
    """Takes record batches of SCHEMA in any order; `write` makes them one sorted Parquet file."""

    folder: Path  # for what has to be set aside; removed by `close`
    rows: int = 0
    _waiting: list[pa.RecordBatch] = field(default_factory=list)
    _waiting_rows: int = 0
    _waiting_bytes: int = 0
    _levels: list[list[_Run]] = field(default_factory=list)  # runs, then what `FAN_IN` of those became, and so on
    _files: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take some rows."""
        assert batch.schema.equals(SCHEMA), f"not an observation batch: {batch.schema}"
        self.rows += batch.num_rows
        while len(batch):
            piece = batch.slice(0, MAX_ROWS - self._waiting_rows)
            batch = batch.slice(len(piece))
            self._waiting.append(piece)
            self._waiting_rows += len(piece)
            self._waiting_bytes += piece.nbytes
            if self._waiting_rows >= MAX_ROWS or self._waiting_bytes >= MAX_BYTES:
                self._set_aside()

    def write(self, path: Path) -> None:
        """Write all rows, in order, as one file that appears whole or not at all."""
        with replacing_file(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
            for table in _joined(self._merged(), ROW_GROUP):
                writer.write_table(table, row_group_size=ROW_GROUP)

    def close(self) -> None:
        """Remove what was set aside."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sorted_waiting(self) -> pa.Table:
        table = in_order(pa.Table.from_batches(self._waiting, schema=SCHEMA))
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        return table

    def _set_aside(self) -> None:
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self._keep(0, self._run_of([self._sorted_waiting()]))

    def _keep(self, level: int, run: _Run) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(run)
        if len(self._levels[level]) == FAN_IN:
            runs, self._levels[level] = self._levels[level], []
            self._keep(level + 1, self._run_of(_merged(runs)))
            for merged in runs:
                merged.path.unlink()

    def _run_of(self, tables: Iterable[pa.Table]) -> _Run:
        """A run of tables that are in order."""
        path = self.folder / f"{self._files:05d}.arrow"
        self._files += 1
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        batches = []
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA, options=options) as writer:
            for table in tables:
                each = max(1, min(SPILL_BATCH, SPILL_BATCH * len(table) // max(_weight(table), 1)))
                for batch in table.to_batches(max_chunksize=each):
                    subjects = batch.column(0)
                    batches.append((subjects[0].as_py(), subjects[-1].as_py(), _weight(batch)))
                    writer.write_batch(batch)
        first, last, weight = zip(*batches, strict=True)
        return _Run(path, first, last, weight)

    def _merged(self) -> Iterator[pa.Table]:
        if not self._levels:
            yield self._sorted_waiting()
            return
        if self._waiting:
            self._set_aside()
        yield from _merged([run for level in self._levels for run in level])


def _merged(runs: list[_Run]) -> Iterator[pa.Table]:
    """The rows of several runs in order, a range of subjects at a time."""
    readers = [pa.ipc.open_file(pa.OSFile(str(run.path))) for run in runs]
    batches = [batch for run in runs for batch in zip(run.last, run.weight, strict=True)]
    latest: dict[int, tuple[int, pa.RecordBatch]] = {}  # of each run: a range often ends within a batch
    for low, high in spans(batches, MERGED_ROWS):
        parts = []
        for place, (run, reader) in enumerate(zip(runs, readers, strict=True)):
            for number in range(bisect_right(run.last, low), bisect_right(run.first, high)):
                if latest.get(place, (-1,))[0] != number:
                    latest[place] = number, reader.get_batch(number)
                batch = latest[place][1]
                start, end = batch.column(0).to_numpy().searchsorted([low, high], "right").tolist()
                parts.append(batch.slice(start, end - start))
        table = pa.Table.from_batches(parts, schema=SCHEMA)
        del parts
        if len(table):
            yield in_order(table)


def _joined(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of at least so many, but for the last; long texts count as several rows."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(_weight, held)) >= rows:
            yield pa.concat_tables(held)
            held.clear()
    if held:
        yield pa.concat_tables(held)


def _weight(rows: pa.Table | pa.RecordBatch) -> int:
    """How many rows these count as: long texts count as several, so that as much memory is held of them."""
    return max(len(rows), int(rows.nbytes) * MAX_ROWS // MAX_BYTES)


def spans(groups: Iterable[tuple[int, int]], rows: int) -> Iterator[tuple[int, int]]:
    """(after, up to) subjects, in order and over all there can be: whole subjects, about so many rows each.

    groups: the last subject and the number of rows of runs of rows that are in order.
    """
    low, held = -(2**63), 0
    for last, count in sorted(groups):
        held += count
        if held >= rows and last > low:
            yield low, last
            low, held = last, 0
    yield low, 2**63 - 1


def in_order(table: pa.Table) -> pa.Table:
    """A table by subject and time, static facts (null times) first: the order that MEDS asks of its files."""
    keys = pa.table({"subject_id": table["subject_id"], "time": microseconds(table["time"]), "code": table["code"]})
    return table.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))


def is_in_order(table: pa.Table) -> bool:
    """Whether a table is by subject and time already; codes of one moment may stand in any order."""
    subject, time = table["subject_id"].to_numpy(), microseconds(table["time"]).to_numpy()
    later = (subject[1:] > subject[:-1]) | ((subject[1:] == subject[:-1]) & (time[1:] >= time[:-1]))
    return bool(later.all())
