import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from ingest.account.reconciliation import Reconciliation
from ingest.catalogue import read_catalogue
from ingest.errors import InputError
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

AGE = {"code": "AGE_YEARS", "column": "age", "kind": "numeric", "unit": "a"}
MAPPINGS = Path(__file__).parents[4] / "clinical" / "mappings"
DATA = Path(__file__).parents[5] / "shared" / "data"


class Tables:
    """A delivery of one table, the mapping that reads it, and what came of it."""

    def __init__(self, workspace: Workspace, delivery: Path) -> None:
        self.workspace, self.delivery = workspace, delivery
        self.part: dict[str, Any] = {
            "path": "*.csv",
            "subject": {"column": "who", "issuer": "lab"},
            "columns": [AGE],
        }

    def take(self, text: str | bytes, name: str = "t.csv", **options: Any) -> Reconciliation:
        (self.delivery / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.ingest(**options)

    def ingest(self, **options: Any) -> Reconciliation:
        mapping = self.delivery.parent / "mapping.yaml"
        mapping.write_text(yaml.safe_dump({"files": [self.part]}))
        return ingest(self.workspace, [self.delivery], mapping=mapping, **options)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return sorted(read_observations(self.workspace).to_pylist(), key=lambda row: str(row["source_record"]))


@pytest.fixture
def tables(workspace: Workspace, delivery: Path) -> Tables:
    return Tables(workspace, delivery)


def at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)  # type: ignore[arg-type,misc]  # noqa: DTZ001 - MEDS stores UTC without a zone


def test_cells_become_observations_of_their_row(tables: Tables) -> None:
    tables.part["columns"] = [AGE, {"code": "SITE", "column": "site", "null": ["", "unknown"]}]
    account = tables.take("who,age,site\n1,50, back \n2,,unknown\n1,4e1,\n")
    assert (account.total.used, account.observations, account.subjects) == (3, 3, 1)
    first, site, third = tables.rows
    assert (first["code"], first["numeric_value"], first["unit"]) == ("AGE_YEARS", 50.0, "a")
    assert (site["code"], site["text_value"]) == ("SITE", "back")
    assert first["source_record"] == site["source_record"] == "row 1"
    assert first["time"] is first["available_time"] is None
    assert (third["numeric_value"], third["source_record"]) == (40.0, "row 3")


def test_a_row_whose_number_is_none_is_refused_by_row_and_column(tables: Tables) -> None:
    account = tables.take("who,age\n1,50\n2,5o\n3,nan\n4,1e39\n5,1e9999\n6,Ann Archer\n,7\n")
    assert (account.total.used, account.total.refused) == (1, 6)
    places = [(complaint.record, complaint.field) for complaint in account.refusals]
    assert places == [("row 7", "who")] + [(f"row {n}", "age") for n in range(2, 7)]
    assert "Archer" not in "".join(map(str, account.refusals))
    kept = (tables.workspace.quarantine / account.run / "refused.jsonl").read_text().splitlines()
    assert any("Ann Archer" in json.loads(line)["raw"] for line in kept)


def test_cells_that_are_no_number_may_be_taken_as_missing_and_are_counted(tables: Tables) -> None:
    tables.part["columns"] = [{**AGE, "unparseable": "null"}]
    account = tables.take("who,age\n1,50\n2,about 40\n")
    assert (account.total.used, account.observations) == (2, 1)
    assert account.notes == {"age: cell that is not a number, taken as missing": 1}


def test_only_the_rows_asked_for_are_read(tables: Tables) -> None:
    tables.part["where"] = {"kind": ["X-ray"]}
    account = tables.take("who,age,kind\n1,50,X-ray\n2,60,CT\n")
    assert account.skip_reasons == {"kind is not X-ray": 1}


def test_a_column_that_the_file_lacks_stops_the_ingest_with_the_nearest_names(tables: Tables) -> None:
    with pytest.raises(InputError) as error:
        tables.take("who,agee,sex\n1,50,f\n")
    assert str(error.value) == (
        "delivery/t.csv, age: expected a column of this name, as the mapping says, got none; the nearest are agee"
    )
    left = {path.name for path in tables.workspace.root.rglob("*") if path.is_file()}
    assert left <= {"telltale.txt", ".lock", "ledger.db"}


def test_rows_of_a_wrong_length_are_refused_and_others_keep_their_numbers(tables: Tables) -> None:
    account = tables.take("who,age\n1,50\n2\n3,60\n4,70,80\n5,90\n")
    assert [(row["source_record"], row["numeric_value"]) for row in tables.rows] == [
        ("row 1", 50.0),
        ("row 3", 60.0),
        ("row 5", 90.0),
    ]
    assert [complaint.record for complaint in account.refusals] == ["row 2", "row 4"]
    assert "expected 2 cells, got 3" in str(account.refusals[1])


def test_quotes_line_breaks_and_a_byte_order_mark(tables: Tables) -> None:
    tables.part["columns"] = [{"code": "NOTE", "column": "note"}]
    tables.take('\ufeffwho,note\n1,"a ""b"",\nc"\n2,d\n')
    assert [row["text_value"] for row in tables.rows] == ['a "b",\nc', "d"]


def test_gzip_and_other_delimiters(tables: Tables) -> None:
    import gzip

    tables.part.update(path="*.csv.gz", delimiter=";")
    assert tables.take(gzip.compress(b"who;age\n1;50\n"), name="t.csv.gz").total.used == 1


def test_parquet_reads_as_csv_does(tables: Tables) -> None:
    tables.part.update(path="*.parquet", time={"column": "when"})
    when = pa.array([at(2026, 3, 1, 8), None], pa.timestamp("us", "UTC"))
    table = pa.table({"who": pa.array([1, 2]), "age": pa.array([50.5, None]), "when": when})
    pa.parquet.write_table(table, tables.delivery / "t.parquet")
    account = tables.ingest()
    assert (account.total.used, account.total.refused) == (1, 1)
    assert (tables.rows[0]["numeric_value"], tables.rows[0]["time"]) == (50.5, at(2026, 3, 1, 8))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"PAR1rubbish"])
def test_what_is_no_table_stops_the_ingest_in_one_line(tables: Tables, content: bytes) -> None:
    with pytest.raises(InputError) as error:
        tables.take(content)
    assert "\n" not in str(error.value)


def test_times_with_and_without_zone(tables: Tables) -> None:
    tables.part["time"] = {"column": "when"}
    cells = ["2026-03-01T10:00:00+01:00", "2026-07-01 10:00", "2026-10-25 02:30", "2026-07-01", "soon", ""]
    text = "who,age,when\n" + "".join(f"{i},50,{cell}\n" for i, cell in enumerate(cells))
    account = tables.take(text)
    assert [row["time"] for row in tables.rows] == [at(2026, 3, 1, 9), at(2026, 7, 1)]
    assert tables.rows[1]["available_time"] == at(2026, 7, 2)
    assert account.total.refused == 4
    account = tables.take(text, timezone="Europe/Berlin")
    assert (account.total.used, account.total.refused) == (1, 3)
    assert any("exists once in Europe/Berlin" in str(complaint) for complaint in account.refusals)
    assert at(2026, 7, 1, 8) in [row["time"] for row in tables.rows]


def test_times_by_format(tables: Tables) -> None:
    tables.part["time"] = {"column": "when", "format": "%d.%m.%Y %H:%M"}
    account = tables.take("who,age,when\n1,5,01.07.2026 10:00\n2,5,2026-07-01\n", timezone="+02:00")
    assert (account.total.used, account.total.refused) == (1, 1)
    assert tables.rows[0]["time"] == at(2026, 7, 1, 8)


def test_relative_times_count_from_the_nominal_zero(tables: Tables) -> None:
    tables.part["time"] = {"column": "day", "unit": "d", "missing": "skip"}
    account = tables.take("who,age,day\n1,5,0\n2,5,-1.5\n3,5,\n4,5,x\n5,5,1e400\n")
    assert [row["time"] for row in tables.rows] == [at(2000, 1, 1), at(1999, 12, 30, 12)]
    assert (account.total.skipped, account.total.refused) == (1, 2)


def test_a_missing_time_may_make_a_row_static(tables: Tables) -> None:
    tables.part["time"] = {"column": "day", "unit": "h", "missing": "static"}
    tables.take("who,age,day\n1,5,\n")
    assert tables.rows[0]["time"] is None


def test_what_is_available_later_says_so(tables: Tables) -> None:
    tables.part["time"] = {"column": "taken"}
    tables.part["available_time"] = {"column": "released"}
    tables.take("who,age,taken,released\n1,5,2026-03-01T10:00Z,2026-03-01T11:00Z\n")
    assert tables.rows[0]["available_time"] == at(2026, 3, 1, 11)


def test_an_asset_is_named_by_a_template(tables: Tables, write_picture: Callable[[Path], Path]) -> None:
    tables.part["columns"] = [AGE, {"code": "IMAGE", "asset": "images/{image}.jpg"}]
    path = write_picture(tables.delivery / "images" / "one.jpg")
    write_picture(tables.delivery / "images" / "orphan.jpg")
    (tables.delivery / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xffrubbish")
    account = tables.take("who,age,image\n1,50,one\n2,60,gone\n3,70,\n4,80,broken\n")
    assert account.by_format["table"].to_json() == {"in": 4, "used": 2, "refused": 2, "skipped": 0}
    assert account.by_format["image"].to_json() == {"in": 3, "used": 1, "refused": 0, "skipped": 2}
    image = next(row for row in tables.rows if row["code"] == "IMAGE")
    assert (image["asset"], image["source_record"]) == (str(path), "row 1")


def test_an_asset_of_a_row_that_is_refused_for_another_column_is_not_used(
    tables: Tables, write_picture: Callable[[Path], Path]
) -> None:
    tables.part["columns"] = [{"code": "IMAGE", "asset": "{image}.jpg"}, AGE]
    used, both, refused = (write_picture(tables.delivery / f"{name}.jpg") for name in ("used", "both", "refused"))
    account = tables.take("who,age,image\n1,50,used\n2,old,refused\n3,old,both\n4,60,both\n")
    assert account.by_format["table"].to_json() == {"in": 4, "used": 2, "refused": 2, "skipped": 0}
    assert account.by_format["image"].to_json() == {"in": 3, "used": 2, "refused": 0, "skipped": 1}
    assert account.skip_reasons == {"image that no record names": 1}
    assert set(read_catalogue(tables.workspace.images)["asset"].to_pylist()) == {str(used), str(both)}
    mended = tables.take("who,age,image\n1,50,used\n2,40,refused\n3,old,both\n4,60,both\n")
    assert mended.by_format["image"].to_json() == {"in": 3, "used": 3, "refused": 0, "skipped": 0}
    assert str(refused) in read_catalogue(tables.workspace.images)["asset"].to_pylist()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..%2fsecret"])
def test_an_asset_outside_the_delivery_is_refused(
    tables: Tables, write_picture: Callable[[Path], Path], name: str
) -> None:
    write_picture(tables.delivery.parent / "secret.jpg")
    tables.part["columns"] = [{"code": "IMAGE", "asset": "{image}.jpg"}]
    account = tables.take(f"who,image\n1,{name}\n")
    assert (account.total.used, account.total.refused) == (0, 1)
    assert tables.rows == []


def test_a_link_out_of_the_delivery_is_not_followed(tables: Tables, write_picture: Callable[[Path], Path]) -> None:
    secret = write_picture(tables.delivery.parent / "secret.jpg")
    (tables.delivery / "a.jpg").symlink_to(secret)
    tables.part["columns"] = [{"code": "IMAGE", "asset": "{image}.jpg"}]
    account = tables.take("who,image\n1,a\n")
    assert (account.total.refused, account.skip_reasons) == (1, {"link that leads out of the delivery": 1})


def test_a_dicom_file_is_no_asset_of_a_table(tables: Tables, write_dicom: Callable[..., Path]) -> None:
    write_dicom(tables.delivery / "a.dcm")
    tables.part["columns"] = [{"code": "IMAGE", "asset": "{image}.dcm"}]
    assert "own patient" in str(tables.take("who,image\n1,a\n").refusals[0])


def test_a_mended_row_is_read_on_the_next_run_and_no_other_twice(tables: Tables) -> None:
    text = "who,age,when\n1,5,2026-03-01T10:00Z\n2,6,2026-03-01T10:00\n"
    tables.part["time"] = {"column": "when"}
    assert tables.take(text).total.refused == 1
    account = tables.take(text, timezone="UTC")
    assert (account.total.used, account.skip_reasons) == (1, {"already ingested": 1})
    assert [row["numeric_value"] for row in tables.rows] == [5.0, 6.0]


def test_another_mapping_of_an_ingested_file_is_refused(tables: Tables) -> None:
    tables.take("who,age\n1,50\n")
    tables.part["columns"] = [{**AGE, "code": "AGE"}]
    with pytest.raises(InputError, match="new workspace"):
        tables.take("who,age\n1,50\n")


def test_a_copy_of_a_table_in_one_delivery_counts_once(tables: Tables) -> None:
    (tables.delivery / "copy.csv").write_text("who,age\n1,50\n")
    account = tables.take("who,age\n1,50\n")
    assert (account.observations, account.skip_reasons) == (1, {"duplicate file": 1})


def test_a_table_that_no_mapping_names_is_skipped(workspace: Workspace, delivery: Path) -> None:
    (delivery / "t.csv").write_text("who,age\n1,50\n")
    assert ingest(workspace, [delivery]).skip_reasons == {"table that no mapping names: .csv": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "images", "subjects", "skipped"),
    [("ham10000", 8131, 8131, 6072, {}), ("covid-cxr", 607, 607, 305, {"modality is not X-ray": 63})],
)
def test_every_row_of_the_real_tables_is_accounted_for(
    workspace: Workspace, name: str, rows: int, images: int, subjects: int, skipped: dict[str, int]
) -> None:
    source = DATA / {"ham10000": "skin-ham10000"}.get(name, name)
    if not source.is_dir():
        pytest.skip(f"{source} is not here")
    account = ingest(workspace, [source], mapping=MAPPINGS / f"{name}.yaml")
    assert account.total.refused == 0
    assert (account.by_format["table"].seen, account.by_format["image"].seen) == (rows, images)
    assert account.subjects == subjects
    assert skipped.items() <= account.skip_reasons.items()


def test_a_file_that_two_parts_of_a_mapping_name_is_refused_not_half_read(tables: Tables) -> None:
    (tables.delivery / "t.csv").write_text("who,age\n1,50\n")
    mapping = tables.delivery.parent / "mapping.yaml"
    mapping.write_text(yaml.safe_dump({"files": [tables.part, {**tables.part, "path": "t.*"}]}))
    with pytest.raises(InputError, match=r"t\.csv, path: expected one part of the mapping for this file, got 2"):
        ingest(tables.workspace, [tables.delivery], mapping=mapping)
    assert not list(tables.workspace.observations.glob("*.parquet"))
