"""Some rows of a table on their way to observations: first everything that can refuse a row, then what is left."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal, shown
from ingest.delivery.sources import SourceFile
from ingest.mapping.mapping import Column, Time
from ingest.mapping.table import CodeCell, UnitCell
from ingest.meaning.clocks import HOUR_US
from ingest.meaning.times import DATE_NOTE
from ingest.meaning.vocabulary import EMPTY, Judged
from ingest.observations import SCHEMA
from ingest.readers.table.cells import Coded, as_text, coded
from ingest.readers.table.reading import Reading
from ingest.readers.table.rows import Broken, Rows, row_labels
from ingest.readers.table.times import Times, read_times
from ingest.readers.table.values import Codes, Labels, Mask, Values, read_values

FORMAT = "table"


class Batch:
    """Rows being read. `open_rows` are those neither refused nor skipped yet; after `read`, those that were used."""

    def __init__(self, reading: Reading, rows: Rows) -> None:
        self.reading, self.part, self.intake, self.rows = reading, reading.part, reading.intake, rows
        self.open_rows: Mask = np.ones(len(rows), np.bool_)
        self.refused_rows: Mask = np.zeros(len(rows), np.bool_)
        self.refused: list[tuple[int, str]] = []  # (place in rows.files, label)
        self._texts: dict[str, Coded] = {}
        self._times: dict[Time, Times] = {}
        self._moments_of: dict[tuple[Time, Time | None], tuple[pa.Array, pa.Array]] = {}

    def read(self) -> list[pa.RecordBatch]:
        """The observations of all rows that are sound."""
        for broken in self.rows.broken:
            self._refuse_broken(broken)
        self._filter()
        subjects = self._subjects()
        self._check_times(self.part.time, self.part.available_time, self.open_rows.copy())
        values = [
            self._values(column, codes, subjects)
            for column, codes in zip(self.part.columns, self.reading.codes, strict=True)
        ]
        self._skip_unnamed(values)
        judged = [self._judged(each) for each in values]
        self.intake.report.use(FORMAT, int(self.open_rows.sum()))
        return [batch for each in judged if (batch := self._observations(each, subjects)) is not None]

    def label(self, row: int) -> str:
        return f"row {self.rows.numbers[row]}"

    def source(self, row: int) -> SourceFile:
        return self.rows.files[int(self.rows.file[row])]

    def _text(self, column: str) -> Coded:
        if column not in self._texts:
            self._texts[column] = coded(self.rows[column])
        return self._texts[column]

    def _filter(self) -> None:
        for name, allowed in self.part.where.items():
            fits = self._text(name).among(allowed)
            out = self.open_rows & ~fits
            self.intake.report.skip(FORMAT, f"{name} is not {' or '.join(allowed)}", int(out.sum()))
            self.open_rows &= fits

    def _subjects(self) -> NDArray[np.int64]:
        """Subject numbers, one look-up per distinct identifier."""
        spec = self.part.subject
        if spec.column is not None:
            cells = self._text(spec.column)
            texts, index, field_name, expected = cells.texts, cells.index, spec.column, "an identifier"
        else:
            texts, index = [_identifier(file, str(spec.name)) for file in self.rows.files], self.rows.file
            field_name, expected = "file name", f"a name that matches {spec.name}"
        numbers = np.array([self.reading.subject(text) for text in texts] or [-1], np.int64)
        subjects = numbers[index]
        self._refuse(subjects < 0, field_name, expected, lambda _: "nothing" if spec.column else "another")
        return subjects

    def _read_times(self, spec: Time) -> Times:
        if spec not in self._times:
            self._times[spec] = read_times(self.rows.cells, len(self.rows), spec, self.intake.zone)
        return self._times[spec]

    def _check_times(self, time: Time | None, available: Time | None, rows: Mask) -> None:
        """Refuse or skip the rows whose times are missing or wrong, and those whose clocks disagree too much."""
        for spec in (time, available):
            if spec is None:
                continue
            times, name = self._read_times(spec), spec.column or "time"
            if spec.missing == "skip":
                out = self.open_rows & times.missing & rows
                self.intake.report.skip(FORMAT, f"{name} is missing", int(out.sum()))
                self.open_rows &= ~out
            elif spec.missing == "refuse":
                self._refuse(times.missing & rows, name, "a time", lambda _: "nothing")
            for wrong, expected in times.problems:
                self._refuse(wrong & rows, name, expected, partial(self._shown, name))
            self.intake.report.note(DATE_NOTE, int((times.is_date & self.open_rows & rows).sum()))
        if time is not None and available is not None:
            self._check_clocks(self._read_times(time), self._read_times(available), str(available.column), rows)

    def _check_clocks(self, time: Times, available: Times, name: str, rows: Mask) -> None:
        """Nothing is known before it happens: small leads are told of, large ones refused. (FAULTS 11)"""
        timed = rows & self.open_rows & ~np.isnat(time.starts) & ~np.isnat(available.ends)
        at = np.flatnonzero(timed & (time.starts > available.ends))
        if not len(at):
            return
        watch = self.reading.clock(name)
        starts, ends = time.starts[at].astype(np.int64), available.ends[at].astype(np.int64)
        for place in np.flatnonzero(watch.add(starts, ends)).tolist():
            self._refuse_row(int(at[place]), watch.refusal(float(starts[place] - ends[place]) / HOUR_US))

    def _values(self, column: Column, codes: Codes | None, subjects: NDArray[np.int64]) -> Values:
        if column.asset is not None:
            values = self._assets(column, subjects)
        else:
            looked_up = [*column.where, *([codes.cell.column] if codes else [])]
            looked_up += [column.unit.column] if isinstance(column.unit, UnitCell) else []
            texts = {name: self._text(name) for name in looked_up}
            values = read_values(column, codes, self.rows, texts, self.part.decimal)
        if column.time is not None or column.available_time is not None:
            values = self._timed(values)
        if values.wrong is not None:
            name = str(column.column)
            if column.unparseable == "null":
                count = int((values.wrong & self.open_rows).sum())
                self.intake.report.note(f"{name}: cell that is not a number, taken as missing", count)
            else:
                self._refuse(values.wrong, name, "a number", partial(self._shown, name))
        return values

    def _timed(self, values: Values) -> Values:
        """Judge the column's own times, of the rows in which it has a value; `skip` leaves out the value alone."""
        column, present = values.column, values.present
        for spec in (column.time, column.available_time):
            if spec is not None and spec.missing == "skip":
                present = present & ~self._read_times(spec).missing
        time, available = self._when(column)
        self._check_times(time, available, present & self.open_rows)
        return replace(values, present=present)

    def _when(self, column: Column) -> tuple[Time | None, Time | None]:
        time = column.time or self.part.time
        own = column.available_time
        return time, own if own or column.time else self.part.available_time

    def _assets(self, column: Column, subjects: NDArray[np.int64]) -> Values:
        n = len(self.rows)
        paths: list[str | None] = [None] * n
        digests: list[str | None] = [None] * n
        applies = np.ones(n, np.bool_)
        for name, allowed in column.where.items():
            applies &= self._text(name).among(allowed)
        cells = {name: as_text(self.rows[name]).to_pylist() for name in column.placeholders}
        empty = {"", *column.null}
        for row in np.flatnonzero(self.open_rows & applies).tolist():
            parts = {name: cells[name][row] for name in cells}
            if empty & set(parts.values()):
                continue
            try:
                reference = str(column.asset).format_map(parts)
                paths[row], digests[row] = self.intake.asset(
                    self.source(row), reference, column.placeholders[0], int(subjects[row]), self.part.subject.issuer
                )
            except Refusal as refusal:
                self._refuse_row(row, refusal)
        present = np.array([path is not None for path in paths], np.bool_)
        assets = (pa.array(paths, pa.string()), pa.array(digests, pa.string()))
        return Values(column, Labels((str(column.code),)), applies, present, assets=assets)

    def _skip_unnamed(self, values: list[Values]) -> None:
        """Rows that no column of the mapping is about."""
        if not all(each.column.where or isinstance(each.column.code, CodeCell) for each in values):
            return
        wanted = np.logical_or.reduce([each.applies for each in values])
        out = self.open_rows & ~wanted
        names = dict.fromkeys(name for each in values for name in (*each.column.where, *_code_column(each.column)))
        self.intake.report.skip(FORMAT, f"{' or '.join(names)} that the mapping does not name", int(out.sum()))
        self.open_rows &= wanted

    def _judged(self, values: Values) -> Values:
        """Numbers as the vocabulary has them: converted, or the row refused."""
        if values.numbers is None or self.intake.vocabulary is EMPTY:
            return values
        rows = np.flatnonzero(values.present & self.open_rows)
        if not len(rows):
            return values
        units = self._labels(values.units, rows) if values.units else self.reading.constant(None, len(rows))
        judged = self.intake.vocabulary.judge(self._labels(values.codes, rows), values.numbers[rows], units)
        for note, count in judged.notes.items():
            self.intake.report.note(note, count)
        present = values.present
        if judged.problems:
            present = present.copy()
            present[rows[list(judged.problems)]] = False
            self._refuse_judged(values.column, rows, judged)
        if judged.units is units:
            return replace(values, present=present)
        numbers = values.numbers.copy()
        numbers[rows] = judged.values
        told = judged.units.dictionary_encode() if not pa.types.is_dictionary(judged.units.type) else judged.units
        index = np.zeros(len(self.rows), np.int64)
        index[rows] = pc.fill_null(told.indices, len(told.dictionary)).to_numpy(zero_copy_only=False)
        named = Labels((*told.dictionary.to_pylist(), None), index)
        return replace(values, present=present, numbers=numbers, units=named)

    def _refuse_judged(self, column: Column, rows: NDArray[np.int64], judged: Judged) -> None:
        if column.implausible == "null":
            note = f"{column.column}: value that cannot be right, taken as missing"
            self.intake.report.note(note, len(judged.problems))
            return
        for place, (_, expected, got, hint) in judged.problems.items():
            self._refuse_row(int(rows[place]), Refusal(str(column.column), expected, got, hint))

    def _observations(self, values: Values, subjects: NDArray[np.int64]) -> pa.RecordBatch | None:
        used = self.open_rows & values.present
        n = int(np.count_nonzero(used))
        if not n:
            return None
        rows = None if n == len(used) else np.flatnonzero(used)
        taken = None if rows is None else pa.array(rows)
        arrays: dict[str, pa.Array] = {
            "subject_id": pa.array(_at(subjects, rows)),
            "code": self._labels(values.codes, rows),
            "source_file": self._labels(self._files, rows),
            "source_record": self._records if taken is None else self._records.take(taken),
        }
        if values.numbers is not None:
            arrays["numeric_value"] = pa.array(_at(values.numbers, rows).astype(np.float32))
            if values.units is not None:
                arrays["unit"] = self._labels(values.units, rows)
        elif values.texts is not None:
            arrays["text_value"] = (values.texts if taken is None else values.texts.take(taken)).cast(pa.large_string())
        elif values.assets is not None:
            path, digest = (each if taken is None else each.take(taken) for each in values.assets)
            arrays["asset"], arrays["asset_sha256"] = path, digest
            self.intake.assets.update(zip(map(Path, path.to_pylist()), digest.to_pylist(), strict=True))
        time, available = self._when(values.column)
        if time is not None:
            arrays["time"], arrays["available_time"] = self._moments(time, available, rows)
        return pa.RecordBatch.from_arrays(
            [arrays[f.name] if f.name in arrays else self.reading.nothing(f, n) for f in SCHEMA], schema=SCHEMA
        )

    def _moments(self, time: Time, available: Time | None, rows: NDArray[np.int64] | None) -> tuple[pa.Array, pa.Array]:
        """When, and when it was known: of all rows made once, since every column shares them."""
        if (time, available) not in self._moments_of:
            at = self._read_times(time)
            ends = at.ends if available is None else np.fmax(at.ends, self._read_times(available).ends)
            start = pa.array(at.starts)
            self._moments_of[time, available] = (start, start if ends is at.starts else pa.array(ends))
        starts, known = self._moments_of[time, available]
        if rows is None:
            return starts, known
        first = starts.take(pa.array(rows))
        return first, first if known is starts else known.take(pa.array(rows))

    def _labels(self, labels: Labels, rows: NDArray[np.int64] | None) -> pa.Array:
        if labels.index is None:
            return self.reading.constant(labels.texts[0], len(self.rows) if rows is None else len(rows))
        return labels.take(rows)

    @cached_property
    def _files(self) -> Labels:
        sources = tuple(file.source for file in self.rows.files)
        return Labels(sources, self.rows.file if len(sources) > 1 else None)

    @cached_property
    def _records(self) -> pa.Array:
        return row_labels(self.rows.numbers)

    def _shown(self, name: str, row: int) -> str:
        return shown(self.rows[name][row].as_py()) if name in self.rows.cells else "another"

    def _refuse(self, mask: Mask, name: str, expected: str, got: Callable[[int], str], hint: str = "") -> None:
        """Refuse the open rows of a mask."""
        for row in np.flatnonzero(mask & self.open_rows).tolist():
            self._refuse_row(row, Refusal(name, expected, got(row), hint))

    def _refuse_row(self, row: int, refusal: Refusal) -> None:
        if not self.open_rows[row]:
            return
        self.open_rows[row], self.refused_rows[row] = False, True
        self._report(int(self.rows.file[row]), self.label(row), refusal, self.rows.raw(row))

    def _refuse_broken(self, broken: Broken) -> None:
        refusal = Refusal("", broken.expected, broken.got)
        self._report(broken.file, f"row {broken.number}", refusal, broken.raw)

    def _report(self, file: int, label: str, refusal: Refusal, raw: str) -> None:
        self.refused.append((file, label))
        self.intake.report.refuse(FORMAT, refusal.complaint(self.rows.files[file].name, label), raw)


def _identifier(file: SourceFile, pattern: str) -> str:
    """What a file's name says of its subject; empty where it does not match."""
    stem = file.path.name.split(".")[0]
    found = re.fullmatch(pattern, stem)
    return "" if found is None else found[min(found.re.groups, 1)] or ""


def _code_column(column: Column) -> tuple[str, ...]:
    return (column.code.column,) if isinstance(column.code, CodeCell) else ()


def _at(values: NDArray[np.generic], rows: NDArray[np.int64] | None) -> NDArray[np.generic]:
    return values if rows is None else values[rows]
