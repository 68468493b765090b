"""CSV and Parquet files as batches of text cells with their row numbers."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.errors import InputError
from ingest.sources import SourceFile

_BLOCK_BYTES = 8 * 1024 * 1024
_BATCH_ROWS = 65536


@dataclass(frozen=True)
class Rows:
    """Some rows: cells as text ("" where empty), trimmed; `numbers` count data rows from 1.

    `broken` holds rows that could not be read: (number, cells expected, cells got, raw text).
    """

    cells: pa.RecordBatch
    numbers: NDArray[np.int64]
    broken: tuple[tuple[int, int, int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, column: str) -> pa.Array:
        return self.cells.column(column)

    @property
    def seen(self) -> int:
        return len(self.numbers) + len(self.broken)

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """The rows of a mask; the broken ones stay."""
        return Rows(self.cells.filter(pa.array(mask)), self.numbers[mask], self.broken)

    def raw(self, row: int) -> str:
        """One row as JSON, for quarantine."""
        return orjson.dumps({name: self[name][row].as_py() for name in self.cells.schema.names}).decode()


def column_names(file: SourceFile, delimiter: str) -> list[str]:
    """The names in the header. Raises InputError where there is none to be read."""
    if _is_parquet(file):
        return list(_open_parquet(file).schema_arrow.names)
    return _first_rows(file, delimiter)[0]


def read_rows(file: SourceFile, columns: Sequence[str], delimiter: str) -> Iterator[Rows]:
    """The columns asked for, in batches. Raises InputError where the file cannot be read to its end."""
    try:
        yield from _parquet_rows(file, columns) if _is_parquet(file) else _csv_rows(file, columns, delimiter)
    except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
        raise _not_a_table(file, error) from None


def _first_rows(file: SourceFile, delimiter: str) -> list[list[str]]:
    """The header, and the first row after it where there is one."""
    opener = gzip.open if file.path.suffix.lower() == ".gz" else open
    try:
        with opener(file.path, "rt", encoding="utf-8-sig", newline="") as text:
            rows = list(islice(filter(None, csv.reader(text, delimiter=delimiter)), 2))
    except (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise _not_a_table(file, error) from None
    if not rows:
        raise InputError(file.name, expected="a table with a header", got="an empty file")
    return rows


def _csv_rows(file: SourceFile, columns: Sequence[str], delimiter: str) -> Iterator[Rows]:
    if len(_first_rows(file, delimiter)) == 1:  # Arrow refuses a header alone that no line break follows
        return
    broken: list[tuple[int, int, int, str]] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        broken.append((row.number - 1, row.expected_columns, row.actual_columns, row.text))  # row 1 is the header
        return "skip"

    reader = pyarrow.csv.open_csv(
        file.path,
        pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep),
        pyarrow.csv.ConvertOptions(
            include_columns=list(columns),
            column_types={name: pa.string() for name in columns},
            strings_can_be_null=False,
        ),
    )
    first, reported = 1, 0
    for batch in reader:
        skipped = sorted(number for number, *_ in broken if number >= first)
        numbers = np.arange(first, first + len(batch) + len(skipped))
        numbers = numbers[~np.isin(numbers, skipped)][: len(batch)]
        last = int(numbers[-1]) if len(numbers) else first - 1
        first = last + 1
        yield Rows(_trimmed(batch), numbers, tuple(broken[reported:]))
        reported = len(broken)
    if reported < len(broken):
        empty = pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in columns})
        yield Rows(empty, np.zeros(0, np.int64), tuple(broken[reported:]))


def _parquet_rows(file: SourceFile, columns: Sequence[str]) -> Iterator[Rows]:
    first = 1
    for batch in _open_parquet(file).iter_batches(_BATCH_ROWS, columns=list(columns)):
        text = [pc.fill_null(batch.column(name).cast(pa.string()), "") for name in columns]
        yield Rows(
            _trimmed(pa.RecordBatch.from_arrays(text, names=list(columns))), np.arange(first, first + len(batch))
        )
        first += len(batch)


def _trimmed(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [pc.utf8_trim_whitespace(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _is_parquet(file: SourceFile) -> bool:
    return file.head[:4] == b"PAR1"


def _open_parquet(file: SourceFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file.path)
    except (pa.ArrowException, OSError) as error:
        raise _not_a_table(file, error) from None


def _not_a_table(file: SourceFile, error: Exception) -> InputError:
    return InputError(
        file.name, expected="a CSV (UTF-8) or Parquet table", got=f"a file that cannot be read ({type(error).__name__})"
    )
