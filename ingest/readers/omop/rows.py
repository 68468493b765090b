"""Rows of a CDM's tables as observations: codes, values and times by column, no object per row."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal, shown
from ingest.intake import ALREADY, Intake
from ingest.meaning.times import DATE_NOTE
from ingest.observations import DEATH_CODE, SCHEMA
from ingest.readers.omop.concepts import Concepts, named
from ingest.readers.omop.known import CHANGED, CONFLICT, KNOWN, TWICE, KnownRows, Reading, digests_of
from ingest.readers.omop.people import People
from ingest.readers.omop.source import Relation
from ingest.readers.omop.tables import Table
from ingest.readers.omop.times import Times, place_times

FORMAT = "OMOP"
MOST_NOTE_CHARACTERS = 16 * 1024 * 1024
CORRECTED = "row corrected since an earlier delivery: the new version replaces it"
# Visit concepts by the codes that FHIR's Encounter.class gives them (HL7 v3 ActCode), and places by FHIR's role types.
VISITS = {9201: "IMP", 262: "IMP", 8717: "IMP", 9202: "AMB", 9203: "EMER", 8870: "EMER", 581476: "HH", 5083: "VR"}
PLACES = {32037: "ICU", 581379: "ICU", 8870: "ER", 9203: "ER"}
COMPARATORS = {4171754: "<=", 4171755: ">=", 4171756: "<", 4172704: ">"}
# A code of letters and digits that nobody's name looks like: a digit in it, or short capitals, and no long number.
_CODE = r"^([A-Za-z0-9._:/+-]*[0-9][A-Za-z0-9._:/+-]*|[A-Z]{1,6}([._:/+-][A-Z]{1,6})*)$"
_LONG_NUMBER = r"[0-9]{6}|[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOST_CODE_CHARACTERS = 24


@dataclass
class Reader:
    """What all batches of one table share."""

    table: Table
    relation: Relation
    intake: Intake
    concepts: Concepts
    people: People
    known: KnownRows
    reading: Reading
    seen: int = 0
    refused: int = 0

    def label(self, number: int, reading: Reading | None = None) -> str:
        """How one row is called, in `source_record` and to people."""
        before, after = self.label_parts(reading or self.reading)
        return f"{before}{number}{after}"

    def label_parts(self, reading: Reading) -> tuple[str, str]:
        """What stands before and after a row's number in its label."""
        return f"{self.table.name} {'row ' if self.table.row_is_person else ''}", reading.suffix


@dataclass(frozen=True)
class Fact:
    """An observation that every row of a batch may give. codes: null where a row gives none."""

    codes: pa.Array
    times: Times
    values: dict[str, pa.Array] = field(default_factory=dict)


class Batch:
    """Some rows on their way to observations. `open_rows` are those neither refused nor skipped yet."""

    def __init__(self, reader: Reader, rows: pa.RecordBatch) -> None:
        self._reader, self._intake, self._table, self._rows = reader, reader.intake, reader.table, rows
        self.open_rows: NDArray[np.bool_] = np.ones(len(rows), np.bool_)
        self._keys = pc.fill_null(rows["id"], 0).to_numpy(zero_copy_only=False)
        # A key that is a person's number is not shown: the row's place in its file is.
        self._numbers = rows["n"].to_numpy(zero_copy_only=False) if self._table.row_is_person else self._keys

    def read(self) -> list[pa.RecordBatch]:
        """Everything that can refuse a row comes first; then what is left, and new, becomes observations."""
        report = self._intake.report
        self._reader.seen += len(self._rows)
        report.see(FORMAT, len(self._rows))
        self._refuse_problems()
        subjects = self._subjects()
        start, end = self._times("start"), self._times("end")
        self._check_times(start, end)
        codes = self._codes()
        facts = self._facts(codes, start, end)
        judged = self.open_rows.copy()
        self._compare(subjects, facts)
        if self._table.number:
            self._note_conversions(facts[0], judged)
        report.note(DATE_NOTE, int((start.is_date & self.open_rows).sum()))
        report.use(FORMAT, int(self.open_rows.sum()))
        return [batch for fact in facts if (batch := self._observations(subjects, fact)) is not None]

    def _refuse_problems(self) -> None:
        """What SQL found: cells that cannot be what their column holds."""
        problems = self._rows["problem"]
        for row in np.flatnonzero(_mask(pc.is_valid(problems))).tolist():
            name, _, expected = problems[row].as_py().partition("|")
            self._refuse_one(row, Refusal(name, expected, "something else, or nothing"))

    def _subjects(self) -> NDArray[np.int64]:
        persons = pc.fill_null(self._rows["person"], 0).to_numpy(zero_copy_only=False)
        subjects, unknown = self._reader.people.subjects(persons)
        self._refuse(
            unknown, lambda row: Refusal(
                "person_id", "a person of this delivery or an earlier one", "one that none has named",
                "deliver the table person too, and see whether that person was refused",
            )
        )  # fmt: skip
        return subjects

    def _times(self, which: str) -> Times:
        return place_times(self._rows[f"{which}_at"], self._rows[f"{which}_kind"], self._intake.zone)

    def _check_times(self, start: Times, end: Times) -> None:
        (clock, date), (end_clock, end_date) = self._table.start, self._table.end
        self._refuse(start.missing, lambda row: Refusal(date, "a date", "nothing"))
        self._check_zone(start, clock, self._rows["start_at"])
        self._check_zone(end, end_clock, self._rows["end_at"])
        self._refuse(
            ~end.missing & (end.ends < start.starts),
            lambda row: Refusal(end_date, "an end that is not before the start", "one that is"),
        )

    def _check_zone(self, times: Times, clock: str, cells: pa.Array) -> None:
        """Refuse clocks that no zone places, or that theirs does not place at one moment."""
        expected, hint = "a time with its zone, or --timezone", "give --timezone if the source's is known"
        self._refuse(times.homeless, lambda row: Refusal(clock, expected, shown(cells[row]), hint))
        once = f"a time that exists once in {self._intake.zone}, where the clocks change"
        self._refuse(
            times.lost, lambda row: Refusal(clock, once, shown(cells[row]), "have the source state the offset")
        )

    def _codes(self) -> pa.Array:
        """The code of each open row; a row without one is skipped."""
        make = {"visit": self._visits, "place": self._places, "note": self._note_codes, "death": self._deaths}
        codes = make.get(self._table.kind, self._event_codes)()
        self._skip(_mask(pc.is_null(codes)), f"{self._table.name} without a concept, or a code of its source")
        return codes

    def _event_codes(self) -> pa.Array:
        """The concept's code; of one that is not mapped (0), that of its source, else the source's own."""
        return pc.coalesce(self._coded("concept"), self._coded("source_concept"), self._source_codes())

    def _coded(self, name: str) -> pa.Array:
        return self._reader.concepts.coded(self._rows[name])

    def _source_codes(self) -> pa.Array:
        """OMOP_<TABLE>//<source value> where that looks like a code; free text might name somebody."""
        text = self._rows["source_value"]
        fits = pc.and_(
            pc.match_substring_regex(text, _CODE),
            pc.and_(
                pc.invert(pc.match_substring_regex(text, _LONG_NUMBER)),
                pc.less_equal(pc.utf8_length(text), _MOST_CODE_CHARACTERS),
            ),
        )
        text = pc.if_else(pc.fill_null(fits, fill_value=False), text, pa.scalar(None, pa.string()))
        return pc.binary_join_element_wise(f"OMOP_{self._table.name.upper()}", text, "//")

    def _visits(self) -> pa.Array:
        return self._named(VISITS, "ENCOUNTER")

    def _places(self) -> pa.Array:
        return self._named(PLACES, "LOCATION")

    def _named(self, known: dict[int, str], prefix: str) -> pa.Array:
        """<prefix>//<code>: of those concepts that other readers know by a name, else the concept's own code."""
        numbers = self._rows["concept"]
        places = pc.index_in(numbers, pa.array(list(known), pa.int64()))
        names = pa.array(list(known.values()), pa.string()).take(places)
        bare = pc.replace_substring_regex(self._reader.concepts.bare(numbers), r"[/\s]+", "_")
        code = pc.coalesce(names, bare, named("OMOP_", numbers))
        return pc.binary_join_element_wise(prefix, pc.fill_null(code, "UNKNOWN"), "//")

    def _note_codes(self) -> pa.Array:
        """The class of the note where it is a LOINC code, else NOTE//<class or type>, else NOTE."""
        kind = pc.coalesce(self._coded("concept"), self._coded("source_concept"))
        is_loinc = pc.fill_null(pc.starts_with(kind, "LOINC//"), fill_value=False)
        named = pc.binary_join_element_wise("NOTE", kind, "//")
        return pc.fill_null(pc.if_else(is_loinc, kind, named), "NOTE")

    def _deaths(self) -> pa.Array:
        return pa.repeat(pa.scalar(DEATH_CODE), len(self._rows))

    def _facts(self, codes: pa.Array, start: Times, end: Times) -> list[Fact]:
        kind = self._table.kind
        if kind == "visit":
            begins = pc.binary_join_element_wise(codes, "START", "//")
            ends = pc.binary_join_element_wise(codes, "END", "//")
            ends = pc.if_else(pa.array(end.missing), pa.scalar(None, pa.string()), ends)
            return [Fact(begins, start), Fact(ends, end)]
        if kind == "note":
            text = self._rows["text"]
            self._skip(_mask(pc.is_null(text)), "note without text")
            self._refuse(
                _mask(pc.fill_null(pc.greater(pc.utf8_length(text), MOST_NOTE_CHARACTERS), fill_value=False)),
                lambda row: Refusal("note_text", f"at most {MOST_NOTE_CHARACTERS:,} characters", "more"),
            )
            return [Fact(codes, start, {"text_value": text.cast(pa.large_string())})]
        return [Fact(codes, start, self._values(codes) if kind == "value" else {})]

    def _values(self, codes: pa.Array) -> dict[str, pa.Array]:
        """Number, text and unit. A number's text is its comparator, as of a FHIR Quantity."""
        number = self._rows["number"]
        has_number = pc.is_valid(number)
        comparators = pa.array(list(COMPARATORS.values()), pa.string()).take(
            pc.index_in(self._rows["operator"], pa.array(list(COMPARATORS), pa.int64()))
        )
        text = pc.if_else(has_number, comparators, pc.coalesce(self._coded("value_concept"), self._rows["text"]))
        if self._table.name == "measurement":
            self._skip(_mask(pc.and_(pc.invert(has_number), pc.is_null(text))), "measurement without a value")
        unit = pc.if_else(has_number, self._units(), pa.scalar(None, pa.string()))
        number, unit = self._judged(codes, number, unit)
        return {"numeric_value": number, "text_value": text.cast(pa.large_string()), "unit": unit}

    def _units(self) -> pa.Array:
        """UCUM by the unit's concept, else as the source wrote it, else OMOP//<number>, which no vocabulary knows."""
        numbers = self._rows["unit_concept"]
        return pc.coalesce(self._reader.concepts.units(numbers), self._rows["unit_source"], named("OMOP//", numbers))

    def _judged(self, codes: pa.Array, number: pa.Array, unit: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Numbers and units as the vocabulary keeps them; what cannot be right is refused."""
        values = pc.fill_null(number, float("nan")).to_numpy(zero_copy_only=False)
        values = np.where(self.open_rows, values, np.nan)
        verdict = self._intake.vocabulary.judge(codes, values, unit)
        for row, (name, expected, got, hint) in verdict.problems.items():
            if self.open_rows[row]:
                column = {"value": self._table.number, "unit": self._table.unit_concept}.get(name, name)
                self._refuse_one(row, Refusal(column, expected, got, hint))
        found = pa.array(verdict.values, pa.float64(), from_pandas=True)  # NaN is no number
        return found.cast(pa.float32()), verdict.units.cast(pa.string())

    def _note_conversions(self, fact: Fact, judged: NDArray[np.bool_]) -> None:
        """Tell what the vocabulary converted, of the rows that are used."""
        if not self.open_rows.any() or not self._intake.vocabulary.quantities:
            return
        used = pa.array(np.flatnonzero(self.open_rows & judged))
        number = pc.fill_null(self._rows["number"].take(used), float("nan")).to_numpy(zero_copy_only=False)
        units = self._units().take(used)
        for note, count in self._intake.vocabulary.judge(fact.codes.take(used), number, units).notes.items():
            self._intake.report.note(note, count)

    def _compare(self, subjects: NDArray[np.int64], facts: list[Fact]) -> None:
        """Skip what was ingested before or stands here twice; take back what has changed."""
        rows = np.flatnonzero(self.open_rows)
        if not len(rows):
            return
        take = pa.array(rows)
        columns = [pa.array(subjects[rows])]
        for fact in facts:
            columns += [fact.codes.take(take), pa.array(fact.times.starts[rows]), pa.array(fact.times.ends[rows])]
            columns += [array.take(take) for array in fact.values.values()]
        verdict, retired = self._reader.known.compare(
            self._table.name, self._keys[rows], digests_of(columns), self._numbers[rows], self._reader.reading
        )
        whole = np.zeros(len(self._rows), np.int8)
        whole[rows] = verdict
        self._skip(whole == KNOWN, ALREADY)
        self._skip(whole == TWICE, "duplicate")
        key = self._table.key
        self._refuse(
            whole == CONFLICT,
            lambda row: Refusal(key, "a number of its own", f"that of another {self._table.name} of this delivery"),
        )
        for reading, number in retired:
            label = self._reader.label(number, reading)
            self._intake.retire(reading.source, label, "corrected in a later delivery")
        self._intake.report.note(CORRECTED, int((whole == CHANGED).sum()))

    def _observations(self, subjects: NDArray[np.int64], fact: Fact) -> pa.RecordBatch | None:
        rows = np.flatnonzero(self.open_rows & _mask(pc.is_valid(fact.codes)))
        if not len(rows):
            return None
        n, take = len(rows), pa.array(rows)
        arrays = {name: array.take(take) for name, array in fact.values.items()}
        arrays["subject_id"] = pa.array(subjects[rows])
        arrays["code"] = fact.codes.take(take)
        arrays["time"] = pa.array(fact.times.starts[rows])
        arrays["available_time"] = pa.array(fact.times.ends[rows])
        arrays["source_file"] = pa.repeat(pa.scalar(self._reader.relation.file.source), n)
        arrays["source_record"] = self._labels(rows)
        return pa.RecordBatch.from_arrays(
            [arrays[f.name] if f.name in arrays else pa.nulls(n, f.type) for f in SCHEMA], schema=SCHEMA
        )

    def _labels(self, rows: NDArray[np.int64]) -> pa.Array:
        before, after = self._reader.label_parts(self._reader.reading)
        return pc.binary_join_element_wise(before, pa.array(self._numbers[rows]).cast(pa.string()), after, "")

    def _skip(self, mask: NDArray[np.bool_], reason: str) -> None:
        out = mask & self.open_rows
        self._intake.report.skip(FORMAT, reason, int(out.sum()))
        self.open_rows &= ~out

    def _refuse(self, mask: NDArray[np.bool_], why: Callable[[int], Refusal]) -> None:
        """Refuse the open rows of a mask."""
        for row in np.flatnonzero(mask & self.open_rows).tolist():
            self._refuse_one(row, why(row))

    def _refuse_one(self, row: int, refusal: Refusal) -> None:
        self.open_rows[row] = False
        self._reader.refused += 1
        known = self._table.row_is_person or self._rows["id"][row].is_valid
        label = self._reader.label(int(self._numbers[row])) if known else f"{self._table.name} without a number"
        self._intake.report.refuse(FORMAT, refusal.complaint(self._reader.relation.file.name, label), self._raw(row))

    def _raw(self, row: int) -> str:
        """The row as JSON, for quarantine: as it stood where a cell was wrong, else as it was understood."""
        if (raw := self._rows["raw"][row].as_py()) is not None:
            return str(raw)
        values = {name: self._rows[name][row].as_py() for name in self._rows.schema.names}
        return orjson.dumps({name: value for name, value in values.items() if value is not None}).decode()


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)
