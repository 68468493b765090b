"""How an unknown table is written: its encoding, delimiter and decimals, or its sheet; and its first cells."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.mapping.mapping import Table
from ingest.readers.table.blocks import BlockError, first_bytes
from ingest.readers.table.cells import as_text
from ingest.readers.table.excel import is_excel, sheet_names
from ingest.readers.table.files import column_names, is_parquet, plain_columns, read_rows

SAMPLE_ROWS = 5000
_DELIMITERS = (",", ";", "\t", "|")
_ENCODINGS = ("utf-8", "utf-16", "cp1252")


@dataclass(frozen=True)
class Form:
    """How the file is written: keys of the mapping, and what to say of it."""

    keys: dict[str, str]
    remarks: tuple[str, ...] = ()


def form_of(file: SourceFile) -> Form:
    """How a file is written, as far as its beginning tells. Raises InputError where it is no table."""
    if is_parquet(file):
        return Form({})
    if is_excel(file):
        sheets = sheet_names(file)
        sheet = next((name for name in sheets if _is_table(file, name)), sheets[0])
        which = "first" if sheet == sheets[0] else "first that has a table"
        remarks = (f"the workbook has {len(sheets)} sheets; this is the {which}",) if len(sheets) > 1 else ()
        return Form({"sheet": sheet}, remarks)
    encoding, text = _decoded(file)
    lines = [line for line in text.splitlines()[:200] if line.strip()]
    delimiter = max(_DELIMITERS, key=lambda mark: _columns(lines, mark))
    keys = {} if encoding == "utf-8" else {"encoding": encoding}
    if delimiter != ",":
        keys["delimiter"] = delimiter
    found = [cell for row in csv.reader(lines[1:], delimiter=delimiter) for cell in row]
    if _has_decimal_commas([cell.strip() for cell in found], is_delimiter=delimiter == ","):
        keys["decimal"] = ","
    remarks = () if encoding == "utf-8" else (f"CHECK: the file is not UTF-8; {encoding} reads it, others might too",)
    return Form(keys, remarks)


def _is_table(file: SourceFile, sheet: str) -> bool:
    """Whether a sheet has a header of several names, and a row: a cover page has not."""
    try:
        names = column_names(file, Table.model_validate({**_blank(["x"]), "sheet": sheet}))
    except InputError:
        return False
    usable = plain_columns(file, names)
    if len(usable) < 2:
        return False
    part = Table.model_validate({**_blank(usable), "sheet": sheet})
    return any(len(rows) for rows in read_rows(file, part, names))


def _has_decimal_commas(cells: Sequence[str], *, is_delimiter: bool) -> bool:
    """Whether more numbers are written as 1,5 than as 1.5. In quotes, 1,234 may well be more than a thousand."""
    commas = [cell for cell in cells if re.fullmatch(r"-?\d+,\d+", cell)]
    points = sum(bool(re.fullmatch(r"-?\d+\.\d+", cell)) for cell in cells)
    sure = not is_delimiter or any(len(cell.partition(",")[2]) != 3 for cell in commas)
    return sure and len(commas) > points


def _decoded(file: SourceFile) -> tuple[str, str]:
    """(encoding, the beginning) in the first encoding that fits."""
    for encoding in _ENCODINGS:
        if encoding == "utf-16" and file.head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            data = first_bytes(file.path, encoding)
            return encoding, data[: data.rfind(b"\n") + 1 or len(data)].decode("utf-8-sig")
        except (BlockError, UnicodeDecodeError):
            continue
    raise InputError(file.name, expected="a table as text, Excel or Parquet", got="a file of another kind")


def _columns(lines: Sequence[str], delimiter: str) -> float:
    """How many columns a delimiter gives; little where rows differ."""
    try:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error:
        return 0.0
    return widths[0] * sum(width == widths[0] for width in widths) / len(widths) if widths else 0.0


def sample(file: SourceFile, form: Form) -> tuple[list[str], dict[str, list[str]]]:
    """(all column names, the first cells of those that can be named)."""
    first = Table.model_validate({**_blank(["x"]), **form.keys})
    names = column_names(file, first)
    usable = plain_columns(file, names)
    if not usable:
        raise InputError(file.name, expected="a header with names of columns", got="none that can be used")
    part = Table.model_validate({**_blank(usable), **form.keys})
    cells: dict[str, list[str]] = {name: [] for name in usable}
    for rows in read_rows(file, part, names):
        for name in usable:
            cells[name] += as_text(rows[name]).slice(0, SAMPLE_ROWS).to_pylist()
        if len(cells[usable[0]]) >= SAMPLE_ROWS:
            break
    return names, cells


def _blank(names: list[str]) -> dict[str, object]:
    columns = [{"code": name, "column": name} for name in names]
    return {"path": "x", "subject": {"column": names[0], "issuer": "x"}, "columns": columns}
