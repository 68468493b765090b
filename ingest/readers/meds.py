"""MEDS 0.4 datasets as they are: any Parquet file that has MEDS' columns, wherever it lies, batch by batch.

SOURCE: Medical Event Data Standard 0.4, https://github.com/Medical-Event-Data-Standard/meds
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.errors import Complaint
from ingest.intake import ALREADY, Intake
from ingest.mapping.mapping import TableMapping
from ingest.meaning.clocks import HOUR_US, ClockWatch
from ingest.meaning.vocabulary import EMPTY
from ingest.observations import SCHEMA
from ingest.readers.table.cells import LARGEST_FLOAT32, mask

FORMAT = "MEDS"
ISSUER_SUFFIX = "#meds"  # numbers of a MEDS dataset are its own: they never meet another source's
METADATA = ("metadata/codes.parquet", "metadata/dataset.json", "metadata/subject_splits.parquet")
_BATCH_ROWS = 65_536
_REMEMBERED = 200_000
_UNIT, _AVAILABLE = "unit", "available_time"  # not MEDS' own, but ours, and met elsewhere too


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file has the columns of MEDS, or is a MEDS dataset's metadata; a file of the mapping is a table."""
    if mapping is not None and mapping.table(file) is not None:
        return False
    return _is_metadata(file) or _is_data(file)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Observations with the dataset's codes. A subject is (issuer#meds, its number)."""
    for file in files:
        if _is_metadata(file):
            intake.report.see(FORMAT)
            intake.report.skip(FORMAT, "metadata of a MEDS dataset: splits and descriptions of codes are not read")
        else:
            yield from _File(file, intake).read()


def _is_metadata(file: SourceFile) -> bool:
    return file.path.as_posix().endswith(METADATA) and (file.path.parent.parent / "data").is_dir()


def _is_data(file: SourceFile) -> bool:
    if file.head[:4] != b"PAR1":
        return False
    try:
        return set(pq.read_schema(file.path).names) >= {"subject_id", "time", "code"}
    except (pa.ArrowException, OSError):
        return False


def _check_types(schema: pa.Schema) -> None:
    """Refuse a file whose columns are not of the types that MEDS gives them, or of ones that become these unchanged."""
    for name in schema.names:
        if name not in _TYPES:
            continue
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        fits, expected = _TYPES[name]
        if not fits(plain):
            hint = "write it as MEDS 0.4 has it, or describe the table in a mapping"
            raise Refusal(name, f"a column of {expected}", str(kind), hint)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _is_number(kind: pa.DataType) -> bool:
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return bool(is_number or pa.types.is_null(kind))


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind))


_TYPES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "subject_id": (lambda kind: pa.types.is_integer(kind) and kind != pa.uint64(), "whole numbers (int64)"),
    "time": (lambda kind: pa.types.is_timestamp(kind) or pa.types.is_null(kind), "timestamps"),
    "code": (_is_text, "texts"),
    "numeric_value": (_is_number, "numbers"),
    "text_value": (_is_text, "texts"),
    _UNIT: (_is_text, "texts"),
    _AVAILABLE: (_is_moment, "timestamps or dates"),
}


class _File:
    """One data file being read. Times without a zone are UTC, as MEDS has them."""

    def __init__(self, file: SourceFile, intake: Intake) -> None:
        self.file, self.intake = file, intake
        self.subjects: dict[int, int] = {}
        self.refused: set[str] = set()
        self.clock = ClockWatch()

    def read(self) -> Iterator[pa.RecordBatch]:
        report, ledger = self.intake.report, self.intake.ledger
        opened = pq.ParquetFile(self.file.path)
        try:
            _check_types(opened.schema_arrow)
        except Refusal as refusal:
            report.see(FORMAT)
            report.refuse(FORMAT, refusal.complaint(self.file.name, "file"), self.file.path)
            return
        records = opened.metadata.num_rows
        if ledger.current_file(self.file.sha256) is not None:
            report.see(FORMAT, records)
            report.skip(FORMAT, "duplicate file", records)
            return
        known = ledger.file(self.file.sha256)
        if known is not None and not known.refused:
            report.see(FORMAT, records)
            report.skip(FORMAT, ALREADY, records)
            ledger.enter_file(self.file.sha256, FORMAT, records)
            return
        size, first = self.file.path.stat().st_size, 1
        for batch in self._batches(opened):
            report.see(FORMAT, len(batch))
            wanted = np.ones(len(batch), np.bool_)
            if known is not None:
                wanted = np.array([f"row {n}" in known.refused for n in range(first, first + len(batch))], np.bool_)
                report.skip(FORMAT, ALREADY, int((~wanted).sum()))
            yield self._observations(batch, first, wanted)
            first += len(batch)
            self.intake.advance(self.file, size * (first - 1) // max(records, 1))
        for note, count in self.clock.notes().items():
            report.note(note, count)
        ledger.enter_file(self.file.sha256, FORMAT, first - 1, frozenset(self.refused))

    def _batches(self, opened: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        names = opened.schema_arrow.names
        known = [name for name in ("subject_id", "time", "code", "numeric_value", "text_value") if name in names]
        ours = [name for name in (_UNIT, _AVAILABLE) if name in names]
        for name in sorted(set(names) - {*known, *ours, "asset_sha256", "source_file", "source_record"}):
            self.intake.report.note(f"column of a MEDS dataset that is not read: {name}")
        try:
            yield from opened.iter_batches(_BATCH_ROWS, columns=[*known, *ours])
        except (pa.ArrowException, OSError) as error:
            got = f"pages that cannot be read ({type(error).__name__})"
            self.intake.report.see(FORMAT)
            complaint = Complaint(self.file.name, "", "", "the rest of the file", got)
            self.intake.report.refuse(FORMAT, complaint, self.file.path)
            self.refused.add("rest")

    def _observations(self, batch: pa.RecordBatch, first: int, open_rows: NDArray[np.bool_]) -> pa.RecordBatch:
        n = len(batch)
        columns = {name: _plain(batch.column(name)) for name in batch.schema.names}
        no_one = mask(pc.is_null(columns["subject_id"]))
        self._refuse(open_rows & no_one, first, Refusal("subject_id", "a number", "nothing"))
        no_code = mask(pc.equal(pc.fill_null(columns["code"], ""), ""))
        self._refuse(open_rows & ~no_one & no_code, first, Refusal("code", "a code", "nothing"))
        open_rows = open_rows & ~no_one & ~no_code
        time, known = self._times(columns, first, open_rows)
        values, units = self._values(columns, first, open_rows)
        self.intake.report.use(FORMAT, int(open_rows.sum()))
        text = columns.get("text_value")
        arrays = {
            "subject_id": pa.array(self._subjects(columns["subject_id"])),
            "time": time,
            "code": columns["code"].cast(pa.string()),
            "numeric_value": pa.array(values.astype(np.float32), mask=np.isnan(values)),
            "text_value": text.cast(pa.large_string()) if text is not None else pa.nulls(n, pa.large_string()),
            "unit": units,
            "available_time": pc.max_element_wise(time, known),
            "source_file": pa.repeat(pa.scalar(self.file.source), n),
            "source_record": pa.array([f"row {number}" for number in range(first, first + n)]),
        }
        whole = [arrays[f.name] if f.name in arrays else pa.nulls(n, f.type) for f in SCHEMA]
        kept = pa.RecordBatch.from_arrays(whole, names=SCHEMA.names).filter(pa.array(open_rows))
        return pa.RecordBatch.from_arrays(kept.columns, schema=SCHEMA)

    def _times(
        self, columns: dict[str, pa.Array], first: int, open_rows: NDArray[np.bool_]
    ) -> tuple[pa.Array, pa.Array]:
        """(when, when it was stated to be known); rows that were known long before they were measured are closed."""
        moment = pa.timestamp("us")
        time = columns["time"].cast(moment, safe=False)
        if _AVAILABLE not in columns:
            return time, time
        known = columns[_AVAILABLE].cast(moment, safe=False)
        if pa.types.is_date(columns[_AVAILABLE].type):  # a day is known at its end
            known = pc.add(known, pa.scalar(86_400_000_000, pa.duration("us")))
        early = open_rows & mask(pc.less(known, time))
        at = np.flatnonzero(early)
        ahead, behind = (each.take(pa.array(at)).cast(pa.int64()).to_numpy() for each in (time, known))
        for place in np.flatnonzero(self.clock.add(ahead, behind)).tolist():
            row = np.zeros(len(open_rows), np.bool_)
            row[at[place]] = True
            self._refuse(row, first, self.clock.refusal(float(ahead[place] - behind[place]) / HOUR_US))
            open_rows[at[place]] = False
        return time, known

    def _values(
        self, columns: dict[str, pa.Array], first: int, open_rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], pa.Array]:
        """(numbers, NaN where there is none, units), as the vocabulary has them; what it refuses is closed."""
        n = len(open_rows)
        stated = columns.get(_UNIT)
        units = stated.cast(pa.string()) if stated is not None else pa.nulls(n, pa.string())
        if "numeric_value" not in columns:
            return np.full(n, np.nan), units
        values = columns["numeric_value"].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).copy()
        endless = open_rows & (np.abs(values) > LARGEST_FLOAT32)
        self._refuse(endless, first, Refusal("numeric_value", "a finite number", "an infinite one"))
        open_rows &= ~endless
        rows = np.flatnonzero(open_rows & ~np.isnan(values))
        if self.intake.vocabulary is EMPTY or not len(rows):
            return values, units
        take = pa.array(rows)
        judged = self.intake.vocabulary.judge(
            columns["code"].cast(pa.string()).take(take), values[rows], units.take(take)
        )
        for note, count in judged.notes.items():
            self.intake.report.note(note, count)
        for place, (name, expected, got, hint) in judged.problems.items():
            row = np.zeros(n, np.bool_)
            row[rows[place]] = True
            self._refuse(row, first, Refusal(name, expected, got, hint))
            open_rows[rows[place]] = False
        values[rows] = judged.values
        numbered = np.zeros(n, np.bool_)
        numbered[rows] = True
        return values, pc.replace_with_mask(units, pa.array(numbered), judged.units.cast(pa.string()))

    def _subjects(self, numbers: pa.Array) -> NDArray[np.int64]:
        """Each number's subject, one keyed hash per distinct one."""
        coded = pc.fill_null(numbers.cast(pa.int64()), 0).dictionary_encode()
        if len(self.subjects) > _REMEMBERED:
            self.subjects.clear()
        issuer = self.intake.issuer + ISSUER_SUFFIX
        for number in coded.dictionary.to_pylist():
            if number not in self.subjects:
                self.subjects[number] = self.intake.identity.stated_subject(issuer, str(number))
        found = np.array([self.subjects[number] for number in coded.dictionary.to_pylist()], np.int64)
        return found[coded.indices.to_numpy()] if len(found) else found

    def _refuse(self, rows: NDArray[np.bool_], first: int, refusal: Refusal) -> None:
        for row in np.flatnonzero(rows).tolist():
            label = f"row {first + row}"
            self.refused.add(label)
            self.intake.report.refuse(FORMAT, refusal.complaint(self.file.name, label), None)


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
