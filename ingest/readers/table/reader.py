"""CSV, Excel and Parquet tables by a mapping: columns become observations by the batch, without an object per row."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.intake import ALREADY, Intake
from ingest.mapping.mapping import Table, TableMapping
from ingest.readers.table.batch import FORMAT, Batch
from ingest.readers.table.files import check_columns, column_names, read_rows
from ingest.readers.table.known import KeyedRows, enter_file, file_key, known_rows
from ingest.readers.table.reading import Reading
from ingest.readers.table.rows import Rows, together

__all__ = ["FORMAT", "accepts", "read"]

_TOGETHER_ROWS = 32768  # rows of small files are read as one batch, since each batch costs some milliseconds
_TOGETHER_FILES = 512


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether the mapping names the file as a table."""
    return mapping is not None and mapping.table(file) is not None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """All columns are checked before the first row is read: a mapping that does not fit stops the ingest."""
    tables: dict[str, tuple[Table, list[tuple[SourceFile, list[str]]]]] = {}
    for file in files:
        part = intake.mapping.table(file) if intake.mapping else None
        assert part is not None, "read is given accepted files only"
        tables.setdefault(part.reading, (part, []))[1].append((file, _checked_names(file, part)))
    for part, members in tables.values():
        yield from _Tables(part, intake).read(members)


def _checked_names(file: SourceFile, part: Table) -> list[str]:
    names = column_names(file, part)
    for needed in part.needed:
        if needed not in names:
            near = difflib.get_close_matches(needed, names, 3, 0.5) or sorted(names)[:8]
            raise InputError(
                file.name, field=needed, expected="a column of this name, as the mapping says", got="none",
                hint=f"the nearest are {', '.join(near)}",
            )  # fmt: skip
        if names.count(needed) > 1:
            raise InputError(file.name, field=needed, expected="one column of this name", got=str(names.count(needed)))
    check_columns(file, part)
    return names


@dataclass
class _Progress:
    """A file on its way: its rows so far, and those of them that were refused."""

    file: SourceFile
    records: int = 0
    refused: set[str] = field(default_factory=set)
    done: bool = False


class _Tables:
    """The files of one part of a mapping. Small ones are put together; each is entered in the ledger by itself."""

    def __init__(self, part: Table, intake: Intake) -> None:
        self.part, self.intake = part, intake
        self.reading = Reading(part, intake)
        self.keyed = KeyedRows(part, intake) if part.key is not None else None
        self.waiting: list[Rows] = []
        self.files: dict[SourceFile, _Progress] = {}

    def read(self, members: Sequence[tuple[SourceFile, list[str]]]) -> Iterator[pa.RecordBatch]:
        taken: dict[str, _Progress] = {}
        for file, names in members:
            key = file_key(file, self.part, self.intake)
            if (records := self._copied(taken, key)) is not None:
                self.intake.report.see(FORMAT, records)
                self.intake.report.skip(FORMAT, "duplicate file", records)
                continue
            progress = taken[key] = self.files[file] = _Progress(file)
            for rows in self._wanted(progress, names):
                if self.waiting and not (self.waiting[0].alike(rows) and self._room(rows)):
                    yield from self._flush()
                self.waiting.append(rows)
            progress.done = True
            self.intake.advance(file, file.path.stat().st_size)
            if len(self.files) >= _TOGETHER_FILES:
                yield from self._flush()
        yield from self._flush()
        self.reading.note_clocks()

    def _copied(self, taken: dict[str, _Progress], key: str) -> int | None:
        """The rows of a file whose content this run has read already."""
        if key in taken:
            return taken[key].records
        copied = self.intake.ledger.current_file(key)
        return None if copied is None else copied.records

    def _room(self, rows: Rows) -> bool:
        return sum(map(len, self.waiting)) + len(rows) <= _TOGETHER_ROWS

    def _wanted(self, progress: _Progress, names: list[str]) -> Iterator[Rows]:
        """The rows of a file that are not known yet; all that there are are counted."""
        file, report = progress.file, self.intake.report
        known = known_rows(file, self.part, self.intake)
        skip = 0
        if known is not None and not known.refused:
            progress.records, skip = known.records, known.bytes
            report.see(FORMAT, known.records)
            report.skip(FORMAT, ALREADY, known.records)
            if not skip:
                return
        for rows in read_rows(file, self.part, names, skip=skip, first=progress.records + 1):
            progress.records += rows.seen
            report.see(FORMAT, rows.seen)
            self.intake.advance(file, rows.bytes_done)
            rows = rows.of(file)
            yield rows if known is None or skip else _not_known(rows, known.records, known.refused, self.intake)

    def _flush(self) -> Iterator[pa.RecordBatch]:
        if self.waiting:
            rows, keys = together(self.waiting), list[str]()
            self.waiting.clear()
            if self.keyed is not None:
                rows, keys = self.keyed.fresh(rows)
            batch = Batch(self.reading, rows)
            yield from batch.read()
            if self.keyed is not None:
                self.keyed.enter(rows, keys, batch.open_rows, batch.refused_rows)
            for place, label in batch.refused:
                self.files[rows.files[place]].refused.add(label)
        for progress in [each for each in self.files.values() if each.done]:
            enter_file(progress.file, self.part, self.intake, progress.records, frozenset(progress.refused))
            del self.files[progress.file]


def _not_known(rows: Rows, records: int, refused: frozenset[str], intake: Intake) -> Rows:
    """The rows of an earlier version that were refused then, and those that came after it."""
    wanted = np.array([n > records or f"row {n}" in refused for n in rows.numbers.tolist()], np.bool_)
    intake.report.skip(FORMAT, ALREADY, int((~wanted).sum()))
    return rows.where(wanted)
