"""Excel sheets as rows of text: dates as ISO 8601, numbers as written, formulas by their kept results."""

import datetime as dt
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.mapping.mapping import Table
from ingest.readers.table.rows import Rows

MAX_UNPACKED_BYTES = 2 * 1024**3  # a full sheet of 1,048,576 rows and 20 columns unpacks to about 1 GB
MAX_RATIO = 250
FREE_BYTES = 64 * 1024 * 1024  # unpacked, before the ratio counts
_BATCH_ROWS = 16384
_Cells = tuple[str, ...]


def is_excel(file: SourceFile) -> bool:
    """Whether the file is a workbook by its suffix and its first bytes."""
    return file.path.suffix.lower() in (".xlsx", ".xlsm") and file.head[:2] == b"PK"


def excel_names(file: SourceFile, part: Table) -> list[str]:
    """The names in the first row that is not empty, or those of the mapping. Raises InputError."""
    if part.names:
        return list(part.names)
    for cells in _sheet(file, part.sheet):
        if any(cells):
            return list(cells)
    raise InputError(file.name, expected="a sheet with a header", got="an empty sheet")


def excel_rows(file: SourceFile, part: Table, names: Sequence[str]) -> Iterator[Rows]:
    """The needed columns, as texts. Rows without any cell are passed over and keep their number."""
    places = {name: names.index(name) for name in part.needed}
    columns: dict[str, list[str]] = {name: [] for name in part.needed}
    numbers: list[int] = []
    number, header = 0, not part.names
    for cells in _sheet(file, part.sheet):
        if header and any(cells):
            header = False
            continue
        if header:
            continue
        number += 1
        if not any(cells):
            continue
        for name, place in places.items():
            columns[name].append(cells[place] if place < len(cells) else "")
        numbers.append(number)
        if len(numbers) == _BATCH_ROWS:
            yield _rows(columns, numbers)
            numbers = []
            columns = {name: [] for name in part.needed}
    if numbers:
        yield _rows(columns, numbers)


def sheet_names(file: SourceFile) -> list[str]:
    """The sheets of a workbook."""
    with _opened(file) as book:
        return list(book.sheetnames)


def _rows(columns: dict[str, list[str]], numbers: list[int]) -> Rows:
    cells = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return Rows(cells, np.array(numbers, np.int64))


def _sheet(file: SourceFile, name: str | None) -> Iterator[_Cells]:
    with _opened(file) as book:
        if name is not None and name not in book.sheetnames:
            raise InputError(
                file.name, field="sheet", expected=f"a sheet called {name!r}", got=", ".join(map(repr, book.sheetnames))
            )
        sheet = book[name] if name is not None else book.worksheets[0]
        try:
            for row in sheet.iter_rows():
                yield tuple(_text(cell.value, str(cell.number_format)) for cell in row)
        except _BROKEN as error:
            raise _not_a_workbook(file, error) from None


class _opened:  # noqa: N801 - a context, not a thing
    """A workbook open for reading, closed at the end. Refuses one that unpacks to too much."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file

    def __enter__(self):  # type: ignore[no-untyped-def]  # openpyxl has no types
        import openpyxl

        try:
            _check_size(self.file)
            self.book = openpyxl.load_workbook(self.file.path, read_only=True, data_only=True, keep_links=False)
        except _BROKEN as error:
            raise _not_a_workbook(self.file, error) from None
        return self.book

    def __exit__(self, *stopped: object) -> None:
        self.book.close()


def _check_size(file: SourceFile) -> None:
    with zipfile.ZipFile(file.path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    packed = file.path.stat().st_size
    if unpacked > MAX_UNPACKED_BYTES or unpacked > max(FREE_BYTES, MAX_RATIO * packed):
        raise InputError(
            file.name, expected=f"a workbook of at most {MAX_UNPACKED_BYTES // 2**30} GiB unpacked",
            got=f"{unpacked:,} bytes in {packed:,}", hint="export the sheet as CSV",
        )  # fmt: skip


def _text(value: object, number_format: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, dt.datetime):
        only_date = value.time() == dt.time() and "h" not in number_format.lower()
        return value.date().isoformat() if only_date else value.isoformat(sep="T", timespec="microseconds")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        minutes = round(value.total_seconds() / 60)
        return f"{minutes // 60}:{minutes % 60:02d}"
    return str(value).strip()


def _not_a_workbook(file: SourceFile, error: Exception) -> InputError:
    return InputError(
        file.name, expected="an Excel workbook (.xlsx)", got=f"a file that cannot be read ({type(error).__name__})"
    )


# What openpyxl lets through of the zip and XML that it reads.
_BROKEN = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    OSError,
    EOFError,
    SyntaxError,
)
