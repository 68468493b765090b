"""A delivery's files, made by hand: FHIR lines, DICOM files, pictures, sounds, tables."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ingest.workspace import Workspace, create_workspace

SYSTEM = "urn:oid:1.2.3"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "workspace")


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    folder = tmp_path / "delivery"
    folder.mkdir()
    return folder


@pytest.fixture
def write_lines() -> Callable[[Path, Iterable[Any]], Path]:
    """Resources (or raw bytes) as lines of an ndjson file."""

    def write(path: Path, resources: Iterable[Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [each if isinstance(each, bytes) else orjson.dumps(each) for each in resources]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return write


@pytest.fixture
def patient() -> Callable[..., dict[str, Any]]:
    """A Patient resource; the first is Ann Archer, MRN 1."""

    def make(number: str = "1", family: str = "Archer", given: str = "Ann", **changes: Any) -> dict[str, Any]:
        return {
            "resourceType": "Patient",
            "id": f"p{number}",
            "identifier": [{"system": SYSTEM, "value": number}],
            "name": [{"family": family, "given": [given]}],
            "gender": "female",
            "birthDate": "1960-05-17",
            **changes,
        }

    return make


@pytest.fixture
def observation() -> Callable[..., dict[str, Any]]:
    """A heart rate of patient 1."""

    def make(identifier: str = "o1", about: str = "p1", value: float = 80.0, **changes: Any) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "id": identifier,
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "subject": {"reference": f"Patient/{about}"},
            "effectiveDateTime": "2026-03-01T10:00:00+01:00",
            "issued": "2026-03-01T10:05:00+01:00",
            "valueQuantity": {
                "value": value,
                "unit": "beats/min",
                "system": "http://unitsofmeasure.org",
                "code": "/min",
            },
            **changes,
        }

    return make


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    """A radiograph of Ann Archer, MRN 1, as a DICOM file; keywords change or (None) remove elements."""

    def write(path: Path, pixels: Any = None, **changes: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.arange(64, dtype=np.uint16).reshape(8, 8) if pixels is None else np.asarray(pixels)
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = DX, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.PatientID, dataset.PatientName = "1", "Archer^Ann"
        dataset.PatientBirthDate, dataset.PatientSex = "19600517", "F"
        issuer = Dataset()
        issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
        dataset.IssuerOfPatientIDQualifiersSequence = [issuer]
        dataset.Modality, dataset.ViewPosition = "DX", "PA"
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20260301", "120000"
        dataset.TimezoneOffsetFromUTC = "+0100"
        dataset.Rows, dataset.Columns = values.shape[:2]
        dataset.SamplesPerPixel = values.shape[2] if values.ndim == 3 else 1
        dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
        if values.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = 8 * values.dtype.itemsize
        dataset.BitsStored = dataset.BitsAllocated
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
        dataset.PixelData = values.tobytes()
        dataset["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
        _change(dataset, changes)
        return _saved(dataset, path)

    return write


@pytest.fixture
def write_picture() -> Callable[[Path], Path]:
    """A small JPEG, each with a content of its own."""

    def write(path: Path) -> Path:
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        shade = sum(path.name.encode()) % 256
        Image.new("RGB", (6, 4), (shade, 10, 200)).save(path)
        return path

    return write


@pytest.fixture
def write_sound() -> Callable[[Path], Path]:
    """A second of a tone as WAV."""

    def write(path: Path) -> Path:
        import soundfile

        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.sin(np.arange(4000) / 5.0) * 0.5, 4000)
        return path

    return write


@pytest.fixture
def write_ecg() -> Callable[..., Path]:
    """Two seconds of leads I, II and V1 at 500 Hz as a DICOM waveform, and a median beat derived from them.

    Keywords change or (None) remove elements of the first group; samples (T, 3) int16 replace its signal.
    """

    def code(value: str, meaning: str, scheme: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item

    def group(samples: Any, originality: str, padding: int | None) -> Dataset:
        item, leads = Dataset(), [("2:1", "Lead I", "uV"), ("2:2", "Lead II", "uV"), ("X", "ECG Lead V1", "mV")]
        item.WaveformOriginality, item.SamplingFrequency = originality, 500
        item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = 3, len(samples)
        item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 16, "SS"
        if padding is not None:
            item.add_new(0x5400100A, "OW", padding.to_bytes(2, "little", signed=True))
        item.ChannelDefinitionSequence = []
        for value, meaning, unit in leads:
            channel = Dataset()
            channel.ChannelSourceSequence = [code(value, meaning, "MDC")]
            channel.ChannelSensitivity = 2.5 if unit == "uV" else 0.0025
            channel.ChannelSensitivityUnitsSequence = [code(unit, unit, "UCUM")]
            channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 1.1, 7 if unit == "uV" else 0
            channel.WaveformBitsStored = 16
            item.ChannelDefinitionSequence.append(channel)
        item.add_new(0x54001010, "OW", np.ascontiguousarray(samples, "<i2").tobytes())
        return item

    def write(
        path: Path, samples: Any = None, *, derived_first: bool = False, padding: int | None = None, **changes: Any
    ) -> Path:
        if samples is None:
            samples = np.random.default_rng(0).normal(0, 100, (1000, 3)).round()
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.PatientID, dataset.PatientName, dataset.Modality = "1", "Archer^Ann", "ECG"
        dataset.AcquisitionDateTime, dataset.TimezoneOffsetFromUTC = "20260301120000", "+0100"
        groups = [group(samples, "ORIGINAL", padding), group(np.ones((300, 3)), "DERIVED", None)]
        _change(groups[0], changes)
        dataset.WaveformSequence = groups[::-1] if derived_first else groups
        return _saved(dataset, path)

    return write


def _change(dataset: Dataset, changes: dict[str, Any]) -> None:
    """Set elements by keyword; None removes one."""
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


def _saved(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path
