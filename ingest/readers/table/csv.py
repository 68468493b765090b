"""CSV files as rows: Arrow parses each block with the types that the mapping wants; a block in which a cell is of
another kind is parsed again as text, so that only its row is refused."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.machine import cores
from ingest.mapping.mapping import Table
from ingest.mapping.table import RELATIVE_UNITS, CodeCell, UnitCell
from ingest.readers.table.blocks import Block, BlockError, blocks, first_bytes
from ingest.readers.table.cells import is_number
from ingest.readers.table.rows import Broken, Rows

_CODED = pa.dictionary(pa.int32(), pa.string())
_SMALL = 64 * 1024  # threads only slow down what is smaller


def delimiter_of(file: SourceFile, part: Table) -> str:
    """The delimiter that the mapping states, or that the file's suffix says."""
    if part.delimiter is not None:
        return part.delimiter
    return "\t" if {".tsv", ".tab"} & {suffix.lower() for suffix in file.path.suffixes[-2:]} else ","


def csv_names(file: SourceFile, part: Table) -> list[str]:
    """The names of the columns. Raises InputError where there is no header."""
    return list(part.names) if part.names else header(file, delimiter_of(file, part), part.encoding)[0]


def header(file: SourceFile, delimiter: str, encoding: str) -> tuple[list[str], int]:
    """(names in the header, bytes that it takes in UTF-8). Raises InputError."""
    try:
        data = first_bytes(file.path, encoding)
        lines = _Counted(data.removeprefix(codecs.BOM_UTF8))
        rows = csv.reader(lines, delimiter=delimiter)
        names = next(islice(filter(None, rows), 1), None)
    except (BlockError, csv.Error, UnicodeDecodeError) as error:
        raise not_a_table(file, error) from None
    if names is None:
        raise InputError(file.name, expected="a table with a header", got="an empty file")
    if any("\x00" in name for name in names):
        raise InputError(file.name, expected=f"a table in {encoding}", got="a header with zero bytes")
    return names, lines.bytes + len(data) - len(data.removeprefix(codecs.BOM_UTF8))


def csv_rows(file: SourceFile, part: Table, names: Sequence[str], *, skip: int = 0, first: int = 1) -> Iterator[Rows]:
    """The needed columns, block by block. skip: bytes after the header, which hold the rows before `first`."""
    delimiter = delimiter_of(file, part)
    begin = 0 if part.names else header(file, delimiter, part.encoding)[1]
    parser = _Parser(part, names, delimiter)
    source = blocks(file.path, delimiter, part.encoding, start=max(skip, begin))
    for parsed in _beside(parser, source) if file.path.stat().st_size > _SMALL else _in_turn(parser, source):
        rows = parser.rows(parsed, first)
        first += rows.seen
        yield rows


def _in_turn(parser: "_Parser", source: Iterator[Block]) -> Iterator["_Parsed"]:
    while (parsed := parser.next_block(source)) is not None:
        yield parsed


def _beside(parser: "_Parser", source: Iterator[Block]) -> Iterator["_Parsed"]:
    """The same, in a thread: the next block is parsed while the caller works on this one."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(parser.next_block, source)
        while (parsed := coming.result()) is not None:
            coming = thread.submit(parser.next_block, source)
            yield parsed


def not_a_table(file: SourceFile, error: Exception) -> InputError:
    """The complaint about a file that cannot be read as a table at all."""
    why = str(error) if isinstance(error, BlockError) else type(error).__name__
    return InputError(
        file.name, expected="a CSV, Excel or Parquet table", got=f"a file that cannot be read ({why})",
        hint="say `encoding` in the mapping if it is not UTF-8",
    )  # fmt: skip


class _Counted:
    """The lines of some bytes as text, and how many bytes were taken."""

    def __init__(self, data: bytes) -> None:
        self._lines = io.BytesIO(data if b"\n" in data else data.replace(b"\r", b"\n"))
        self.bytes = 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line = self._lines.readline()
        if not line:
            raise StopIteration
        self.bytes += len(line)
        return line.decode()


@dataclass(frozen=True)
class _Parsed:
    """A block as Arrow has it. typed: in the types wanted, else as bytes; wrong: (number within it, cells expected,
    cells found, text) of rows with too many or too few."""

    table: pa.Table
    typed: bool
    wrong: list[tuple[int, int, int, str]]
    bytes_done: int
    broken: str = ""


class _Parser:
    """Parses blocks, in the types wanted where that works, else as texts."""

    def __init__(self, part: Table, names: Sequence[str], delimiter: str) -> None:
        self.part, self.names, self.delimiter = part, list(names), delimiter
        self.types = _types(part)
        self.nulls = ["", *_common_nulls(part)]

    @property
    def empty(self) -> dict[str, pa.Array]:
        return {name: pa.array([], pa.string()) for name in self.part.needed}

    def next_block(self, source: Iterator[Block]) -> "_Parsed | None":
        """Parse the next block; None at the end. What breaks the file is given as the last block's `broken`."""
        try:
            block = next(source, None)
        except BlockError as error:
            return _Parsed(pa.table(self.empty), False, [], 0, str(error))
        if block is None:
            return None
        broken: list[pyarrow.csv.InvalidRow] = []
        threads = len(block.data) > _SMALL and cores() > 1
        typed = True
        try:
            table = self._parse(block, self.types, broken, threads=threads)
        except pa.ArrowInvalid:
            broken.clear()
            typed = False
            table = self._parse(block, dict.fromkeys(self.types, pa.binary()), broken, threads=threads)
        return _Parsed(table, typed, self._numbered(block, broken), block.bytes_done)

    def rows(self, parsed: "_Parsed", first: int) -> Rows:
        """A parsed block as rows, whose first has the number `first`."""
        if parsed.broken:
            rest = Broken(first, "the rest of the file", parsed.broken, "")
            return Rows(self.empty, np.zeros(0, np.int64), (rest,))
        if not parsed.typed:
            return replace(self._texts(parsed.table, first, parsed.wrong), bytes_done=parsed.bytes_done)
        cells = {name: _one(parsed.table.column(name)) for name in self.part.needed}
        numbers = _numbers(first, len(parsed.table), parsed.wrong)
        return Rows(cells, numbers, _broken(first, parsed.wrong), bytes_done=parsed.bytes_done)

    def _parse(
        self, block: Block, types: dict[str, pa.DataType], broken: list[pyarrow.csv.InvalidRow], *, threads: bool
    ) -> pa.Table:
        def keep(row: pyarrow.csv.InvalidRow) -> str:
            broken.append(row)
            return "skip"

        return pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(block.data)),
            pyarrow.csv.ReadOptions(use_threads=threads, block_size=len(block.data) + 1, column_names=self.names),
            pyarrow.csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=block.quoted, invalid_row_handler=keep
            ),
            pyarrow.csv.ConvertOptions(
                include_columns=list(types), column_types=types, strings_can_be_null=False, null_values=self.nulls,
                decimal_point=self.part.decimal,
            ),
        )  # fmt: skip

    def _numbered(self, block: Block, broken: list[pyarrow.csv.InvalidRow]) -> list[tuple[int, int, int, str]]:
        """The invalid rows with their numbers within the block, which Arrow tells only without threads."""
        if broken and broken[0].number is None:
            broken.clear()
            self._parse(block, {self.part.needed[0]: pa.binary()}, broken, threads=False)
        return [(row.number, row.expected_columns, row.actual_columns, row.text) for row in broken]

    def _texts(self, table: pa.Table, first: int, wrong: list[tuple[int, int, int, str]]) -> Rows:
        """Cells as texts; a row with bytes that are no UTF-8 is broken."""
        cells = {name: _one(table.column(name)) for name in self.part.needed}
        numbers = _numbers(first, len(table), wrong)
        bad: dict[int, str] = {}
        for name, column in cells.items():
            try:
                cells[name] = column.cast(pa.string())
            except pa.ArrowInvalid:
                bad |= {row: name for row, cell in enumerate(column.to_pylist()) if not _is_utf8(cell)}
        broken = _broken(first, wrong)
        if bad:
            kept = np.ones(len(table), np.bool_)
            kept[list(bad)] = False
            chosen = pa.array(kept)
            broken += tuple(
                Broken(int(numbers[row]), f"text in UTF-8 in {name}", "bytes that are not", _raw(cells, row))
                for row, name in sorted(bad.items())
            )
            cells = {name: column.filter(chosen).cast(pa.string()) for name, column in cells.items()}
            numbers = numbers[kept]
        return Rows(cells, numbers, broken)


def _types(part: Table) -> dict[str, pa.DataType]:
    """The Arrow type in which each needed column is wanted: as text unless all its uses want another."""
    uses: dict[str, set[pa.DataType]] = {name: set() for name in part.needed}
    if part.subject.column is not None:
        uses[part.subject.column].add(_CODED)
    for name in part.where:
        uses[name].add(_CODED)
    times = [part.time, part.available_time]
    for column in part.columns:
        times += [column.time, column.available_time]
        for name in (
            *column.where,
            *(c.column for c in (column.code, column.unit) if isinstance(c, CodeCell | UnitCell)),
        ):
            uses[name].add(_CODED)
        for name in column.placeholders:
            uses[name].add(pa.string())
        if column.column is not None:
            if column.replace or column.pattern:
                uses[column.column].add(_CODED)
            else:
                uses[column.column].add(pa.float64() if column.kind == "numeric" else pa.string())
    for time in times:
        if time is not None and time.column is not None:
            uses[time.column].add(pa.float64() if time.unit in RELATIVE_UNITS else pa.string())
        if time is not None and time.plus is not None and time.plus.column is not None:
            uses[time.plus.column].add(pa.float64())
    if part.key is not None:
        for name in part.needed if part.key == "row" else part.key:
            uses[name].add(pa.string())
    return {name: next(iter(kinds)) if len(kinds) == 1 else pa.string() for name, kinds in uses.items()}


def _common_nulls(part: Table) -> list[str]:
    """Texts that mean "no value" in every numeric column, so that the parser may take them so; numbers among them
    are found later."""
    sets = [set(column.null) for column in part.columns if column.kind == "numeric" and not column.replace]
    relative = any(
        time is not None and (time.unit in RELATIVE_UNITS or time.plus is not None)
        for time in (part.time, part.available_time, *(t for c in part.columns for t in (c.time, c.available_time)))
    )
    common = set.intersection(*sets) if sets and not relative else set()
    return sorted(text for text in common if not is_number(text, part.decimal))


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _numbers(first: int, count: int, wrong: list[tuple[int, int, int, str]]) -> NDArray[np.int64]:
    """The numbers of the rows that were read, those of the invalid ones left out."""
    numbers = np.arange(first, first + count + len(wrong))
    return np.delete(numbers, [number - 1 for number, *_ in wrong]) if wrong else numbers


def _broken(first: int, wrong: list[tuple[int, int, int, str]]) -> tuple[Broken, ...]:
    return tuple(
        Broken(first + number - 1, f"{expected} cells", str(actual), text) for number, expected, actual, text in wrong
    )


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def _raw(cells: dict[str, pa.Array], row: int) -> str:
    return ",".join(str(cell[row].as_py()) for cell in cells.values())
