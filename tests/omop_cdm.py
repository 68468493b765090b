"""A small OMOP CDM, as rows, and written as CSV, Parquet or a DuckDB database."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
INTEGER = ("_id", "_of_birth")


def small_cdm() -> Tables:
    """Three persons; every table that is read; concepts of LOINC, SNOMED, RxNorm, UCUM and a hospital's own."""
    at = dt.datetime
    return {
        "person": [
            {
                "person_id": 11, "gender_concept_id": 8532, "year_of_birth": 1960, "month_of_birth": 5,
                "day_of_birth": 17, "birth_datetime": None, "race_concept_id": 8527, "race_source_value": "W",
                "ethnicity_concept_id": 0, "person_source_value": "MRN1",
            },
            {
                "person_id": 12, "gender_concept_id": 8507, "year_of_birth": 1950, "month_of_birth": None,
                "day_of_birth": None, "birth_datetime": None, "race_concept_id": 0, "race_source_value": None,
                "ethnicity_concept_id": 0, "person_source_value": None,
            },
            {
                "person_id": 13, "gender_concept_id": 0, "year_of_birth": 1971, "month_of_birth": 12,
                "day_of_birth": None, "birth_datetime": None, "race_concept_id": 0, "race_source_value": None,
                "ethnicity_concept_id": 38003564, "person_source_value": None,
            },
        ],
        "death": [
            {"person_id": 12, "death_date": dt.date(2026, 3, 9), "death_datetime": None, "cause_concept_id": 0},
        ],
        "visit_occurrence": [
            visit(501, 11, 9201, at(2026, 3, 1, 8, 30), at(2026, 3, 6, 17)),
            visit(502, 12, 9203, at(2026, 3, 8, 23, 15), None),
        ],
        "visit_detail": [
            {
                "visit_detail_id": 601, "person_id": 11, "visit_detail_concept_id": 32037,
                "visit_detail_start_date": dt.date(2026, 3, 2), "visit_detail_start_datetime": at(2026, 3, 2, 3),
                "visit_occurrence_id": 501, "visit_detail_source_concept_id": 0, "visit_detail_source_value": "B3",
            },
        ],
        "condition_occurrence": [
            {
                "condition_occurrence_id": 701, "person_id": 11, "condition_concept_id": 316139,
                "condition_start_date": dt.date(2026, 3, 1), "condition_start_datetime": None,
                "condition_source_value": "I50.9", "condition_source_concept_id": 0,
            },
            {
                "condition_occurrence_id": 702, "person_id": 12, "condition_concept_id": 0,
                "condition_start_date": dt.date(2026, 3, 8), "condition_start_datetime": None,
                "condition_source_value": "I21.4", "condition_source_concept_id": 44825436,
            },
        ],
        "drug_exposure": [
            {
                "drug_exposure_id": 801, "person_id": 11, "drug_concept_id": 956874,
                "drug_exposure_start_date": dt.date(2026, 3, 1),
                "drug_exposure_start_datetime": at(2026, 3, 1, 10, 30),
                "drug_source_value": "FURO40", "drug_source_concept_id": 0,
            },
        ],
        "procedure_occurrence": [
            {
                "procedure_occurrence_id": 811, "person_id": 11, "procedure_concept_id": 0,
                "procedure_date": dt.date(2026, 3, 3), "procedure_datetime": None,
                "procedure_source_value": "8-701", "procedure_source_concept_id": 0,
            },
        ],
        "device_exposure": [
            {
                "device_exposure_id": 821, "person_id": 11, "device_concept_id": 45768197,
                "device_exposure_start_date": dt.date(2026, 3, 3), "device_exposure_start_datetime": None,
                "device_source_value": "VENT", "device_source_concept_id": 0,
            },
        ],
        "measurement": [
            measurement(901, 11, at(2026, 3, 1, 9, 5), 88.0, unit_concept_id=8541),
            measurement(902, 11, at(2026, 3, 2, 9, 5), 92.5, unit_concept_id=8541),
            measurement(
                903, 12, at(2026, 3, 8, 23, 50), 0.01, concept=3019800, unit_concept_id=8748,
                operator_concept_id=4171756,
            ),
            measurement(904, 12, at(2026, 3, 8), None, concept=3013762, value_as_concept_id=45878583),
            measurement(905, 12, at(2026, 3, 8, 1), 7.4, concept=0, measurement_source_value="PH-BG"),
        ],
        "observation": [
            {
                "observation_id": 951, "person_id": 11, "observation_concept_id": 43054909,
                "observation_date": dt.date(2026, 3, 1), "observation_datetime": None, "value_as_number": None,
                "value_as_string": "former smoker", "value_as_concept_id": 0, "unit_concept_id": 0,
                "unit_source_value": None, "observation_source_value": None, "observation_source_concept_id": 0,
            },
        ],
        "note": [
            {
                "note_id": 971, "person_id": 11, "note_date": dt.date(2026, 3, 1), "note_datetime": at(2026, 3, 1, 12),
                "note_type_concept_id": 32831, "note_class_concept_id": 706391,
                "note_text": 'Dyspnoea, "worse" at night.\nNo fever.',
            },
        ],
        "concept": [
            concept(3027018, "LOINC", "8867-4"), concept(3019800, "LOINC", "6598-7"),
            concept(3013762, "LOINC", "94500-6"), concept(45878583, "LOINC", "LA6577-6"),
            concept(316139, "SNOMED", "84114007"), concept(44825436, "ICD10CM", "I21.4"),
            concept(956874, "RxNorm", "4603"), concept(8541, "UCUM", "/min"), concept(8748, "UCUM", "ng/mL"),
            concept(43054909, "LOINC", "72166-2"), concept(706391, "LOINC", "34117-2"), concept(8527, "Race", "5"),
            concept(38003564, "Ethnicity", "Not Hispanic"), concept(32831, "Type Concept", "OMOP4976901"),
        ],
    }  # fmt: skip


def visit(number: int, person: int, concept_id: int, start: dt.datetime, end: dt.datetime | None) -> dict[str, Any]:
    return {
        "visit_occurrence_id": number, "person_id": person, "visit_concept_id": concept_id,
        "visit_start_date": start.date(), "visit_start_datetime": start, "visit_end_date": end and end.date(),
        "visit_end_datetime": end, "visit_source_value": None, "visit_source_concept_id": 0,
    }  # fmt: skip


def measurement(
    number: int, person: int, when: dt.datetime, value: float | None, *, concept: int = 3027018, **changes: Any
) -> dict[str, Any]:
    """A heart rate, unless another concept is given."""
    return {
        "measurement_id": number, "person_id": person, "measurement_concept_id": concept,
        "measurement_date": when.date(), "measurement_datetime": when, "operator_concept_id": 0,
        "value_as_number": value, "value_as_concept_id": 0, "unit_concept_id": 0, "unit_source_value": None,
        "value_source_value": None, "measurement_source_value": None, "measurement_source_concept_id": 0, **changes,
    }  # fmt: skip


def concept(number: int, vocabulary: str, code: str) -> dict[str, Any]:
    return {
        "concept_id": number, "concept_name": f"concept {number}", "vocabulary_id": vocabulary, "concept_code": code,
        "standard_concept": "S",
    }  # fmt: skip


def arrow(name: str, rows: Rows) -> pa.Table:
    """Rows with the types that the CDM gives its columns."""
    columns = {}
    for key in rows[0] if rows else ():
        values = [row.get(key) for row in rows]
        if key == "vocabulary_id" or not key.endswith((*INTEGER, "_date", "_datetime", "_as_number")):
            kind: Any = pa.string()
        elif key.endswith("_datetime"):
            kind = pa.timestamp("us")
        elif key.endswith("_date"):
            kind = pa.date32()
        else:
            kind = pa.float64() if key == "value_as_number" else pa.int64()
        columns[key] = pa.array(values, kind)
    return pa.table(columns)


def write_csv(folder: Path, tables: Tables) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pyarrow.csv.write_csv(arrow(name, rows), folder / f"{name.upper()}.csv")
    return folder


def write_parquet(folder: Path, tables: Tables) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pq.write_table(arrow(name, rows), folder / f"{name}.parquet")
    return folder


def write_duckdb(folder: Path, tables: Tables) -> Path:
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(folder / "cdm.duckdb") as connection:
        for name, rows in tables.items():
            connection.register("given", arrow(name, rows))
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")  # noqa: S608 - names of our own
            connection.unregister("given")
    return folder


WRITERS: dict[str, Callable[[Path, Tables], Path]] = {
    "csv": write_csv, "parquet": write_parquet, "duckdb": write_duckdb,
}  # fmt: skip
