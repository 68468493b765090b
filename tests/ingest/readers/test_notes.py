import datetime as dt
from pathlib import Path

import pytest
import yaml

from ingest.reconciliation import Reconciliation
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

PART = {
    "path": "notes/*.txt",
    "name": r"(?P<subject>\w+)-(?P<time>\d{8})",
    "format": "%Y%m%d",
    "issuer": "lab",
    "code": "NOTE",
}


def take(workspace: Workspace, delivery: Path, part: dict[str, str], timezone: str | None = "UTC") -> Reconciliation:
    mapping = delivery.parent / "m.yaml"
    mapping.write_text(yaml.safe_dump({"notes": [part]}))
    return ingest(workspace, [delivery], mapping=mapping, timezone=timezone)


@pytest.fixture
def notes(delivery: Path) -> Path:
    folder = delivery / "notes"
    folder.mkdir()
    (folder / "p1-20260301.txt").write_text("wheeze, no fever")
    (folder / "p2-20260302.txt").write_text("wheeze, no fever")
    return folder


def test_a_note_s_name_tells_whose_and_when(workspace: Workspace, delivery: Path, notes: Path) -> None:
    account = take(workspace, delivery, PART)
    rows = read_observations(workspace).sort_by("time").to_pylist()
    assert (account.total.used, account.subjects) == (2, 2)
    assert [row["time"] for row in rows] == [dt.datetime(2026, 3, 1), dt.datetime(2026, 3, 2)]  # noqa: DTZ001
    assert rows[0]["text_value"] == "wheeze, no fever"
    again = take(workspace, delivery, PART)
    assert (again.total.used, again.skip_reasons) == (0, {"already ingested": 2})


def test_a_name_that_does_not_fit_and_a_text_that_is_none_are_refused(
    workspace: Workspace, delivery: Path, notes: Path
) -> None:
    (notes / "Ann Archer.txt").write_text("x")
    (notes / "p3-20260303.txt").write_bytes(b"\xff\xfe\xff")
    (notes / "p4-20261303.txt").write_text("x")
    account = take(workspace, delivery, PART)
    assert (account.total.used, account.total.refused) == (2, 3)
    assert {complaint.field for complaint in account.refusals} == {"file name", "", "time"}


def test_a_time_of_day_needs_a_zone(workspace: Workspace, delivery: Path, notes: Path) -> None:
    (notes / "p1-2026030112.txt").write_text("x")
    part = {
        **PART,
        "name": r"(?P<subject>\w+)-(?P<time>\d{10})",
        "path": "notes/*-2026030112.txt",
        "format": "%Y%m%d%H",
    }
    account = take(workspace, delivery, part, timezone=None)
    assert "--timezone" in str(account.refusals[0])


def test_without_a_time_in_the_name_notes_are_static(workspace: Workspace, delivery: Path, notes: Path) -> None:
    take(workspace, delivery, {**PART, "name": r"(?P<subject>\w+)-\d+"})
    assert read_observations(workspace)["time"].null_count == 2
