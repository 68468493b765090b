"""File names as they may be shown (FAULTS 37)."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from ingest.account.quarantine import Quarantine
from ingest.delivery.shown_names import ShownName, is_impersonal, without_persons
from ingest.delivery.sources import SourceFile
from ingest.errors import Complaint


@pytest.mark.parametrize(
    "name",
    [
        "delivery/fhir/Patient.ndjson", "ward/imaging/1.dcm", "x/study-2/img001.dcm", "labs.csv", "ct/IM-0001-0023.dcm",
        "validator/bad-json-array.json", "pydicom/OT-PAL-8-face.dcm", "PulseOxBundle_25Oct2022.json", "CT_small.dcm",
        "TC0001_patientname_exact_max.dcm", "icu-eicu-demo/vitalaperiodic.csv.gz", "archive.tar.gz/set-a/12.txt",
        "Fachabteilungsschluessel-erweitert.json", "MR_Brain.dcm", "CT_SMALL.dcm",
    ],
)  # fmt: skip
def test_what_is_not_written_as_people_are_is_shown(name: str) -> None:
    assert ShownName(name) == name


@pytest.mark.parametrize(
    "part",
    ["Archer_Ann", "ARCHER^ANN", "Ann Archer 2", "p0805000137", "19600517", "1960-05-17", "4815162", "O'Neill",
     "王小明", "Müller", "ARCHER ANN B", "ann@home"],
)  # fmt: skip
def test_what_could_be_somebody_is_masked_and_keeps_its_suffix(part: str) -> None:
    """FAULTS 37"""
    shown = ShownName(f"delivery/{part}/{part}.dcm")
    assert part.lower() not in shown.lower()
    assert shown.startswith("delivery/…")
    assert shown.endswith(".dcm")
    assert shown.full == f"delivery/{part}/{part}.dcm"
    assert not is_impersonal(part)


def test_a_name_that_the_delivery_gives_to_a_patient_is_masked_however_it_is_written() -> None:
    """FAULTS 37"""
    people = {"archer", "p-47"}
    for name in ("archer.dcm", "scan-of-archer/1.dcm", "p-47.csv", "x/archer_labs.csv"):
        shown = without_persons(ShownName(name), lambda words: words & people)
        assert "archer" not in shown
        assert "p-47" not in shown
    assert without_persons(ShownName("labs/march.csv"), lambda words: words & people) == "labs/march.csv"


def test_the_full_name_goes_with_it_and_into_quarantine_alone(tmp_path: Path) -> None:
    """FAULTS 37"""
    (tmp_path / "Archer_Ann").mkdir()
    file = SourceFile(tmp_path / "Archer_Ann" / "Archer_Ann.csv", tmp_path / "Archer_Ann")
    for made in (file.name, copy.deepcopy(file.name), pickle.loads(pickle.dumps(file.name))):  # noqa: S301 - our own
        assert made.full == "Archer_Ann/Archer_Ann.csv"
    quarantine = Quarantine(tmp_path, "run")
    quarantine.keep(Complaint(file.name, "row 1", "at", "a time", "another"), "raw")
    quarantine.commit()
    kept = json.loads((tmp_path / "run" / "refused.jsonl").read_text())
    assert kept["path"] == "Archer_Ann/Archer_Ann.csv"
    assert "Archer" not in kept["file"]
