"""CSV and Parquet tables by a mapping: columns become observations, batch by batch, without an object per row."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.errors import InputError
from ingest.intake import ALREADY, Intake
from ingest.mapping import Column, Table, TableMapping
from ingest.observations import SCHEMA
from ingest.quarantine import Refusal, shown
from ingest.readers.table_files import Rows, column_names, read_rows
from ingest.readers.table_times import Times, parse_times
from ingest.sources import SourceFile
from ingest.times import DATE_NOTE

FORMAT = "table"
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$"
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether the mapping names the file as a table."""
    return mapping is not None and mapping.table(file) is not None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """All columns are checked before the first row is read: a mapping that does not fit stops the ingest."""
    tables = []
    for file in files:
        part = intake.mapping.table(file) if intake.mapping else None
        assert part is not None, "read is given accepted files only"
        _check_columns(file, part)
        tables.append((file, part))
    for file, part in tables:
        yield from _read_table(file, part, intake)


def _check_columns(file: SourceFile, part: Table) -> None:
    names = column_names(file, part.delimiter)
    for needed in part.needed:
        if needed not in names:
            near = difflib.get_close_matches(needed, names, 3, 0.5) or sorted(names)[:8]
            raise InputError(
                file.name, field=needed, expected="a column of this name, as the mapping says", got="none",
                hint=f"the nearest are {', '.join(near)}",
            )  # fmt: skip
        if names.count(needed) > 1:
            raise InputError(file.name, field=needed, expected="one column of this name", got=str(names.count(needed)))


def _read_table(file: SourceFile, part: Table, intake: Intake) -> Iterator[pa.RecordBatch]:
    known = intake.ledger.file(file.sha256)
    if known is not None and known.reading != part.reading:
        raise InputError(
            file.name, expected="the mapping under which this file was ingested before", got="another",
            hint="its rows would count twice; use a new workspace",
        )  # fmt: skip
    copy = intake.ledger.current_file(file.sha256) is not None
    seen, refused = 0, set[str]()
    for rows in read_rows(file, part.needed, part.delimiter):
        seen += rows.seen
        intake.report.see(FORMAT, rows.seen)
        if copy:
            intake.report.skip(FORMAT, "duplicate file", rows.seen)
            continue
        if known is not None:
            wanted = np.array([f"row {n}" in known.refused for n in rows.numbers.tolist()], bool)
            intake.report.skip(FORMAT, ALREADY, int((~wanted).sum()))
            rows = rows.where(wanted)
        batch = _Batch(file, part, intake, rows)
        yield from batch.read()
        refused |= batch.refused
    if not copy:
        intake.ledger.enter_file(file.sha256, part.reading, seen, frozenset(refused))


@dataclass
class _Batch:
    """Some rows of a table on their way to observations. `open_rows` are those neither refused nor skipped yet."""

    file: SourceFile
    part: Table
    intake: Intake
    rows: Rows
    refused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.open_rows: NDArray[np.bool_] = np.ones(len(self.rows), np.bool_)

    def read(self) -> Iterator[pa.RecordBatch]:
        """Everything that can refuse a row comes first; then what is left becomes observations."""
        for number, expected, got, raw in self.rows.broken:
            self._refuse_one(f"row {number}", Refusal("", f"{expected} cells", f"{got}"), raw)
        self._filter()
        subjects = self._subjects()
        times = self._times("time")
        available = self._times("available_time")
        values = [(column, self._values(column)) for column in self.part.columns]
        self.intake.report.use(FORMAT, int(self.open_rows.sum()))
        kept = np.flatnonzero(self.open_rows)
        for column, arrays in values:
            yield from self._observations(kept, column, arrays, subjects, times, available)

    def _filter(self) -> None:
        for name, allowed in self.part.where.items():
            fits = _mask(pc.is_in(self.rows[name], pa.array(allowed, pa.string())))
            out = self.open_rows & ~fits
            self.intake.report.skip(FORMAT, f"{name} is not {' or '.join(allowed)}", int(out.sum()))
            self.open_rows &= fits

    def _subjects(self) -> NDArray[np.int64]:
        """Subject numbers, one hash per distinct identifier."""
        name, issuer = self.part.subject.column, self.part.subject.issuer
        cells = self.rows[name]
        self._refuse(_mask(pc.equal(cells, "")), name, "an identifier", lambda _: "nothing")
        coded = cells.dictionary_encode()
        subjects = np.array(
            [self.intake.identity.subject_id(issuer, text) if text else -1 for text in coded.dictionary.to_pylist()],
            np.int64,
        )
        return subjects[coded.indices.to_numpy()] if len(subjects) else np.zeros(0, np.int64)

    def _times(self, which: str) -> Times | None:
        spec = self.part.time if which == "time" else self.part.available_time
        if spec is None:
            return None
        cells = self.rows[spec.column]
        times = parse_times(cells, spec, self.intake.zone)
        if spec.missing == "skip":
            out = self.open_rows & times.missing
            self.intake.report.skip(FORMAT, f"{spec.column} is missing", int(out.sum()))
            self.open_rows &= ~times.missing
        elif spec.missing == "refuse":
            self._refuse(times.missing, spec.column, "a time", lambda _: "nothing")
        for mask, expected in times.problems:
            self._refuse(mask, spec.column, expected, lambda row: shown(cells[row].as_py()))
        self.intake.report.note(
            DATE_NOTE,
            int((times.is_date & self.open_rows).sum()),
        )
        return times

    def _values(self, column: Column) -> dict[str, pa.Array]:
        """The column's cells as the arrays of the observation table that they fill; null where there is no value."""
        if column.asset is not None:
            return self._assets(column)
        assert column.column is not None
        cells = self.rows[column.column]
        empty = pc.is_in(cells, pa.array(column.null, pa.string()))
        present = pc.if_else(empty, pa.scalar(None, pa.string()), cells)
        if column.kind == "text":
            return {"text_value": present.cast(pa.large_string())}
        sound = pc.match_substring_regex(present, _FLOAT)
        numbers = pc.if_else(sound, present, pa.scalar(None, pa.string())).cast(pa.float64())
        fits = pc.fill_null(pc.less_equal(pc.abs(numbers), LARGEST_FLOAT32), fill_value=False)
        wrong = _mask(pc.and_(pc.is_valid(present), pc.invert(fits)))
        if column.unparseable == "null":
            self.intake.report.note(
                f"{column.column}: cell that is not a number, taken as missing", int((wrong & self.open_rows).sum())
            )
        else:
            self._refuse(wrong, column.column, "a number", lambda row: shown(cells[row].as_py()))
        numbers = pc.if_else(fits, numbers, pa.scalar(None, pa.float64()))
        return {"numeric_value": numbers.cast(pa.float32())}

    def _assets(self, column: Column) -> dict[str, pa.Array]:
        paths: list[str | None] = [None] * len(self.rows)
        digests: list[str | None] = [None] * len(self.rows)
        assert column.asset is not None
        cells = {name: self.rows[name].to_pylist() for name in column.placeholders}
        for row in np.flatnonzero(self.open_rows).tolist():
            values = {name: cells[name][row] for name in cells}
            if any(value in column.null for value in values.values()):
                continue
            try:
                reference = column.asset.format_map(values)
                paths[row], digests[row] = self.intake.asset(self.file, reference, column.placeholders[0])
            except Refusal as refusal:
                self.open_rows[row] = False
                self._refuse_one(self._label(row), refusal, self.rows.raw(row))
        return {"asset": pa.array(paths, pa.string()), "asset_sha256": pa.array(digests, pa.string())}

    def _observations(
        self,
        kept: NDArray[np.int64],
        column: Column,
        values: dict[str, pa.Array],
        subjects: NDArray[np.int64],
        times: Times | None,
        available: Times | None,
    ) -> Iterator[pa.RecordBatch]:
        has_value = _mask(pc.is_valid(next(iter(values.values()))))
        rows = kept[has_value[kept]]
        if not len(rows):
            return
        n, take = len(rows), pa.array(rows)
        arrays = {name: array.take(take) for name, array in values.items()}
        arrays["subject_id"] = pa.array(subjects[rows])
        arrays["code"] = pa.repeat(pa.scalar(column.code), n)
        if column.unit:
            arrays["unit"] = pa.repeat(pa.scalar(column.unit), n)
        if times is not None:
            arrays["time"] = times.starts.take(take)
            ends = pc.max_element_wise(times.ends, available.ends) if available else times.ends
            arrays["available_time"] = ends.take(take)
        arrays["source_file"] = pa.repeat(pa.scalar(self.file.source), n)
        arrays["source_record"] = pa.array([self._label(row) for row in rows.tolist()], pa.string())
        yield pa.RecordBatch.from_arrays(
            [arrays[f.name] if f.name in arrays else pa.nulls(n, f.type) for f in SCHEMA], schema=SCHEMA
        )

    def _label(self, row: int) -> str:
        return f"row {self.rows.numbers[row]}"

    def _refuse(self, mask: NDArray[np.bool_], name: str, expected: str, got: Callable[[int], str]) -> None:
        """Refuse the open rows of a mask."""
        for row in np.flatnonzero(mask & self.open_rows).tolist():
            self.open_rows[row] = False
            self._refuse_one(self._label(row), Refusal(name, expected, got(row)), self.rows.raw(row))

    def _refuse_one(self, label: str, refusal: Refusal, raw: str) -> None:
        self.refused.add(label)
        self.intake.report.refuse(FORMAT, refusal.complaint(self.file.name, label), raw)


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)
