"""The ward's radiographs as DICOM: valid, readable by others, and about the same person as the FHIR files."""

import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson
import pydicom
import pytest

from clinical.demo import make_ward
from ingest.files import sha256_of


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dicom") / "ward"
    make_ward(out, 30, 2)
    return out


@pytest.fixture(scope="module")
def images(ward: Path) -> list[Path]:
    return sorted((ward / "imaging").rglob("*.dcm"))


def test_dciodvfy_finds_no_error(images: list[Path]) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    kinds = {pydicom.dcmread(path, specific_tags=["PhotometricInterpretation"])[0x00280004].value for path in images}
    assert kinds == {"MONOCHROME1", "MONOCHROME2"}
    for path in images:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "DXImageForPresentation" in said
        assert "Error" not in said


def test_dcmdump_reads_them(images: list[Path]) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("dcmdump is not installed (Debian's dcmtk)")
    said = subprocess.run(["dcmdump", "+P", "Modality", str(images[0])], capture_output=True, text=True, check=True)
    assert "[DX]" in said.stdout
    assert said.stderr == ""


def test_the_patient_is_the_one_of_the_fhir_files(ward: Path, images: list[Path]) -> None:
    lines = (ward / "fhir" / "Patient.ndjson").read_bytes().splitlines()
    patients = {one["identifier"][0]["value"]: one for one in map(orjson.loads, lines)}
    for path in images:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        patient = patients[ds.PatientID]
        qualifiers = ds.IssuerOfPatientIDQualifiersSequence[0]
        assert f"urn:oid:{qualifiers.UniversalEntityID}" == patient["identifier"][0]["system"]
        assert qualifiers.UniversalEntityIDType == "ISO"
        assert datetime.strptime(ds.PatientBirthDate + "Z", "%Y%m%d%z").date().isoformat() == patient["birthDate"]
        assert {"F": "female", "M": "male"}[ds.PatientSex] == patient["gender"]
        assert str(ds.PatientName) == f"{patient['name'][0]['family']}^{patient['name'][0]['given'][0]}"


def test_the_time_of_acquisition_lies_in_the_stay(ward: Path, images: list[Path]) -> None:
    lines = (ward / "fhir" / "Encounter.ndjson").read_bytes().splitlines()
    stays = {one["id"][1:]: one["period"] for one in map(orjson.loads, lines) if one["class"]["code"] == "IMP"}
    for path in images:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        written = ds.AcquisitionDate + ds.AcquisitionTime + ds.TimezoneOffsetFromUTC
        taken = datetime.strptime(written, "%Y%m%d%H%M%S%z")
        period = stays[ds.PatientID]
        assert datetime.fromisoformat(period["start"]) < taken < datetime.fromisoformat(period["end"])


def test_both_devices_show_the_same_once_inverted(images: list[Path]) -> None:
    for path in images:
        ds = pydicom.dcmread(path)
        pixels = ds.pixel_array.astype(np.int64)
        assert (
            ds.PresentationLUTShape
            == {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}[ds.PhotometricInterpretation]
        )
        assert pixels.max() <= 4095
        shown = 4095 - pixels if ds.PhotometricInterpretation == "MONOCHROME1" else pixels
        upper_lung, heart = shown[110:140, 95:125].mean(), shown[235:260, 190:220].mean()
        assert heart - upper_lung > 800
        low, high = ds.WindowCenter - ds.WindowWidth / 2, ds.WindowCenter + ds.WindowWidth / 2
        assert ((pixels >= low - 1) & (pixels <= high + 1)).mean() > 0.98


def test_identifiers_are_unique_and_of_legal_length(images: list[Path]) -> None:
    found: list[str] = []
    for path in images:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        found += [ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID]
    assert len(found) == len(set(found))
    assert max(map(len, found)) <= 64
    assert len({sha256_of(path) for path in images}) == len(images)
