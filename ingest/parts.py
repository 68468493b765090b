"""A part of the observation table, written in bounded memory however much comes: sorted runs, then merged.

Rows wait in memory until there are many, are sorted and set aside; at the end the runs are merged, one range of
subjects after the other. So a part is in the order that MEDS asks for, subject by subject.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.files import replacing_file
from ingest.observations import SCHEMA, microseconds

MAX_ROWS = 65_536
MAX_BYTES = 32 * 1024 * 1024
ROW_GROUP = 32_768
SPILL_BATCH = 8_192


@dataclass(frozen=True)
class _Run:
    """A sorted run set aside: an Arrow file of batches, with the first and last subject of each."""

    path: Path
    first: tuple[int, ...]
    last: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass
class PartWriter:
    """Takes record batches of SCHEMA in any order; `write` makes them one sorted Parquet file."""

    folder: Path  # for what has to be set aside; removed by `close`
    rows: int = 0
    _waiting: list[pa.RecordBatch] = field(default_factory=list)
    _waiting_rows: int = 0
    _waiting_bytes: int = 0
    _runs: list[_Run] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take some rows."""
        assert batch.schema.equals(SCHEMA), f"not an observation batch: {batch.schema}"
        if not batch.num_rows:
            return
        self._waiting.append(batch)
        self.rows += batch.num_rows
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.get_total_buffer_size()
        if self._waiting_rows >= MAX_ROWS or self._waiting_bytes >= MAX_BYTES:
            self._set_aside()

    def write(self, path: Path) -> None:
        """Write all rows, in order, as one file that appears whole or not at all."""
        with replacing_file(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
            for table in filter(len, self._merged()):
                writer.write_table(table, row_group_size=ROW_GROUP)

    def close(self) -> None:
        """Remove what was set aside."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sorted_waiting(self) -> pa.Table:
        table = in_order(pa.Table.from_batches(self._waiting, schema=SCHEMA))
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        return table

    def _set_aside(self) -> None:
        table = self._sorted_waiting()
        self.folder.mkdir(exist_ok=True, mode=0o700)
        path = self.folder / f"{len(self._runs):05d}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        spans = []
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA, options=options) as writer:
            for batch in table.combine_chunks().to_batches(max_chunksize=SPILL_BATCH):
                subjects = batch.column(0)
                spans.append((subjects[0].as_py(), subjects[-1].as_py(), batch.num_rows))
                writer.write_batch(batch)
        first, last, rows = zip(*spans, strict=True)
        self._runs.append(_Run(path, first, last, rows))

    def _merged(self) -> Iterator[pa.Table]:
        if not self._runs:
            yield self._sorted_waiting()
            return
        if self._waiting:
            self._set_aside()
        readers = [pa.ipc.open_file(pa.OSFile(str(run.path))) for run in self._runs]
        batches = [batch for run in self._runs for batch in zip(run.last, run.rows, strict=True)]
        for low, high in spans(batches, MAX_ROWS):
            parts = [
                reader.get_batch(number)
                for run, reader in zip(self._runs, readers, strict=True)
                for number in range(len(run.rows))
                if run.last[number] > low and run.first[number] <= high
            ]
            table = pa.Table.from_batches(parts, schema=SCHEMA)
            subject = table["subject_id"]
            yield in_order(table.filter(pc.and_(pc.greater(subject, low), pc.less_equal(subject, high))))


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
