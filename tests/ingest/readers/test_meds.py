"""MEDS datasets, as they are and as we write them."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds import CodeMetadataSchema, DataSchema, DatasetMetadataSchema, SubjectSplitSchema

from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from ingest.exports.meds import export_meds
from ingest.meaning.vocabulary import Quantity, Vocabulary
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace, create_workspace

AT = dt.datetime(2026, 3, 1, 8)  # noqa: DTZ001 - MEDS stores UTC without a zone


def write_dataset(folder: Path, **changes: Any) -> Path:
    """A MEDS 0.4 dataset of two subjects, valid by the standard's own schema."""
    columns = {
        "subject_id": pa.array([1, 1, 2], pa.int64()),
        "time": pa.array([None, AT, AT], pa.timestamp("us")),
        "code": pa.array(["GENDER//F", "LOINC//8867-4", "NOTE"]),
        "numeric_value": pa.array([None, 80.0, None], pa.float32()),
        "text_value": pa.array([None, None, "well"], pa.large_string()),
        "ward": pa.array(["A", "A", "B"]),
        **changes,
    }
    table = pa.table(columns)
    (folder / "data" / "train").mkdir(parents=True)
    (folder / "metadata").mkdir()
    pq.write_table(table, folder / "data" / "train" / "0.parquet")
    codes = pa.table(
        {"code": ["NOTE"], "description": ["a note"], "parent_codes": pa.array([[]], pa.list_(pa.string()))}
    )
    pq.write_table(codes, folder / "metadata" / "codes.parquet")
    pq.write_table(pa.table({"subject_id": [1], "split": ["train"]}), folder / "metadata" / "subject_splits.parquet")
    (folder / "metadata" / "dataset.json").write_text(json.dumps({"dataset_name": "two", "meds_version": "0.4.1"}))
    return folder


def test_a_dataset_is_read_as_it_is(workspace: Workspace, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "two")
    DataSchema.validate(pq.read_table(source / "data" / "train" / "0.parquet"))
    account = ingest(workspace, [source])
    assert account.by_format["MEDS"].to_json() == {"in": 6, "used": 3, "refused": 0, "skipped": 3}
    assert account.notes == {"column of a MEDS dataset that is not read: ward": 1}
    rows = {row["code"]: row for row in read_observations(workspace).to_pylist()}
    assert rows["GENDER//F"]["time"] is None
    assert (rows["LOINC//8867-4"]["numeric_value"], rows["LOINC//8867-4"]["available_time"]) == (80.0, AT)
    assert (rows["NOTE"]["text_value"], rows["NOTE"]["source_record"]) == ("well", "row 3")
    assert rows["GENDER//F"]["subject_id"] == rows["LOINC//8867-4"]["subject_id"] != rows["NOTE"]["subject_id"]
    assert ingest(workspace, [source]).total.used == 0


def test_the_same_number_in_two_datasets_is_two_subjects(workspace: Workspace, tmp_path: Path) -> None:
    """FAULTS 5, for MEDS."""
    ingest(workspace, [write_dataset(tmp_path / "one")], issuer="urn:a")
    other = {"code": pa.array(["A", "B", "C"])}
    ingest(workspace, [write_dataset(tmp_path / "two", **other)], issuer="urn:b")
    assert len(read_observations(workspace)["subject_id"].unique()) == 4


def test_rows_of_nobody_or_of_nothing_are_refused_and_the_others_read(workspace: Workspace, tmp_path: Path) -> None:
    changes = {
        "subject_id": pa.array([1, None, 2], pa.int64()),
        "code": pa.array(["A", "B", None]),
        "numeric_value": pa.array([float("inf"), 1.0, 1.0], pa.float64()),
    }
    account = ingest(workspace, [write_dataset(tmp_path / "bad", **changes)])
    assert {(c.record, c.field) for c in account.refusals} == {
        ("row 1", "numeric_value"), ("row 2", "subject_id"), ("row 3", "code")
    }  # fmt: skip
    again = ingest(workspace, [tmp_path / "bad"])
    assert again.by_format["MEDS"].to_json() == {"in": 6, "used": 0, "refused": 3, "skipped": 3}


def test_the_vocabulary_judges_numbers_by_their_unit(workspace: Workspace, tmp_path: Path) -> None:
    """FAULTS 15, for MEDS."""
    rate = Quantity("LOINC//8867-4", "heart rate", "/min", plausible=(0, 390), source="test")
    changes = {"numeric_value": pa.array([None, 8000.0, None]), "unit": pa.array([None, "/min", None])}
    source = write_dataset(tmp_path / "two", **changes)
    account = ingest(workspace, [source], vocabulary=Vocabulary({rate.code: rate}))
    assert [c.record for c in account.refusals] == ["row 2"]
    assert len(read_observations(workspace)) == 2


def test_other_types_of_the_same_columns_are_read_too(workspace: Workspace, tmp_path: Path) -> None:
    changes = {
        "subject_id": pa.array([1, 1, 2], pa.int32()),
        "time": pa.array([None, AT, AT], pa.timestamp("ns", "UTC")),
        "code": pa.array(["A", "B", "B"]).dictionary_encode(),
        "numeric_value": pa.array([1, 2, None], pa.float64()),
        "text_value": pa.array([None, None, "x"], pa.string()),
    }
    ingest(workspace, [write_dataset(tmp_path / "two", **changes)])
    assert read_observations(workspace)["code"].to_pylist().count("B") == 2


def test_what_is_written_conforms_and_comes_back_the_same(
    workspace: Workspace, tmp_path: Path, synthetic_cohort: Callable[..., Cohort]
) -> None:
    source = write_dataset(tmp_path / "two", unit=pa.array([None, "/min", None]))
    ingest(workspace, [source])
    out = tmp_path / "out"
    assert export_meds(workspace, out, synthetic_cohort(n=20), "1.0") == (2, 3)
    table = pq.read_table(out / "data" / "0.parquet")
    DataSchema.validate(table)
    order = table.to_pandas()[["subject_id", "time"]]
    assert order.equals(order.sort_values(["subject_id", "time"], na_position="first", kind="stable"))
    CodeMetadataSchema.validate(pq.read_table(out / "metadata" / "codes.parquet"))
    SubjectSplitSchema.validate(pq.read_table(out / "metadata" / "subject_splits.parquet"))
    described = json.loads((out / "metadata" / "dataset.json").read_text())
    DatasetMetadataSchema.validate(described)
    again = create_workspace(tmp_path / "again")
    ingest(again, [out])
    told = ["time", "code", "numeric_value", "text_value", "unit", "available_time"]
    first, second = (read_observations(each).select(told).sort_by("code") for each in (workspace, again))
    assert first.equals(second)


def test_a_subject_is_never_in_two_files(workspace: Workspace, delivery: Path, tmp_path: Path) -> None:
    import ingest.exports.meds

    n = 3000
    subjects = np.sort(np.random.default_rng(0).integers(0, 50, n))
    pq.write_table(
        pa.table({"subject_id": subjects, "time": pa.nulls(n, pa.timestamp("us")), "code": ["A"] * n}),
        delivery / "x.parquet",
    )
    ingest.run.ingest(workspace, [delivery])
    out = tmp_path / "out"
    assert export_meds(workspace, out) == (len(set(subjects.tolist())), n)
    places = [set(pq.read_table(path)["subject_id"].to_pylist()) for path in (out / "data").glob("*.parquet")]
    assert sum(map(len, places)) == len(set().union(*places))


def test_nothing_in_the_way_is_overwritten(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(TelltaleError, match="found something in it"):
        export_meds(workspace, tmp_path / "full")
    with pytest.raises(TelltaleError, match="expected observations, found none"):
        export_meds(workspace, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_part_of_the_observation_table_is_valid_meds(workspace: Workspace, tmp_path: Path) -> None:
    ingest(workspace, [write_dataset(tmp_path / "two")])
    DataSchema.validate(pq.read_table(next(workspace.observations.glob("*.parquet"))))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("subject_id", pa.array(["a", "b", "c"])),
        ("subject_id", pa.array([2**64 - 1, 1, 2], pa.uint64())),
        ("time", pa.array([AT.date()] * 3)),
        ("code", pa.array([b"a", b"b", b"c"])),
        ("numeric_value", pa.array(["1", "2", "x"])),
        ("text_value", pa.array([1, 2, 3])),
    ],
)
def test_a_column_of_another_type_is_refused_by_its_name(
    workspace: Workspace, delivery: Path, name: str, column: pa.Array
) -> None:
    write_dataset(delivery, **{name: column})
    account = ingest(workspace, [delivery])
    (refusal,) = account.refusals
    assert (refusal.field, refusal.got) == (name, str(column.type))
    assert account.total.used == 0


def test_numbers_of_other_types_are_read(workspace: Workspace, delivery: Path) -> None:
    write_dataset(delivery, numeric_value=pa.array([2**60, 80, None], pa.int64()))
    ingest(workspace, [delivery])
    values = {row["code"]: row["numeric_value"] for row in read_observations(workspace).to_pylist()}
    assert values == {"GENDER//F": 2.0**60, "LOINC//8867-4": 80.0, "NOTE": None}


def test_clocks_that_disagree_are_noted_and_refused_beyond_a_day(workspace: Workspace, delivery: Path) -> None:
    """FAULTS 11."""
    known = [AT, AT - dt.timedelta(hours=1), AT - dt.timedelta(days=2)]
    write_dataset(delivery, available_time=pa.array(known, pa.timestamp("us")))
    account = ingest(workspace, [delivery])
    assert [(each.record, each.got) for each in account.refusals] == [("row 3", "one known 2 days before")]
    assert [count for note, count in account.notes.items() if note.startswith("clocks disagree: measured 1 h")] == [1]
    row = next(row for row in read_observations(workspace).to_pylist() if row["code"] == "LOINC//8867-4")
    assert row["available_time"] == AT


def test_a_day_on_which_a_value_became_known_counts_from_its_end(workspace: Workspace, delivery: Path) -> None:
    write_dataset(delivery, available_time=pa.array([AT.date()] * 3))
    ingest(workspace, [delivery])
    row = next(row for row in read_observations(workspace).to_pylist() if row["code"] == "NOTE")
    assert row["available_time"] == dt.datetime(2026, 3, 2)  # noqa: DTZ001
