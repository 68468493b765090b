"""Tables as batches of rows, whatever kind of file they are in: CSV, Excel or Parquet."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.mapping.mapping import Table
from ingest.readers.table.csv import csv_names, csv_rows, not_a_table
from ingest.readers.table.excel import excel_names, excel_rows, is_excel
from ingest.readers.table.rows import Broken, Rows

_BATCH_ROWS = 65536


def column_names(file: SourceFile, part: Table) -> list[str]:
    """The names of the columns. Raises InputError where there are none to be read."""
    if is_parquet(file):
        return list(_open_parquet(file).schema_arrow.names)
    return excel_names(file, part) if is_excel(file) else csv_names(file, part)


def read_rows(file: SourceFile, part: Table, names: Sequence[str], *, skip: int = 0, first: int = 1) -> Iterator[Rows]:
    """The columns that the mapping needs, in batches. skip: bytes of a CSV that hold the rows before `first`."""
    if is_parquet(file):
        yield from _parquet_rows(file, part)
    elif is_excel(file):
        yield from excel_rows(file, part, names)
    else:
        yield from csv_rows(file, part, names, skip=skip, first=first)


def is_parquet(file: SourceFile) -> bool:
    """Whether the file is Parquet by its magic word."""
    return file.head[:4] == b"PAR1"


def is_plain_text(file: SourceFile) -> bool:
    """Whether the file is a CSV that is not compressed, to which rows can be appended."""
    return not is_parquet(file) and not is_excel(file) and file.head[:2] != b"\x1f\x8b"


def _parquet_rows(file: SourceFile, part: Table) -> Iterator[Rows]:
    first = 1
    opened = _open_parquet(file)
    batches = opened.iter_batches(_BATCH_ROWS, columns=list(part.needed))
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            empty = {name: pa.array([], pa.string()) for name in part.needed}
            broken = Broken(first, "the rest of the file", f"pages that cannot be read ({type(error).__name__})", "")
            yield Rows(empty, np.zeros(0, np.int64), (broken,))
            return
        if batch is None:
            return
        try:
            cells = {name: _plain(batch.column(name)) for name in part.needed}
        except pa.ArrowInvalid:
            empty = {name: pa.array([], pa.string()) for name in part.needed}
            got = f"the first that are not among the {len(batch):,} from here"
            yield Rows(empty, np.zeros(0, np.int64), (Broken(first, "cells in UTF-8", got, ""),))
            return
        yield Rows(cells, np.arange(first, first + len(batch)))
        first += len(batch)


def _plain(column: pa.Array) -> pa.Array:
    """Texts as one type; bytes are texts too, as some write them. Raises ArrowInvalid where they are not UTF-8."""
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if is_text or _is_bytes(column.type) else column


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _open_parquet(file: SourceFile) -> pq.ParquetFile:
    try:
        opened = pq.ParquetFile(file.path)
    except (pa.ArrowException, OSError) as error:
        raise not_a_table(file, error) from None
    return opened


def plain_columns(file: SourceFile, names: Sequence[str]) -> list[str]:
    """The columns that have a name of their own and, in Parquet, cells with a text: no lists, records, bytes, spans."""
    own = [name for name in names if name.strip() and names.count(name) == 1]
    if not is_parquet(file):
        return own
    kinds = {name: _open_parquet(file).schema_arrow.field(name).type for name in own}
    return [
        name
        for name, kind in kinds.items()
        if not (pa.types.is_nested(kind) or _is_bytes(kind) or pa.types.is_duration(kind))
    ]


def check_columns(file: SourceFile, part: Table) -> None:
    """Refuse Parquet columns whose cells cannot be what the mapping says: lists or records, times as numbers."""
    if not is_parquet(file):
        return
    schema = _open_parquet(file).schema_arrow
    for name in part.needed:
        if pa.types.is_nested(kind := schema.field(name).type):
            raise InputError(file.name, field=name, expected="a column of plain values", got=str(kind))
    numeric = {str(column.column) for column in part.columns if column.kind == "numeric"}
    for name in sorted(numeric):
        if pa.types.is_temporal(kind := schema.field(name).type):
            raise InputError(
                file.name, field=name, expected="a column of numbers, as the mapping says", got=str(kind),
                hint="read it as text, or as a time",
            )  # fmt: skip
