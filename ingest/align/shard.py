"""Writing one shard of a cohort: arrays grow block by block, so that memory holds one block at a time."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.align.block import Block
from ingest.align.events import TIMELESS, Cases
from ingest.task import Task

ROW_GROUP = 1 << 16
TEXT_SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("text", pa.large_string())])


class GrowingArray:
    """A .npy file whose first axis grows. numpy leaves room in the header for the final length."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        self.shape, self.dtype, self.rows = like.shape[1:], like.dtype, 0
        self.file: BinaryIO = path.open("wb")
        self._header()

    def append(self, block: np.ndarray) -> None:
        """Add rows at the end."""
        assert (block.shape[1:], block.dtype) == (self.shape, self.dtype), (block.shape, block.dtype)
        self.file.write(np.ascontiguousarray(block).data)
        self.rows += len(block)

    def close(self) -> None:
        """Write the final length."""
        self.file.seek(0)
        self._header()
        self.file.close()

    def _header(self) -> None:
        described = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, described)


class GrowingTable:
    """A Parquet file that grows, in row groups of one size however the rows come."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.file = pq.ParquetWriter(path, schema, compression="zstd")
        self.waiting = schema.empty_table()

    def append(self, rows: pa.Table) -> None:
        """Add rows at the end."""
        self.waiting = pa.concat_tables([self.waiting, rows])
        while len(self.waiting) >= ROW_GROUP:
            self.file.write_table(self.waiting.slice(0, ROW_GROUP).combine_chunks())
            self.waiting = self.waiting.slice(ROW_GROUP)

    def close(self) -> None:
        """Write what is left."""
        self.file.write_table(self.waiting.combine_chunks())
        self.file.close()


class StreamWriter:
    """The files of one stream in a shard folder.

    row (C,): the row of each case, -1 where it is absent. problem, note (C,): why a case's stream could not be used
    (wholly or in part), and how it was made, where there is something to say; else None. digest (C,): of the bytes of
    each case's values, observed and hours; empty where it is absent.
    """

    def __init__(self, folder: Path, name: str, cases: int, empty: Block) -> None:
        stem = folder / name
        self.row = np.full(cases, -1, np.int64)
        self.problem, self.note = np.full(cases, None, object), np.full(cases, None, object)
        self.digest = np.full(cases, b"", object)
        self.rows = 0
        self.arrays = [
            GrowingArray(Path(f"{stem}.{part}.npy"), array)
            for part, array in (("values", empty.values), ("observed", empty.observed), ("hours", empty.hours))
        ]
        self.sources = GrowingTable(Path(f"{stem}.source.parquet"), empty.sources.schema)
        self.texts = None if empty.texts is None else GrowingTable(Path(f"{stem}.text.parquet"), TEXT_SCHEMA)

    def append(self, block: Block, start: int) -> None:
        """Add a block whose case positions count from `start`."""
        rows = self.rows + np.arange(len(block.case))
        self.row[start + block.case] = rows
        for said, place in ((block.problems, self.problem), (block.notes, self.note)):
            for case, line in said.items():
                place[start + case] = line
        parts = (block.values, block.observed, block.hours)
        for case, *mine in zip(block.case, *parts, strict=True):
            self.digest[start + case] = _digest(*(np.ascontiguousarray(part).data for part in mine))
        for array, part in zip(self.arrays, parts, strict=True):
            array.append(part)
        sources = block.sources
        shifted = pa.array(sources["row"].to_numpy() + self.rows, pa.int64())
        self.sources.append(sources.set_column(0, "row", shifted))
        if self.texts is not None:
            self.texts.append(pa.table([pa.array(rows), pa.array(block.texts)], TEXT_SCHEMA))
        self.rows += len(rows)

    def __enter__(self) -> "StreamWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for array in self.arrays:
            array.close()
        self.sources.close()
        if self.texts is not None:
            self.texts.close()


def index_table(task: Task, cases: Cases, split: np.ndarray, streams: Mapping[str, StreamWriter]) -> pa.Table:
    """The rows of index.parquet; record_file and record only name the source of a `per_record` case.

    inputs: a digest of all that a model sees of the case, so that it can be told when that has changed.
    """
    timed = cases.index_time != TIMELESS
    return pa.table(
        {
            "case_id": pa.array(cases.case_id, pa.string()),
            "subject_id": pa.array(cases.subject, pa.int64()),
            "index_time": pa.array(cases.index_time, pa.timestamp("us"), mask=~timed),
            "target": pa.array(cases.target, pa.float32(), from_pandas=False),
            **{
                name: pa.array(cases.outcome[:, k], pa.float32(), from_pandas=False)
                for k, name in enumerate(task.outcome_columns)
            },
            "split": pa.array(split, pa.string()),
            "record_file": pa.array(cases.record_file, pa.string()),
            "record": pa.array(cases.record, pa.string()),
            "inputs": pa.array(_inputs(streams), pa.string()),
            **{f"{name}_row": pa.array(stream.row, pa.int64()) for name, stream in streams.items()},
            **{f"{name}_problem": pa.array(stream.problem, pa.string()) for name, stream in streams.items()},
            **{f"{name}_note": pa.array(stream.note, pa.string()) for name, stream in streams.items()},
        }
    )


def _inputs(streams: Mapping[str, StreamWriter]) -> list[str]:
    names = [name.encode() for name in streams]
    digests = zip(*(stream.digest for stream in streams.values()), strict=True)
    return [_digest(*(part for pair in zip(names, mine, strict=True) for part in pair)).hex() for mine in digests]


def _digest(*parts: "bytes | memoryview") -> bytes:
    """Of parts each of which is preceded by its length."""
    digest = blake2b(digest_size=12)
    for part in parts:
        digest.update(memoryview(part).nbytes.to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
