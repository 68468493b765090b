"""The tables of the OMOP common data model, and the SQL that reads each into the same few columns.

Every value is cast where it stands, in SQL; what cannot be cast makes a row's `problem` (field|expected), not an error.
SOURCE: OMOP CDM 5.4, https://ohdsi.github.io/CommonDataModel/cdm54.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass

MISSING, DATE, WALL, ZONED = range(4)  # what a time is: none, a date alone, a clock without a zone, a clock with one


@dataclass(frozen=True)
class Table:
    """Where a table keeps what an observation needs; "" where it has no such column. `kind` says how codes are made.

    start, end: (datetime column, date column). `row_is_person`: the key is the person's number, so it is not shown.
    """

    name: str
    key: str
    kind: str  # event, value, visit, place, note, death
    start: tuple[str, str]
    concept: str = ""
    source_concept: str = ""
    source_value: str = ""
    end: tuple[str, str] = ("", "")
    number: str = ""
    value_concept: str = ""
    operator: str = ""
    texts: tuple[str, ...] = ()  # the first that is there
    unit_concept: str = ""
    unit_source: str = ""
    row_is_person: bool = False

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which the table cannot be read; of a time, the date is required by the CDM."""
        return tuple(dict.fromkeys(name for name in (self.key, "person_id", self.concept, self.start[1]) if name))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, where they are there."""
        names = (
            *self.required, self.source_concept, self.source_value, *self.start, *self.end, self.number,
            self.value_concept, self.operator, *self.texts, self.unit_concept, self.unit_source,
        )  # fmt: skip
        return tuple(dict.fromkeys(name for name in names if name))


def _event(name: str, stem: str, start: str, key: str = "") -> Table:
    """A table whose rows are a concept at a time; its columns are named after a stem."""
    return Table(
        name, key or f"{name}_id", "event", (f"{start}_datetime", f"{start}_date"), f"{stem}_concept_id",
        f"{stem}_source_concept_id", f"{stem}_source_value",
    )  # fmt: skip


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "death", "person_id", "death", ("death_datetime", "death_date"), row_is_person=True,
        ),
        Table(
            "visit_occurrence", "visit_occurrence_id", "visit", ("visit_start_datetime", "visit_start_date"),
            "visit_concept_id", "visit_source_concept_id", "visit_source_value",
            ("visit_end_datetime", "visit_end_date"),
        ),
        Table(
            "visit_detail", "visit_detail_id", "place", ("visit_detail_start_datetime", "visit_detail_start_date"),
            "visit_detail_concept_id", "visit_detail_source_concept_id", "visit_detail_source_value",
        ),
        _event("condition_occurrence", "condition", "condition_start"),
        _event("drug_exposure", "drug", "drug_exposure_start"),
        _event("procedure_occurrence", "procedure", "procedure"),
        _event("device_exposure", "device", "device_exposure_start"),
        Table(
            "measurement", "measurement_id", "value", ("measurement_datetime", "measurement_date"),
            "measurement_concept_id", "measurement_source_concept_id", "measurement_source_value",
            number="value_as_number", value_concept="value_as_concept_id", operator="operator_concept_id",
            texts=("value_source_value",), unit_concept="unit_concept_id", unit_source="unit_source_value",
        ),
        Table(
            "observation", "observation_id", "value", ("observation_datetime", "observation_date"),
            "observation_concept_id", "observation_source_concept_id", "observation_source_value",
            number="value_as_number", value_concept="value_as_concept_id",
            texts=("value_as_string", "value_source_value"), unit_concept="unit_concept_id",
            unit_source="unit_source_value",
        ),
        Table(
            "note", "note_id", "note", ("note_datetime", "note_date"), "note_class_concept_id",
            source_concept="note_type_concept_id", texts=("note_text",),
        ),
    )
}  # fmt: skip
PERSON = "person"
CONCEPT = "concept"
PERSON_COLUMNS = (
    "person_id", "gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth", "birth_datetime",
    "race_concept_id", "race_source_value", "ethnicity_concept_id", "person_source_value",
)  # fmt: skip
CONCEPT_COLUMNS = ("concept_id", "vocabulary_id", "concept_code")
_CLOCK = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
_OFFSET = r"\s?(Z|[+-]\d{2}(:?\d{2})?)$"


def select(table: Table, types: Mapping[str, str]) -> str:
    """The columns of `omop_rows.Batch` from the relation `source`, by key; `types` are its columns', in lower case."""
    sql = _Sql(types)
    key = sql.integer(table.key, required=True)
    person = sql.integer("person_id", required=True)
    columns = {
        "id": key,
        "person": person,
        "concept": sql.integer(table.concept),
        "source_concept": sql.integer(table.source_concept),
        "source_value": sql.text(table.source_value),
        **sql.time("start", *table.start),
        **sql.time("end", *table.end),
        "number": sql.number(table.number),
        "value_concept": sql.integer(table.value_concept),
        "operator": sql.integer(table.operator),
        "text": sql.first_text(table.texts),
        "unit_concept": sql.integer(table.unit_concept),
        "unit_source": sql.text(table.unit_source),
    }
    return sql.query(columns, "id")


def select_people(types: Mapping[str, str]) -> str:
    """The columns of the table person, and whether its source value is that of one person only."""
    sql = _Sql(types)
    columns = {
        "id": sql.integer("person_id", required=True),
        "gender": sql.integer("gender_concept_id"),
        "year": sql.integer("year_of_birth"),
        "month": sql.integer("month_of_birth"),
        "day": sql.integer("day_of_birth"),
        **sql.time("birth", "birth_datetime", ""),
        "race": sql.integer("race_concept_id"),
        "race_source": sql.text("race_source_value"),
        "ethnicity": sql.integer("ethnicity_concept_id"),
        "identifier": sql.text("person_source_value"),
        "identifier_is_own": f"count(*) OVER (PARTITION BY {sql.text('person_source_value')}) = 1",
    }
    return sql.query(columns, "id")


class _Sql:
    """Expressions over a relation whose columns have known types; what may fail is collected as problems.

    They are computed in stages, each once: texts, values of texts, values that are within bounds, and the answer.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._stages: tuple[dict[str, str], ...] = ({}, {}, {})
        self._problems: list[tuple[str, str, str]] = []  # (condition, field, expected)

    def query(self, columns: Mapping[str, str], order: str) -> str:
        """The whole query. `raw` is the row as JSON where it has a problem."""
        cases = " ".join(f"WHEN {condition} THEN '{name}|{expected}'" for condition, name, expected in self._problems)
        problem = f"CASE {cases} END" if cases else "NULL::VARCHAR"
        relation = "SELECT *, source AS whole FROM source"
        for stage in self._stages:
            added = "".join(f", {expression} AS {_quoted(name)}" for name, expression in stage.items())
            relation = f"SELECT *{added} FROM ({relation})"  # noqa: S608 - names of our own
        listed = ", ".join(f"{expression} AS {_quoted(name)}" for name, expression in columns.items())
        answer = f"SELECT {listed}, {problem} AS problem, n, whole FROM ({relation})"  # noqa: S608 - names of our own
        raw = "CASE WHEN problem IS NOT NULL THEN to_json(whole)::VARCHAR END AS raw"
        return f"SELECT * EXCLUDE (whole), {raw} FROM ({answer}) ORDER BY {order}"  # noqa: S608 - names of our own

    def text(self, name: str) -> str:
        """A column as trimmed text, null where empty."""
        if not self._has(name):
            return "NULL::VARCHAR"
        return self._staged(0, f"text {name}", f"NULLIF(trim(CAST({_quoted(name)} AS VARCHAR)), '')")

    def first_text(self, names: tuple[str, ...]) -> str:
        there = [self.text(name) for name in names if self._has(name)]
        return f"COALESCE({', '.join(there)})" if there else "NULL::VARCHAR"

    def integer(self, name: str, *, required: bool = False) -> str:
        """A column as a whole number; "8507.0" is one, as pandas writes a column that has gaps."""
        if not self._has(name):
            return "NULL::BIGINT"
        if self._types[name] in _INTEGERS:
            value = self._staged(1, f"whole {name}", f"CAST({_quoted(name)} AS BIGINT)")
            if required:
                self._problems.append((f"{value} IS NULL", name, "a whole number"))
            return value
        text = self.text(name)
        fits = f"regexp_full_match({text}, '[+-]?\\d{{1,19}}(\\.0*)?')"
        value = self._staged(1, f"whole {name}", f"CASE WHEN {fits} THEN TRY_CAST({text} AS BIGINT) END")
        absent = "" if required else f"{text} IS NOT NULL AND "
        self._problems.append((f"{absent}{value} IS NULL", name, "a whole number"))
        return value

    def number(self, name: str) -> str:
        if not self._has(name):
            return "NULL::DOUBLE"
        text = self.text(name)
        value = self._staged(1, f"number {name}", f"TRY_CAST({text} AS DOUBLE)")
        bounds = f"isfinite({value}) AND abs({value}) <= 3.4028234663852886e38"
        sound = self._staged(2, f"sound {name}", f"CASE WHEN {bounds} THEN {value} END")
        self._problems.append((f"{text} IS NOT NULL AND {sound} IS NULL", name, "a number within single precision"))
        return sound

    def time(self, prefix: str, clock: str, date: str) -> dict[str, str]:
        """<prefix>_at, a wall clock or UTC, and <prefix>_kind, which says what it is.

        A clock at midnight is a date: the CDM has it so where a source states no time of day.
        """
        at, zoned = self._clock(clock)
        day, _ = self._clock(date)
        has_clock = f"({at} IS NOT NULL AND ({zoned} OR CAST({at} AS TIME) <> TIME '00:00:00'))"
        if self._has(clock) and self._has(date):
            differ = f"NOT {zoned} AND CAST({at} AS DATE) <> CAST({day} AS DATE)"
            self._problems.append((differ, clock, f"a time on the day of {date}"))
        kind = (
            f"CASE WHEN {has_clock} THEN CASE WHEN {zoned} THEN {ZONED} ELSE {WALL} END "
            f"WHEN COALESCE({at}, {day}) IS NOT NULL THEN {DATE} ELSE {MISSING} END::TINYINT"
        )
        value = f"CASE WHEN {has_clock} THEN {at} ELSE date_trunc('day', COALESCE({day}, {at})) END::TIMESTAMP"
        return {f"{prefix}_at": value, f"{prefix}_kind": kind}

    def _clock(self, name: str) -> tuple[str, str]:
        """(a column as TIMESTAMP, in UTC where it states its zone; whether it does)."""
        if not self._has(name):
            return "NULL::TIMESTAMP", "false"
        kind, text = self._types[name], self.text(name)
        if kind == "TIMESTAMP WITH TIME ZONE":
            value, zoned = f"({_quoted(name)} AT TIME ZONE 'UTC')", "true"
        elif kind.startswith("TIMESTAMP") or kind == "DATE":
            value, zoned = f"CAST({_quoted(name)} AS TIMESTAMP)", "false"
        else:
            zoned = self._staged(1, f"zoned {name}", f"COALESCE(regexp_matches({text}, '{_CLOCK}{_OFFSET}'), false)")
            value = (
                f"CASE WHEN regexp_matches({text}, '{_CLOCK}{_OFFSET}') THEN "
                f"TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' WHEN regexp_matches({text}, '{_CLOCK}$') "
                f"OR regexp_full_match({text}, '\\d{{4}}-\\d{{2}}-\\d{{2}}') THEN TRY_CAST({text} AS TIMESTAMP) "
                f"WHEN regexp_full_match({text}, '\\d{{8}}') THEN try_strptime({text}, '%Y%m%d') END"
            )
        value = self._staged(1, f"clock {name}", value)
        within = f"isfinite({value}) AND year({value}) BETWEEN 1 AND 9998"
        sound = self._staged(2, f"time {name}", f"CASE WHEN {within} THEN {value} END")
        self._problems.append((f"{text} IS NOT NULL AND {sound} IS NULL", name, "a date or a time as ISO 8601"))
        return sound, zoned

    def _staged(self, stage: int, name: str, expression: str) -> str:
        """Have an expression computed in a stage, once; how later stages call it."""
        self._stages[stage][name] = expression
        return _quoted(name)

    def _has(self, name: str) -> bool:
        return bool(name) and name in self._types


_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
