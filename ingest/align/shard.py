"""Writing one shard of a cohort: arrays grow block by block, so that memory holds one block at a time."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.align.block import Block
from ingest.align.events import TIMELESS, Cases

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


class StreamWriter:
    """The files of one stream in a shard folder. `row` (C,) holds the row of each case, -1 where it is absent."""

    def __init__(self, folder: Path, name: str, cases: int, empty: Block) -> None:
        stem = folder / name
        self.row = np.full(cases, -1, np.int64)
        self.rows = 0
        self.arrays = [
            GrowingArray(Path(f"{stem}.{part}.npy"), array)
            for part, array in (("values", empty.values), ("observed", empty.observed), ("hours", empty.hours))
        ]
        self.sources = pq.ParquetWriter(f"{stem}.source.parquet", empty.sources.schema, compression="zstd")
        self.texts = None
        if empty.texts is not None:
            self.texts = pq.ParquetWriter(f"{stem}.text.parquet", TEXT_SCHEMA, compression="zstd")

    def append(self, block: Block, start: int) -> None:
        """Add a block whose case positions count from `start`."""
        rows = self.rows + np.arange(len(block.case))
        self.row[start + block.case] = rows
        for array, part in zip(self.arrays, (block.values, block.observed, block.hours), strict=True):
            array.append(part)
        sources = block.sources
        shifted = pa.array(sources["row"].to_numpy() + self.rows, pa.int64())
        self.sources.write_table(sources.set_column(0, "row", shifted))
        if self.texts is not None:
            self.texts.write_table(pa.table([pa.array(rows), pa.array(block.texts)], TEXT_SCHEMA))
        self.rows += len(rows)

    def __enter__(self) -> "StreamWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for array in self.arrays:
            array.close()
        self.sources.close()
        if self.texts is not None:
            self.texts.close()


def index_table(cases: Cases, split: np.ndarray, rows: dict[str, np.ndarray]) -> pa.Table:
    """The rows of index.parquet; record_file and record only name the source of a `per_record` case."""
    timed = cases.index_time != TIMELESS
    return pa.table(
        {
            "case_id": pa.array(cases.case_id, pa.string()),
            "subject_id": pa.array(cases.subject, pa.int64()),
            "index_time": pa.array(cases.index_time, pa.timestamp("us"), mask=~timed),
            "target": pa.array(cases.target, pa.float32(), from_pandas=False),
            "split": pa.array(split, pa.string()),
            "record_file": pa.array(cases.record_file, pa.string()),
            "record": pa.array(cases.record, pa.string()),
            **{f"{name}_row": pa.array(row, pa.int64()) for name, row in rows.items()},
        }
    )
