import datetime as dt
from pathlib import Path

import pytest
import yaml

from ingest.account.reconciliation import Reconciliation
from ingest.meaning.times import DATE_NOTE
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


def test_a_note_of_a_date_is_known_from_the_end_of_its_day(workspace: Workspace, delivery: Path, notes: Path) -> None:
    account = take(workspace, delivery, PART, "Europe/Berlin")
    row = read_observations(workspace).sort_by("time").to_pylist()[0]
    assert (row["time"], row["available_time"]) == (dt.datetime(2026, 2, 28, 23), dt.datetime(2026, 3, 1, 23))  # noqa: DTZ001
    assert account.notes == {DATE_NOTE: 2}


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


@pytest.mark.parametrize(
    ("encoding", "bytes_of"),
    [
        ("utf-8", "fièvre 39,5 °C".encode()),
        ("utf-8", "fièvre 39,5 °C".encode("utf-8-sig")),
        ("utf-8", "fièvre 39,5 °C".encode("utf-16")),
        ("utf-8", "fièvre 39,5 °C".encode("utf-32")),
        ("latin-1", "fièvre 39,5 °C".encode("latin-1")),
        ("latin-1", "fièvre 39,5 °C".encode("utf-8-sig")),
    ],
)
def test_a_note_is_read_in_the_encoding_that_it_or_the_mapping_states(
    workspace: Workspace, delivery: Path, notes: Path, encoding: str, bytes_of: bytes
) -> None:
    (notes / "p9-20260305.txt").write_bytes(bytes_of)
    take(workspace, delivery, {**PART, "path": "notes/p9*.txt", "encoding": encoding})
    assert read_observations(workspace)["text_value"].to_pylist() == ["fièvre 39,5 °C"]


def test_latin_1_is_not_guessed(workspace: Workspace, delivery: Path, notes: Path) -> None:
    (notes / "p9-20260305.txt").write_bytes("fièvre".encode("latin-1"))
    account = take(workspace, delivery, PART)
    assert (account.total.used, account.total.refused) == (2, 1)
    assert "expected text in UTF-8, got bytes that are none; state `encoding` in the mapping" in str(
        account.refusals[0]
    )


def test_an_empty_note_is_skipped_and_binary_data_refused(workspace: Workspace, delivery: Path, notes: Path) -> None:
    (notes / "p8-20260305.txt").write_text(" \n\t ")
    (notes / "p9-20260305.txt").write_bytes(b"\x00\x01\x02")
    account = take(workspace, delivery, PART)
    assert account.skip_reasons == {"note without text": 1}
    assert "expected text, got binary data" in str(account.refusals[0])
    assert (account.total.seen, account.total.used, account.total.refused) == (4, 2, 1)


def test_a_note_that_is_too_large_is_refused_not_cut(
    workspace: Workspace, delivery: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.readers.notes.MAX_NOTE_BYTES", 20)
    (notes / "p9-20260305.txt").write_text("x" * 21)
    account = take(workspace, delivery, PART)
    assert "expected a note of at most 20 bytes, got more; split it: a note is never cut" in str(account.refusals[0])
    assert account.total.used == 2
