from pathlib import Path

import pytest

from ingest.account.ledger import KnownFile, Ledger, retired_records


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "parts").mkdir()
    return tmp_path / "ingests", tmp_path / "parts"


def made(places: tuple[Path, Path], run: str, entries: dict[str, str]) -> None:
    """A run that happened: its entries saved, its part written."""
    ledger = Ledger(*places)
    ledger.enter_all("record", entries)
    ledger.save(run)
    ledger.close()
    (places[1] / f"{run}.parquet").touch()


def test_the_latest_run_decides_and_this_run_before_earlier_ones(places: tuple[Path, Path]) -> None:
    made(places, "run1", {"a": "1", "b": "1"})
    made(places, "run2", {"a": "2"})
    ledger = Ledger(*places)
    assert (ledger.earlier("record", "a"), ledger.earlier("record", "b")) == ("2", "1")
    assert (ledger.current("record", "a"), ledger.earlier("other", "a")) == (None, None)
    ledger.enter("record", "a", "3")
    assert (ledger.current("record", "a"), ledger.either("record", "a"), ledger.earlier("record", "a")) == (
        "3",
        "3",
        "2",
    )
    assert ledger.find("record", ["a", "b", "absent"]) == {"a": ("3", True), "b": ("1", False)}
    ledger.close()


def test_a_run_without_its_part_is_forgotten(places: tuple[Path, Path]) -> None:
    made(places, "run1", {"a": "1"})
    killed = Ledger(*places)
    killed.enter("record", "a", "2")
    killed.enter_file("sha", "table", 5)
    killed.retire("f.csv@1", "row 1", "corrected")
    killed.save("run2")
    killed.close()
    assert retired_records(*places) == []
    ledger = Ledger(*places)
    assert (ledger.earlier("record", "a"), ledger.file("sha")) == ("1", None)
    ledger.close()
    (places[1] / "run2.parquet").touch()
    assert retired_records(*places) == []


def test_what_was_not_saved_is_forgotten(places: tuple[Path, Path]) -> None:
    ledger = Ledger(*places)
    ledger.enter("record", "a", "1")
    ledger.close()
    assert Ledger(*places).earlier("record", "a") is None


def test_a_file_is_known_with_its_refused_records(places: tuple[Path, Path]) -> None:
    ledger = Ledger(*places)
    ledger.enter_file("sha", "reading", 7, frozenset({"row 2", "row 5"}))
    known = KnownFile("reading", 7, frozenset({"row 2", "row 5"}))
    assert (ledger.file("sha"), ledger.current_file("sha")) == (None, known)
    ledger.save("run1")
    ledger.close()
    (places[1] / "run1.parquet").touch()
    again = Ledger(*places)
    assert again.file("sha") == known
    again.enter_file("sha", "reading", 7, frozenset({"row 2", "row 5"}))
    assert not again.is_new
    again.enter_file("sha", "reading", 7, frozenset({"row 2"}))
    assert again.is_new
    again.close()


def test_only_what_differs_from_the_latest_value_is_new(places: tuple[Path, Path]) -> None:
    made(places, "run1", {"a": "1"})
    made(places, "run2", {"a": "2"})
    ledger = Ledger(*places)
    assert not ledger.is_new
    ledger.enter("record", "a", "2")
    assert not ledger.is_new
    ledger.enter("record", "a", "1")
    assert ledger.is_new
    ledger.close()


def test_retired_records_are_told_with_their_run(places: tuple[Path, Path]) -> None:
    ledger = Ledger(*places)
    ledger.retire("f.csv@1", "row 1", "corrected")
    assert ledger.is_new
    ledger.save("run1")
    ledger.close()
    (places[1] / "run1.parquet").touch()
    assert retired_records(*places) == [("f.csv@1", "row 1", "corrected", "run1")]
