"""File names as they may be shown (FAULTS 37)."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from ingest.errors import Complaint
from ingest.quarantine import Quarantine
from ingest.shown_names import ShownName, is_impersonal
from ingest.sources import SourceFile


@pytest.mark.parametrize(
    "name", ["delivery/fhir/Patient.ndjson", "ward/imaging/1.dcm", "x/study-2/img001.dcm", "labs.csv"]
)
def test_words_of_deliveries_and_short_numbers_are_shown(name: str) -> None:
    assert ShownName(name) == name


@pytest.mark.parametrize(
    "part", ["Archer_Ann", "archer", "p0805000137", "19600517", "4815162", "O'Neill", "王小明", "Karl 2"]
)
def test_what_could_be_somebody_is_masked_and_keeps_its_suffix(part: str) -> None:
    """FAULTS 37"""
    shown = ShownName(f"delivery/{part}/{part}.dcm")
    assert part.lower() not in shown.lower()
    assert shown.startswith("delivery/…")
    assert shown.endswith(".dcm")
    assert shown.full == f"delivery/{part}/{part}.dcm"
    assert not is_impersonal(part)


def test_the_full_name_goes_with_it_and_into_quarantine_alone(tmp_path: Path) -> None:
    """FAULTS 37"""
    (tmp_path / "archer").mkdir()
    file = SourceFile(tmp_path / "archer" / "archer.csv", tmp_path / "archer")
    for made in (file.name, copy.deepcopy(file.name), pickle.loads(pickle.dumps(file.name))):  # noqa: S301 - our own
        assert made.full == "archer/archer.csv"
    quarantine = Quarantine(tmp_path, "run")
    quarantine.keep(Complaint(file.name, "row 1", "at", "a time", "another"), "raw")
    quarantine.commit()
    kept = json.loads((tmp_path / "run" / "refused.jsonl").read_text())
    assert kept["path"] == "archer/archer.csv"
    assert "archer" not in kept["file"]
