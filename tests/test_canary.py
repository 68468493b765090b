"""FAULTS 37: what identifies a person is in no output, log, account or file name; a planted canary is found nowhere."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).parents[1]
NAME, NUMBER, BORN, PHONE = "Kanarienvogel", "K4815162342", "1933-03-22", "030 4815162"
CANARIES = (NAME, NUMBER, BORN, BORN.replace("-", ""), PHONE, NUMBER[1:])
ALLOWED = ("identities", "quarantine", "observations", "incoming", "unpacked")
MAPPING = """
files:
  - path: "*labs*.csv"
    subject: {column: mrn, issuer: "urn:oid:1.2.3"}
    time: {column: at}
    columns: [{code: LOINC//2524-7, column: lactate, kind: numeric, unit: mmol/L}]
"""


def dicom(path: Path, **changes: Any) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = NUMBER, f"{NAME}^Karl", BORN.replace("-", "")
    dataset.Modality, dataset.AcquisitionDate, dataset.AcquisitionTime = "DX", "20260301", "120000"
    dataset.IssuerOfPatientID, dataset.TimezoneOffsetFromUTC = "urn:oid:1.2.3", "+0100"
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.arange(64, dtype="<u2").tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def delivery(folder: Path) -> Path:
    """A delivery that is right in part and wrong in many ways, with the canary wherever people write names."""
    inside = folder / f"{NAME}_Karl_{NUMBER}"
    dicom(inside / f"{NAME}.dcm")
    dicom(inside / f"{NAME}-2.dcm", PatientName="Other^Person", PatientID=NUMBER)
    dicom(inside / f"{NUMBER}-no-time.dcm", AcquisitionDate="")
    dicom(inside / f"{NAME}-sr.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    (inside / f"{NAME}-cut.dcm").write_bytes((inside / f"{NAME}.dcm").read_bytes()[:-60])
    (inside / f"{NAME}.docx").write_bytes(NAME.encode())
    (inside / f"labs-{NAME}.csv").write_text(
        f"mrn,at,lactate,name\n{NUMBER},2026-03-01T10:00Z,1.5,{NAME}\n{NUMBER},2026-03-01T11:00Z,{NAME},x\n"
        f"{NUMBER},{NAME},1.5,x\n,2026-03-01T10:00Z,2,{NAME}\n"
    )
    note = f"{NAME} Karl, MRN {NUMBER}, born {BORN}, call {PHONE}. Lactate 1.5, stable."
    patient = {
        "resourceType": "Patient",
        "id": NUMBER,
        "identifier": [{"system": "urn:oid:1.2.3", "value": NUMBER}],
        "name": [{"family": NAME, "given": ["Karl"]}],
        "birthDate": BORN,
        "telecom": [{"value": PHONE}],
    }
    document = {
        "resourceType": "DocumentReference",
        "id": f"d-{NAME}",
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "34117-2"}]},
        "date": "2026-03-01T10:00:00Z",
        "subject": {"reference": f"Patient/{NUMBER}", "display": NAME},
        "content": [{"attachment": {"contentType": "text/plain", "data": base64.b64encode(note.encode()).decode()}}],
    }
    lines: list[Any] = [
        patient,
        document,
        {**document, "id": f"e-{NAME}", "subject": {"reference": f"Patient/{NAME}"}},
        {**document, "id": f"f-{NAME}", "date": NAME},
        {**patient, "name": [{"family": "Another"}], "birthDate": "1950-01-01"},
        {"resourceType": "Observation", "id": NAME, "subject": {"reference": f"Patient/{NUMBER}"}, "valueString": note},
        {"resourceType": NAME, "id": NUMBER},
    ]
    (inside / f"{NAME}.ndjson").write_bytes(b"\n".join([*map(orjson.dumps, lines), f'{{"{NAME}'.encode()]) + b"\n")
    (folder / "mapping.yaml").write_text(MAPPING)
    return folder


def run(place: Path, *words: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "TELLTALE_DEBUG"}
    ended = subprocess.run(
        [sys.executable, "-m", "serve.cli", *words],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said, said
    assert "defect of Telltale" not in said, said
    return said


def sightings(folder: Path, *, apart: tuple[str, ...] = ()) -> list[str]:
    """Where a canary is, in names and in contents (databases and pictures too), outside what may have it."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        for canary in CANARIES:
            if canary.lower() in relative.lower() and not relative.startswith(apart):
                found.append(f"name of {relative}: {canary}")
            if path.is_file() and not relative.startswith(apart):
                content = path.read_bytes().lower()
                if canary.lower().encode() in content or canary.encode("utf-16-le") in content:
                    found.append(f"{relative}: {canary}")
    return found


def in_text(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary.lower() in text.lower()]


@pytest.mark.slow
def test_a_planted_canary_is_found_nowhere(tmp_path: Path) -> None:
    """FAULTS 37"""
    delivery(tmp_path / "given")
    said = run(tmp_path, "ingest", "given", "--mapping", "given/mapping.yaml", "-w", "workspace")
    assert "refused" in said
    assert in_text(said) == [], said
    for words in (
        ("align", "-t", "deterioration", "-w", "workspace"),
        ("trace", "nobody", "-t", "deterioration", "-w", "workspace"),
    ):
        assert in_text(run(tmp_path, *words)) == []
    # The ledger is no account: it knows records again by the ids that their source gave them.
    assert sightings(tmp_path / "workspace", apart=(*ALLOWED, "images", "ingests/ledger.db")) == []


@pytest.mark.slow
def test_a_de_identified_delivery_and_its_account_are_free_of_it(tmp_path: Path) -> None:
    """FAULTS 37"""
    delivery(tmp_path / "given")
    said = run(tmp_path, "deidentify", "given", "out", "--mapping", "given/mapping.yaml")
    assert in_text(said) == [], said
    assert "written" in said
    assert sightings(tmp_path / "out") == []
    assert list((tmp_path / "out" / "images").iterdir())
    texts = [
        base64.b64decode(each["content"][0]["attachment"]["data"]).decode()
        for path in (tmp_path / "out" / "records").iterdir()
        for each in map(orjson.loads, path.read_bytes().splitlines())
        if each["resourceType"] == "DocumentReference"
    ]
    assert texts
    assert in_text("".join(texts)) == []
    assert all("Lactate 1.5, stable" in text for text in texts)
    assert (tmp_path / "out-key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out-held").stat().st_mode & 0o777 == 0o700
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    run(tmp_path, "deidentify", "given", "out", "--mapping", "given/mapping.yaml")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == first
