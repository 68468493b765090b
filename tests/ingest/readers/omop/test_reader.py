"""OMOP CDM from files and databases: what each table becomes, what is refused, and what a second delivery changes."""

import datetime as dt
import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ingest.account.reconciliation import Reconciliation
from ingest.meaning.vocabulary import Quantity, Vocabulary
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace, create_workspace

FORMS = ("csv", pytest.param("parquet", marks=pytest.mark.slow), "duckdb")


def _cdm() -> ModuleType:
    path = Path(__file__).parents[3] / "omop_cdm.py"
    specification = importlib.util.spec_from_file_location("tests_omop_cdm", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


cdm = _cdm()


class Delivery:
    """A CDM that is written and read, again and again."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace, self.folder = workspace, folder
        self.tables: dict[str, list[dict[str, Any]]] = cdm.small_cdm()

    def only(self, *names: str) -> None:
        self.tables = {name: self.tables[name] for name in names}

    def take(self, form: str = "csv", folder: str = "cdm", **options: Any) -> Reconciliation:
        written = cdm.WRITERS[form](self.folder / folder, {n: rows for n, rows in self.tables.items() if rows})
        return self.read(written, **options)

    def read(self, place: Path, **options: Any) -> Reconciliation:
        return ingest(self.workspace, [place], **{"timezone": "Europe/Berlin", **options})

    def rows(self, record: str = "") -> list[dict[str, Any]]:
        found = read_observations(self.workspace).to_pylist()
        return [row for row in found if str(row["source_record"]).startswith(record)]


@pytest.fixture
def omop(workspace: Workspace, tmp_path: Path) -> Delivery:
    return Delivery(workspace, tmp_path / "delivery")


def at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)  # type: ignore[arg-type,misc]  # noqa: DTZ001 - MEDS stores UTC without a zone


@pytest.mark.parametrize("form", FORMS)
def test_every_table_becomes_the_codes_that_other_readers_give(omop: Delivery, form: str) -> None:
    account = omop.take(form)
    assert (account.total.seen, account.total.used, account.total.refused, account.subjects) == (20, 20, 0, 3)
    found = {(row["source_record"], row["code"]): row for row in omop.rows()}
    said = {key: (row["time"], row["numeric_value"], row["unit"], row["text_value"]) for key, row in found.items()}
    nothing = (None, None, None)
    assert said == {
        ("person row 1", "MEDS_BIRTH"): (at(1960, 5, 17), *nothing),
        ("person row 1", "GENDER"): (None, None, None, "female"),
        ("person row 1", "RACE"): (None, None, None, "Race//5"),
        ("person row 2", "MEDS_BIRTH"): (at(1950, 1, 1), *nothing),
        ("person row 2", "GENDER"): (None, None, None, "male"),
        ("person row 3", "MEDS_BIRTH"): (at(1971, 12, 1), *nothing),
        ("person row 3", "ETHNICITY"): (None, None, None, "Ethnicity//Not Hispanic"),
        ("death row 1", "MEDS_DEATH"): (at(2026, 3, 8, 23), *nothing),
        ("visit_occurrence 501", "ENCOUNTER//IMP//START"): (at(2026, 3, 1, 7, 30), *nothing),
        ("visit_occurrence 501", "ENCOUNTER//IMP//END"): (at(2026, 3, 6, 16), *nothing),
        ("visit_occurrence 502", "ENCOUNTER//EMER//START"): (at(2026, 3, 8, 22, 15), *nothing),
        ("visit_detail 601", "LOCATION//ICU"): (at(2026, 3, 2, 2), *nothing),
        ("condition_occurrence 701", "SNOMED//84114007"): (at(2026, 2, 28, 23), *nothing),
        ("condition_occurrence 702", "ICD10CM//I21.4"): (at(2026, 3, 7, 23), *nothing),
        ("drug_exposure 801", "RXNORM//4603"): (at(2026, 3, 1, 9, 30), *nothing),
        ("procedure_occurrence 811", "OMOP_PROCEDURE_OCCURRENCE//8-701"): (at(2026, 3, 2, 23), *nothing),
        ("device_exposure 821", "OMOP//45768197"): (at(2026, 3, 2, 23), *nothing),
        ("measurement 901", "LOINC//8867-4"): (at(2026, 3, 1, 8, 5), 88.0, "/min", None),
        ("measurement 902", "LOINC//8867-4"): (at(2026, 3, 2, 8, 5), 92.5, "/min", None),
        ("measurement 903", "LOINC//6598-7"): (at(2026, 3, 8, 22, 50), pytest.approx(0.01), "ng/mL", "<"),
        ("measurement 904", "LOINC//94500-6"): (at(2026, 3, 7, 23), None, None, "LOINC//LA6577-6"),
        ("measurement 905", "OMOP_MEASUREMENT//PH-BG"): (at(2026, 3, 8, 0), pytest.approx(7.4), None, None),
        ("observation 951", "LOINC//72166-2"): (at(2026, 2, 28, 23), None, None, "former smoker"),
        ("note 971", "LOINC//34117-2"): (
            at(2026, 3, 1, 11), None, None, 'Dyspnoea, "worse" at night.\nNo fever.'
        ),
    }  # fmt: skip
    dated = found["measurement 904", "LOINC//94500-6"]
    assert dated["available_time"] == at(2026, 3, 8, 23), "a clock at midnight is a date: known from the day's end"
    timed = found["measurement 901", "LOINC//8867-4"]
    assert timed["available_time"] == timed["time"]


def test_without_the_table_of_concepts_codes_are_their_numbers(omop: Delivery) -> None:
    del omop.tables["concept"]
    omop.take()
    row = omop.rows("measurement 901")[0]
    assert (row["code"], row["unit"]) == ("OMOP//3027018", "OMOP//8541")


@pytest.mark.slow
def test_concepts_that_come_later_replace_the_numbers(omop: Delivery) -> None:
    concepts = omop.tables.pop("concept")
    omop.take()
    omop.tables["concept"] = concepts
    account = omop.take()
    assert account.total.refused == 0
    codes = [row["code"] for row in omop.rows("measurement 901")]
    assert codes == ["LOINC//8867-4"]


def test_the_vocabulary_as_it_is_delivered_with_tabs_and_quotes_in_names(omop: Delivery) -> None:
    concepts = omop.tables.pop("concept")
    omop.tables = {"person": omop.tables["person"], "measurement": omop.tables["measurement"][:1]}
    folder = cdm.write_csv(omop.folder / "cdm", omop.tables)
    lines = ["concept_id\tconcept_name\tvocabulary_id\tconcept_code"]
    lines += [f'{c["concept_id"]}\t5" tube "x\t{c["vocabulary_id"]}\t{c["concept_code"]}' for c in concepts]
    (folder / "CONCEPT.csv").write_text("\n".join(lines) + "\n")
    assert omop.read(folder).total.refused == 0
    assert omop.rows("measurement")[0]["code"] == "LOINC//8867-4"


def test_compressed_parts_in_a_folder_of_the_tables_name(omop: Delivery) -> None:
    omop.only("person", "measurement", "concept")
    rows = omop.tables["measurement"]
    folder = cdm.write_csv(omop.folder / "cdm", {k: v for k, v in omop.tables.items() if k != "measurement"})
    for number, part in enumerate((rows[:2], rows[2:])):
        written = cdm.write_csv(omop.folder / "scratch", {"measurement": part}) / "MEASUREMENT.csv"
        place = folder / "measurement" / f"part-{number}.csv.gz"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(gzip.compress(written.read_bytes()))
    account = omop.read(folder)
    assert account.refusals == ()
    assert account.total.used == 9
    assert len(omop.rows("measurement")) == 5


def test_a_note_of_some_megabytes_is_read_whole_also_compressed(omop: Delivery) -> None:
    omop.only("person", "note")
    omop.tables["note"][0]["note_text"] = "word " * 2_000_000
    folder = cdm.write_csv(omop.folder / "cdm", omop.tables)
    (folder / "note.csv.gz").write_bytes(gzip.compress((folder / "NOTE.csv").read_bytes(), 1))
    (folder / "NOTE.csv").unlink()
    assert omop.read(folder).refusals == ()
    assert len(omop.rows("note")[0]["text_value"]) == 9_999_999


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"person_id": 99}, "person_id", "a person of this delivery"),
        ({"person_id": None}, "person_id", "a whole number"),
        ({"measurement_date": None, "measurement_datetime": None}, "measurement_date", "a date"),
        ({"measurement_datetime": at(2026, 3, 29, 2, 30), "measurement_date": dt.date(2026, 3, 29)},
         "measurement_datetime", "a time that exists once in Europe/Berlin"),
        ({"measurement_datetime": at(2026, 3, 7, 2)}, "measurement_datetime", "a time on the day of measurement_date"),
        ({"value_as_number": float("inf")}, "value_as_number", "a number within single precision"),
        ({"value_as_number": 1e39}, "value_as_number", "a number within single precision"),
        ({"measurement_date": dt.date(9999, 12, 31), "measurement_datetime": None},
         "measurement_date", "a date or a time"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_refused_with_table_row_and_field_and_the_others_load(
    omop: Delivery, changes: dict[str, Any], field: str, expected: str
) -> None:
    omop.only("person", "measurement", "concept")
    omop.tables["measurement"][1].update(changes)
    account = omop.take("duckdb")
    (refused,) = account.refusals
    assert (refused.record, refused.field) == ("measurement 902", field)
    assert expected in refused.expected
    assert account.total.used == account.total.seen - 1
    assert len(omop.rows("measurement")) == 4
    kept = (omop.workspace.quarantine / account.run / "refused.jsonl").read_text().splitlines()
    assert "902" in json.loads(kept[0])["raw"]


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("value_as_number", "Archer", "a number within single precision"),
        ("measurement_id", "x1", "a whole number"),
        ("measurement_id", "", "a whole number"),
        ("measurement_concept_id", "1.5", "a whole number"),
        ("measurement_datetime", "yesterday", "a date or a time as ISO 8601"),
        ("measurement_date", "02/03/2026", "a date or a time as ISO 8601"),
        ("measurement_date", "2026-02-30", "a date or a time as ISO 8601"),
    ],
)
def test_a_cell_that_cannot_be_read_is_refused_and_not_shown(
    omop: Delivery, column: str, cell: str, expected: str
) -> None:
    omop.only("person", "measurement", "concept")
    folder = cdm.write_csv(omop.folder / "cdm", omop.tables)
    set_cell(folder / "MEASUREMENT.csv", 2, column, cell)
    account = omop.read(folder)
    (refused,) = account.refusals
    assert (refused.field, refused.expected) == (column, expected)
    assert "Archer" not in str(refused)
    kept = (omop.workspace.quarantine / account.run / "refused.jsonl").read_text()
    assert cell in kept
    assert len(omop.rows("measurement")) == 4


def set_cell(path: Path, row: int, column: str, cell: str) -> None:
    lines = [line.split(",") for line in path.read_text().replace('"', "").splitlines()]
    lines[row][lines[0].index(column)] = cell
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")


def test_a_line_of_a_wrong_length_is_refused_and_kept(omop: Delivery) -> None:
    omop.only("person", "measurement", "concept")
    folder = cdm.write_csv(omop.folder / "cdm", omop.tables)
    lines = (folder / "MEASUREMENT.csv").read_text().splitlines()
    (folder / "MEASUREMENT.csv").write_text("\n".join([*lines[:2], "7,8", *lines[2:]]) + "\n")
    account = omop.read(folder)
    (refused,) = account.refusals
    assert (refused.record, refused.expected) == ("measurement row 2", "a row with as many cells as the header")
    assert '"raw": "7,8"' in (omop.workspace.quarantine / account.run / "refused.jsonl").read_text()
    assert len(omop.rows("measurement")) == 5


@pytest.mark.parametrize(
    ("line", "expected"), [(b"7,h\xf6her", "text in UTF-8"), (b'7,"open', "a quote that is closed")]
)
def test_a_line_that_cannot_be_read_says_why(omop: Delivery, line: bytes, expected: str) -> None:
    omop.only("person", "measurement", "concept")
    folder = cdm.write_csv(omop.folder / "cdm", omop.tables)
    whole = (folder / "MEASUREMENT.csv").read_bytes().rstrip(b"\n")
    (folder / "MEASUREMENT.csv").write_bytes(whole + b"\n" + line + b"\n")
    (refused,) = omop.read(folder).refusals
    assert refused.expected == expected
    assert len(omop.rows("measurement")) == 5


def test_clocks_without_a_zone_are_refused_row_by_row_and_dates_are_not(omop: Delivery) -> None:
    omop.only("person", "measurement", "condition_occurrence")
    account = omop.take(timezone=None)
    assert {refused.record for refused in account.refusals} == {f"measurement {n}" for n in (901, 902, 903, 905)}
    assert all("--timezone" in refused.expected for refused in account.refusals)
    assert len(omop.rows("condition_occurrence")) == 2
    again = omop.take(timezone="Europe/Berlin")
    assert again.total.refused == 0
    assert len(omop.rows("measurement")) == 5


@pytest.mark.parametrize("cell", ["2026-03-02T09:05:00+05:30", "2026-03-02 09:05:00.000+0530", "2026-03-02 03:35Z"])
def test_a_clock_that_states_its_zone_needs_none(omop: Delivery, cell: str) -> None:
    omop.only("person", "measurement")
    omop.tables["measurement"] = omop.tables["measurement"][1:2]
    folder = cdm.write_csv(omop.folder / "cdm", omop.tables)
    set_cell(folder / "MEASUREMENT.csv", 1, "measurement_datetime", cell)
    assert omop.read(folder, timezone=None).total.refused == 0
    assert omop.rows("measurement")[0]["time"] == at(2026, 3, 2, 3, 35)


def test_the_vocabulary_refuses_what_cannot_be_and_converts_what_can(omop: Delivery) -> None:
    """FAULTS 15 and 16, for OMOP."""
    rate = Quantity("LOINC//8867-4", "heart rate", "/min", plausible=(5, 400), conversions={"Hz": (60.0, 0.0)})
    omop.only("person", "measurement", "concept")
    omop.tables["measurement"][0]["value_as_number"] = 8000.0
    omop.tables["measurement"][1].update(unit_concept_id=0, unit_source_value="Hz", value_as_number=1.5)
    account = omop.take(vocabulary=Vocabulary({rate.code: rate}))
    (refused,) = account.refusals
    assert refused.record == "measurement 901"
    (row,) = omop.rows("measurement 902")
    assert (row["numeric_value"], row["unit"]) == (90.0, "/min")
    assert 1 in account.notes.values()


def test_the_same_export_again_changes_nothing(omop: Delivery) -> None:
    """FAULTS 12."""
    omop.take("duckdb")
    before = omop.rows()
    again = omop.read(omop.folder / "cdm")
    assert (again.part, again.skip_reasons) == (None, {"already ingested": 20})
    assert omop.rows() == before


@pytest.mark.parametrize("form", FORMS)
def test_a_new_export_gives_what_is_new_and_replaces_what_was_corrected(omop: Delivery, form: str) -> None:
    """FAULTS 14, as far as reading goes."""
    omop.only("person", "measurement", "concept")
    omop.take(form)
    omop.tables["measurement"][1]["value_as_number"] = 60.0
    omop.tables["measurement"].append(cdm.measurement(906, 12, at(2026, 3, 8, 2), 71.0, unit_concept_id=8541))
    if form == "duckdb":
        (omop.folder / "cdm" / "cdm.duckdb").unlink()
    account = omop.take(form)
    assert account.total.used == 2 + (form != "csv" and form != "parquet")
    assert account.notes["row corrected since an earlier delivery: the new version replaces it"] == 1
    rates = [(row["source_record"], row["numeric_value"]) for row in omop.rows("measurement") if row["unit"] == "/min"]
    assert sorted(rates) == [("measurement 901", 88.0), ("measurement 902", 60.0), ("measurement 906", 71.0)]


def test_the_same_rows_from_two_files_of_one_delivery_count_once(omop: Delivery) -> None:
    omop.only("person", "measurement", "concept")
    cdm.write_csv(omop.folder / "a", omop.tables)
    cdm.write_duckdb(omop.folder / "b", omop.tables)
    account = omop.read(omop.folder)
    assert account.skip_reasons["duplicate"] == 8
    assert len(omop.rows("measurement")) == 5


def test_one_number_for_two_different_rows_is_refused(omop: Delivery) -> None:
    omop.only("person", "measurement", "concept")
    omop.tables["measurement"][1]["measurement_id"] = 901
    account = omop.take()
    (refused,) = account.refusals
    assert (refused.record, refused.field, refused.expected) == (
        "measurement 901",
        "measurement_id",
        "a number of its own",
    )


def test_a_person_of_whom_something_else_is_said_is_refused_with_all_rows(omop: Delivery) -> None:
    """FAULTS 1: the same number, another birth date."""
    omop.only("person", "measurement", "concept")
    omop.take()
    omop.tables["person"][0]["year_of_birth"] = 1990
    omop.tables["measurement"].append(cdm.measurement(907, 11, at(2026, 3, 9, 2), 71.0))
    account = omop.take()
    assert "another birth date" in account.refusals[0].got
    assert {refused.record for refused in account.refusals} >= {"person row 1", "measurement 907"}
    assert omop.rows("measurement 907") == []


@pytest.mark.slow
def test_the_same_number_of_another_hospital_is_another_person(tmp_path: Path) -> None:
    """FAULTS 5."""
    subjects = set()
    for issuer in ("urn:oid:1", "urn:oid:2"):
        omop = Delivery(create_workspace(tmp_path / issuer[-1], b"key"), tmp_path / "delivery")
        omop.take(issuer=issuer)
        subjects |= {row["subject_id"] for row in omop.rows()}
    assert len(subjects) == 6


def test_images_meet_the_person_whose_source_value_is_their_patient(
    omop: Delivery, write_dicom: Callable[..., Path]
) -> None:
    omop.take(issuer="urn:oid:1.2.3")
    image = write_dicom(omop.folder / "images" / "1.dcm", PatientID="MRN1")
    assert omop.read(image).total.used == 1
    (row,) = [row for row in omop.rows() if row["code"] == "DICOM//DX"]
    assert row["subject_id"] == omop.rows("measurement 901")[0]["subject_id"]


@pytest.mark.slow
def test_a_source_value_that_two_persons_share_identifies_neither(
    omop: Delivery, write_dicom: Callable[..., Path]
) -> None:
    omop.tables["person"][1]["person_source_value"] = "MRN1"
    omop.take(issuer="urn:oid:1.2.3")
    omop.read(write_dicom(omop.folder / "images" / "1.dcm", PatientID="MRN1"))
    (row,) = [row for row in omop.rows() if row["code"] == "DICOM//DX"]
    assert row["subject_id"] not in {each["subject_id"] for each in omop.rows("measurement")}


def test_words_in_a_source_value_become_no_code(omop: Delivery) -> None:
    omop.only("person", "measurement", "concept")
    for row, text in zip(
        omop.tables["measurement"], ["Ann Archer", "1960-05-17", "4711081512", "a very long name of something 1", "K"],
        strict=True,
    ):  # fmt: skip
        row.update(measurement_concept_id=0, measurement_source_value=text)
    account = omop.take()
    assert account.skip_reasons == {"measurement without a concept, or a code of its source": 4}
    assert [row["code"] for row in omop.rows("measurement")] == ["OMOP_MEASUREMENT//K"]


def test_a_visit_that_ends_before_it_begins_is_refused(omop: Delivery) -> None:
    omop.tables["visit_occurrence"][0].update(visit_end_date=dt.date(2026, 2, 1), visit_end_datetime=at(2026, 2, 1, 1))
    (refused,) = omop.take().refusals
    assert (refused.record, refused.field) == ("visit_occurrence 501", "visit_end_date")


def test_a_table_that_a_mapping_names_is_the_mappings(omop: Delivery) -> None:
    folder = cdm.write_csv(omop.folder / "cdm", {"person": omop.tables["person"]})
    mapping = omop.folder / "mapping.yaml"
    part = {
        "path": "PERSON.csv", "subject": {"column": "person_id", "issuer": "x"},
        "columns": [{"code": "YEAR", "column": "year_of_birth", "kind": "numeric"}],
    }  # fmt: skip
    mapping.write_text(yaml.safe_dump({"files": [part]}))
    account = omop.read(folder, mapping=mapping)
    assert set(account.by_format) == {"table"}


def test_a_table_of_that_name_with_other_columns_is_not_ours(omop: Delivery) -> None:
    omop.folder.mkdir()
    (omop.folder / "person.csv").write_text("name,phone\nAnn,1\n")
    assert set(omop.read(omop.folder).by_format) == {"other"}


def test_a_column_that_is_missing_is_one_refusal(omop: Delivery) -> None:
    for row in omop.tables["measurement"]:
        del row["measurement_date"]
    account = omop.take()
    (refused,) = account.refusals
    assert (refused.field, refused.got) == ("measurement.measurement_date", "none")
    assert len(omop.rows("note")) == 1


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "flipped"])
def test_a_broken_database_is_one_refusal(omop: Delivery, damage: str) -> None:
    folder = cdm.write_duckdb(omop.folder / "cdm", omop.tables)
    content = bytearray((folder / "cdm.duckdb").read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "zeros":
        content[4096:] = bytes(len(content) - 4096)
    elif damage == "flipped":
        content[len(content) // 2 :: 7] = bytes(len(content[len(content) // 2 :: 7]))
    else:
        content = content[:16]
    (folder / "cdm.duckdb").write_bytes(content)
    account = omop.read(folder)
    assert account.total.refused >= 1
    assert omop.rows() == [] or damage == "flipped"


def test_a_database_without_such_tables_is_one_refusal(omop: Delivery) -> None:
    cdm.write_duckdb(omop.folder / "cdm", {"concept_of_mine": omop.tables["concept"]})
    (refused,) = omop.read(omop.folder / "cdm").refusals
    assert refused.expected == "tables of an OMOP CDM, such as person"


def test_a_view_of_a_database_cannot_reach_other_files(omop: Delivery) -> None:
    import duckdb

    secret = omop.folder / "secret.csv"
    secret.parent.mkdir()
    secret.write_text("person_id,year_of_birth\n1,1960\n")
    place = omop.folder / "cdm" / "cdm.duckdb"
    place.parent.mkdir()
    with duckdb.connect(place) as connection:
        connection.execute(f"CREATE VIEW person AS SELECT * FROM read_csv('{secret}')")  # noqa: S608 - the test's own
    account = omop.read(place)
    assert account.total.refused == 1
    assert omop.rows() == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Peak memory of a process that reads ten times as many measurements is hardly more."""
    import subprocess
    import sys

    peaks = []
    for n in (200_000, 2_000_000):
        program = f"""
import resource, sys
import duckdb
from pathlib import Path
from ingest.run import ingest
from ingest.workspace import create_workspace
folder = Path({str(tmp_path / str(n))!r})
folder.mkdir()
connection = duckdb.connect()
connection.execute("COPY (SELECT i AS person_id, 1960 AS year_of_birth, 8507 AS gender_concept_id "
                   "FROM range(1000) t(i)) TO '" + str(folder / "person.csv") + "'")
connection.execute("COPY (SELECT i AS measurement_id, i % 1000 AS person_id, 3027018 AS measurement_concept_id, "
                   "DATE '2026-01-01' + (i % 300)::INT AS measurement_date, random() * 50 AS value_as_number "
                   "FROM range({n}) t(i)) TO '" + str(folder / "measurement.parquet") + "' (FORMAT parquet)")
connection.close()
account = ingest(create_workspace(folder / "ws"), [folder / "person.csv", folder / "measurement.parquet"])
assert account.total.used == {n} + 1000, account.lines()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        print(n, ended.stdout.split()[-1])
        peaks.append(int(ended.stdout.split()[-1]))
    assert peaks[1] < 2.0 * peaks[0], peaks
