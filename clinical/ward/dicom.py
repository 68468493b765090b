"""Radiographs of the ward as DICOM files: Digital X-Ray Image Storage - For Presentation.

Two simulated devices: one stores MONOCHROME2, the other MONOCHROME1 (dense tissue is stored as low values, and
Presentation LUT Shape is INVERSE), in about 30 % of the studies. Every UID follows from the seed.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from clinical.ward.measurements import GIVEAWAY
from clinical.ward.radiographs import FULL_SCALE, SIZE, Signs, radiograph, signs
from clinical.ward.stays import INDEX_HOURS, ISSUER_OID, Stay

INVERTING = 0.3  # share of the studies from the device that stores MONOCHROME1
SPACING_MM = 0.9  # of the detector's pixels


@dataclass(frozen=True)
class Device:
    """An X-ray system."""

    manufacturer: str
    model: str
    serial: str
    station: str
    photometric: str
    grid: bool


DEVICES = (
    Device("Lumenbox", "Wallstand 2", "LB-20411", "XR-WALL", "MONOCHROME2", True),
    Device("Raywright", "Trolley S", "RW-00937", "XR-MOBILE", "MONOCHROME1", False),
)


def write_studies(stay: Stay, folder: Path) -> int:
    """Write the study made before the index time, where there is one, and for some patients one made after it."""
    rng, taken = _films(stay)
    for number, (hour, reading) in enumerate(taken):
        device = _draw_device(rng)
        dataset = radiograph_dataset(stay, number, stay.after_admission(hour), device, radiograph(reading, rng))
        path = folder / stay.fhir_id / f"study-{number + 1}" / "1.dcm"
        path.parent.mkdir(parents=True)
        dataset.save_as(path, enforce_file_format=True)
    return len(taken)


def film_before_index(stay: Stay) -> tuple[float, Signs] | None:
    """(hours after admission, what it shows) of the study made before the index time; None where there is none."""
    rng, taken = _films(stay)
    if not stay.has["xray"]:
        return None
    _draw_device(rng)
    hour, reading = taken[0]
    return hour, signs(reading, rng)


def _films(stay: Stay) -> tuple[np.random.Generator, list[tuple[float, float]]]:
    """(the generator that then draws them, (hours after admission, reading) of each)."""
    rng = stay.generator(7)
    hour = float(rng.uniform(0.5, min(20.0, stay.hours - 1.0)))
    later = INDEX_HOURS + float(rng.uniform(0.5, 12.0))
    taken = []
    if stay.has["xray"]:
        taken.append((hour, stay.readings["xray"]))
    if rng.random() < 0.08 and later < stay.hours:
        taken.append((later, stay.readings["xray"] + (GIVEAWAY if stay.outcome else 0.0)))
    return rng, taken


def _draw_device(rng: np.random.Generator) -> Device:
    return DEVICES[int(rng.random() < INVERTING)]


def radiograph_dataset(
    stay: Stay, number: int, taken: datetime, device: Device, pixels: npt.NDArray[np.uint16]
) -> Dataset:
    """The DICOM object of one image; `pixels` (SIZE, SIZE) has dense tissue bright."""
    ds = Dataset()
    _identify(ds, stay)
    _describe_study(ds, stay, number, taken)
    _describe_equipment(ds, device)
    _describe_position(ds)
    _add_pixels(ds, device, pixels)
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = _uid(stay, f"image {number}")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.TimezoneOffsetFromUTC = taken.strftime("%z")
    ds.InstanceCreationDate, ds.InstanceCreationTime = _date_and_time(taken + timedelta(seconds=20))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _identify(ds: Dataset, stay: Stay) -> None:
    """The patient, under the same identifier and issuer as in FHIR."""
    ds.PatientName = f"{stay.family}^{stay.given}"
    ds.PatientID = stay.identifier
    ds.IssuerOfPatientID = "TELLTALE DEMO HOSPITAL"
    qualifiers = Dataset()
    qualifiers.UniversalEntityID = ISSUER_OID
    qualifiers.UniversalEntityIDType = "ISO"
    ds.IssuerOfPatientIDQualifiersSequence = [qualifiers]
    ds.PatientBirthDate = stay.birth.strftime("%Y%m%d")
    ds.PatientSex = {"female": "F", "male": "M"}[stay.sex]
    ds.PatientAge = f"{int(stay.age_years):03d}Y"


def _describe_study(ds: Dataset, stay: Stay, number: int, taken: datetime) -> None:
    ds.StudyInstanceUID = _uid(stay, f"study {number}")
    ds.SeriesInstanceUID = _uid(stay, f"series {number}")
    ds.StudyID = f"S{number + 1}"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.AccessionNumber = f"X{stay.identifier}{number}"
    ds.StudyDescription = "Chest, one view"
    ds.SeriesDescription = "Chest AP"
    ds.ReferringPhysicianName = ""
    ds.StudyDate, ds.StudyTime = _date_and_time(taken - timedelta(seconds=90))
    ds.SeriesDate, ds.SeriesTime = _date_and_time(taken - timedelta(seconds=30))
    ds.AcquisitionDate, ds.AcquisitionTime = _date_and_time(taken)
    ds.ContentDate, ds.ContentTime = _date_and_time(taken + timedelta(seconds=5))
    ds.Modality = "DX"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.AcquisitionContextSequence = []


def _describe_equipment(ds: Dataset, device: Device) -> None:
    ds.Manufacturer = device.manufacturer
    ds.ManufacturerModelName = device.model
    ds.DeviceSerialNumber = device.serial
    ds.SoftwareVersions = "1.0"
    ds.InstitutionName = "Telltale Demo Hospital (simulated)"
    ds.StationName = device.station
    ds.DetectorType = "SCINTILLATOR"
    ds.ImagerPixelSpacing = [SPACING_MM, SPACING_MM]


def _describe_position(ds: Dataset) -> None:
    """The chest from the front, unpaired, patient's left at the image's right."""
    ds.BodyPartExamined = "CHEST"
    ds.PositionerType = "NONE"
    ds.ViewPosition = "AP"
    ds.ImageLaterality = "U"
    ds.PatientOrientation = ["L", "F"]
    ds.AnatomicRegionSequence = [_code("43799004", "SCT", "Thorax")]
    ds.ViewCodeSequence = [_code("399348003", "SCT", "antero-posterior")]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []


def _add_pixels(ds: Dataset, device: Device, pixels: npt.NDArray[np.uint16]) -> None:
    """12 bits in 16, with the window that shows all of the image."""
    low, high = (float(value) for value in np.percentile(pixels[::4, ::4], [0.5, 99.8]))
    inverse = device.photometric == "MONOCHROME1"
    stored = (FULL_SCALE - pixels).astype("<u2") if inverse else pixels.astype("<u2")
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = device.photometric
    ds.Rows, ds.Columns = SIZE, SIZE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if inverse else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    ds.WindowCenter = round(FULL_SCALE - (low + high) / 2 if inverse else (low + high) / 2)
    ds.WindowWidth = round(high - low)
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    ds.PixelData = stored.tobytes()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _date_and_time(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def _uid(stay: Stay, name: str) -> str:
    """A UID of the 2.25 kind, from the seed, the patient and the name of the thing."""
    digest = hashlib.sha256(f"{stay.seed}/{stay.identifier}/{name}".encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest)}"
