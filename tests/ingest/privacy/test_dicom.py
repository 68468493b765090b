"""De-identified DICOM: nothing of the person is left, and nothing of the course is lost."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ingest.privacy.dicom import _table, moved
from ingest.privacy.dicom_files import without_comments
from ingest.privacy.keys import Keys
from ingest.privacy.run import deidentify

CANARY = "Kanarienvogel"
DIGITS = "48151623420"
KEYS = Keys.of_secret(b"a secret")
TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE", "UR"}
UIDS = "2.25.4815162342"  # the root of every UID that is planted


def planted(tag: int, vr: str) -> Any:
    """A value of the representation that says who somebody is."""
    if vr == "PN":
        return f"{CANARY}^Karl=カナリア^{CANARY}=카나리아"
    if vr in ("CS", "AE", "SH"):
        return CANARY[:16].upper() if vr == "CS" else CANARY[:16]
    if vr == "UR":
        return f"urn:{CANARY}:{DIGITS}"
    if vr in TEXTS:
        return f"{CANARY} {DIGITS}"
    if vr == "UI":
        return f"{UIDS}.{tag}"
    if vr == "DA":
        return "19330322"
    if vr == "DT":
        return "19330322101112"
    if vr == "TM":
        return "101112"
    if vr in ("DS", "IS"):
        return DIGITS[:10] if vr == "IS" else DIGITS
    if vr == "AS":
        return "093Y"
    if vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return (CANARY + "   ").encode() + DIGITS.encode() + b"     "
    return None


def full_of_names(path: Path, base: Path) -> pydicom.Dataset:
    """The file at `base`, with a canary in every attribute of the table that can hold one, and elsewhere."""
    dataset = pydicom.dcmread(base)
    exact, repeating = _table()
    nested = Dataset()
    for tag in [*exact, *((group | 2) << 16 | element for group, element, _, _ in repeating)]:
        try:
            vr = dictionary_VR(tag).split(" ")[0]
        except KeyError:
            continue
        if (
            tag == 0x00420011
            or tag >> 16 in (0, 2, 0x7FE0)
            or tag > 0x7FE00000
            or (value := planted(tag, vr)) is None
            or tag in dataset
        ):
            continue
        if tag not in (0x00080018, 0x00080016):
            dataset.add_new(tag, vr, value)
            nested.add_new(tag, vr, value)
    nested.add_new(0x00111001, "LO", CANARY)
    dataset.PatientName, dataset.PatientBirthDate = planted(0, "PN"), "19330322"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.RequestAttributesSequence = Sequence([nested])
    dataset.ReferencedImageSequence = Sequence([Dataset()])
    dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID = f"{UIDS}.77"
    dataset.ReferencedImageSequence[0].ReferencedSOPClassUID = dataset.SOPClassUID
    block = dataset.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "LO", f"{CANARY} private")
    block.add_new(2, "SQ", Sequence([nested]))
    block.add_new(3, "UN", CANARY.encode("utf-16-le"))
    dataset.add_new(0x00080000, "UL", 4)
    dataset.add_new(0x50003000, "OW", CANARY.encode() + b" ")
    dataset.add_new(0x60004000, "LT", CANARY)
    dataset.add_new(0x00091234, "LO", CANARY)
    dataset.add_new(0xFFFCFFFC, "OB", CANARY.encode() + b" ")
    dataset.preamble = CANARY.encode().ljust(128, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(CANARY.encode("utf-16-le") + CANARY.encode())
    return dataset


def found_in(folder: Path, *words: str) -> list[str]:
    """Where any word is, in names and bytes, in the encodings that a file may have, whatever its case."""
    hits = []
    for path in [folder, *folder.rglob("*")]:
        content = path.read_bytes().lower() if path.is_file() else b""
        for word in words:
            forms = {
                word.lower().encode(encoding, "ignore") for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1")
            }
            if word.lower() in str(path.relative_to(folder)).lower() or any(form and form in content for form in forms):
                hits.append(f"{path.name}: {word}")
    return hits


@pytest.fixture
def ct(tmp_path: Path) -> Callable[..., Path]:
    """A CT slice, an MR slice or a radiograph that dciodvfy finds little wrong with."""

    def write(path: Path, modality: str = "CT", date: str = "20260301", **changes: Any) -> Path:
        dataset = Dataset()
        classes = {
            "CT": "1.2.840.10008.5.1.4.1.1.2",
            "MR": "1.2.840.10008.5.1.4.1.1.4",
            "DX": "1.2.840.10008.5.1.4.1.1.1.1",
        }
        dataset.SOPClassUID, dataset.SOPInstanceUID = classes[modality], generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UIDS}.1", f"{UIDS}.2"
        dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = f"{UIDS}.3", ""
        dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = (
            "17",
            "A^B",
            "19330322",
            "F",
        )
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
        dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101112"
        dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
        dataset.Manufacturer, dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "ACME", modality, 1, 1
        dataset.ImageType, dataset.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1
        dataset.Laterality, dataset.TimezoneOffsetFromUTC = "", "+0100"
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness, dataset.KVP = [1, 1], 1, 120
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
        if modality == "MR":
            dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
            dataset.MRAcquisitionType, dataset.EchoTime, dataset.RepetitionTime = "2D", 10, 500
            dataset.EchoTrainLength = 1
        values = (np.arange(32)[:, None] * 20 + np.arange(32)).astype(np.uint16)
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 32, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelData = values.tobytes()
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


def test_nothing_of_the_person_is_left_and_every_pixel_is(tmp_path: Path, ct: Callable[..., Path]) -> None:
    base = ct(tmp_path / "base.dcm")
    source, out = tmp_path / "in", tmp_path / "out"
    full_of_names(source / CANARY / f"{CANARY}.dcm", base)
    report = deidentify(source, out, KEYS)
    assert report.count("written") == 1, report.lines()
    assert (
        found_in(
            out, CANARY, DIGITS, DIGITS[:10], "カナリア", "카나리아", UIDS, "19330322", "093Y", "KANARIENVOGEL"[:16]
        )
        == []
    )
    (made,) = (out / "images").iterdir()
    assert pydicom.dcmread(made).PixelData == pydicom.dcmread(base).PixelData
    assert made.read_bytes()[:128] == b"\0" * 128
    shown = pydicom.dcmread(made)
    assert shown.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in shown.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert shown.file_meta.MediaStorageSOPInstanceUID == shown.SOPInstanceUID
    assert not any(tag.is_private or tag.group in (0x5000, 0x6000, 0xFFFC) for tag in list(shown.keys()))


def test_a_name_in_a_text_that_the_profile_keeps_is_removed(tmp_path: Path, ct: Callable[..., Path]) -> None:
    code, plain = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", f"view of {CANARY}"
    plain.CodeValue, plain.CodingSchemeDesignator, plain.CodeMeaning = "2", "99X", "Chest"
    ct(tmp_path / "in" / "a.dcm", PatientName=f"{CANARY}^Ann", PatientID=DIGITS, ViewCodeSequence=Sequence([code]),
       AnatomicRegionSequence=Sequence([plain]), WindowCenterWidthExplanation=f"for {DIGITS}")  # fmt: skip
    deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    assert found_in(tmp_path / "out", CANARY, DIGITS) == []
    (made,) = (tmp_path / "out" / "images").iterdir()
    shown = pydicom.dcmread(made)
    assert shown.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert shown.ViewCodeSequence[0].CodeMeaning == shown.WindowCenterWidthExplanation == "REMOVED"


def test_intervals_series_and_pseudonyms_hold_in_every_file_and_run(tmp_path: Path, ct: Callable[..., Path]) -> None:
    source = tmp_path / "in"
    ct(source / "a.dcm", date="20260301")
    ct(source / "b.dcm", date="20260315", InstanceNumber=2)
    ct(
        source / "c.dcm",
        date="20260301",
        InstanceNumber=3,
        PatientID="18",
        StudyInstanceUID="2.25.9",
        PatientName="C^D",
    )
    for run, keys in (("one", KEYS), ("two", KEYS), ("other", Keys.of_secret(b"another"))):
        deidentify(source, tmp_path / run, keys)
    made = {path: pydicom.dcmread(path) for path in (tmp_path / "one" / "images").iterdir()}
    by_number = {int(each.InstanceNumber): each for each in made.values()}
    first, second, third = by_number[1], by_number[2], by_number[3]

    def days(dataset: Dataset) -> np.datetime64:
        return np.datetime64(re.sub(r"(\d{4})(\d\d)(\d\d)", r"\1-\2-\3", str(dataset.StudyDate)))

    assert days(second) - days(first) == np.timedelta64(14, "D")
    assert days(first) != np.datetime64("2026-03-01")
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != third.SeriesInstanceUID or third.StudyInstanceUID
    assert first.PatientID == second.PatientID != third.PatientID
    assert first.StudyInstanceUID != third.StudyInstanceUID
    content = [
        sorted((p.name, p.read_bytes()) for p in (tmp_path / run / "images").iterdir())
        for run in ("one", "two", "other")
    ]
    assert content[0] == content[1]
    assert not {each.PatientID for each in map(pydicom.dcmread, (tmp_path / "other" / "images").iterdir())} & {
        each.PatientID for each in made.values()
    }


@pytest.mark.parametrize("modality", ["CT", "MR", "DX"])
def test_an_independent_checker_finds_nothing_newly_wrong(
    tmp_path: Path, ct: Callable[..., Path], modality: str
) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy: not here")
    base = ct(tmp_path / "in" / "a.dcm", modality)
    deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    (made,) = (tmp_path / "out" / "images").iterdir()
    assert errors_of(made) - errors_of(base) == set()


def errors_of(path: Path) -> set[str]:
    ended = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False, timeout=60)
    return {line for line in (ended.stderr + ended.stdout).splitlines() if line.startswith("Error")}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan Storage"),
    ],
)
def test_what_is_made_of_words_is_refused_by_name(
    tmp_path: Path, ct: Callable[..., Path], kind: str, name: str
) -> None:
    ct(tmp_path / "in" / "a.dcm", SOPClassUID=kind)
    report = deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    assert report.count("refused") == 1
    assert f"not de-identified automatically: {name}" in next(iter(report.reasons["refused"]))
    assert not (tmp_path / "out" / "images").exists()


def test_dates_move_at_their_own_precision_and_what_is_no_date_goes() -> None:
    assert moved("20260301", -1, "DA") == "20260228"
    assert moved("2026.03.01", -1, "DA") == "20260228"
    assert moved("Karl", -1, "DA") == moved("20260231", -1, "DA") == moved("2026", -1, "DA") == ""
    assert moved("20260301101112.5+0100", -1, "DT") == "20260228101112.5+0100"
    assert moved("202603", -1, "DT") == "202602"
    assert moved("2026+0100", 0, "DT") == "2026+0100"
    assert moved("101112.25", -1, "TM") == "101112.25"
    assert moved("Karl", -1, "TM") == ""


def test_comments_in_jpeg_pixels_are_blank_and_nothing_has_moved() -> None:
    import io

    from PIL import Image

    stream = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8))
    picture.save(stream, "JPEG", comment=CANARY.encode(), exif=b"Exif\0\0" + CANARY.encode())
    jpeg = stream.getvalue()
    item = b"\xfe\xff\x00\xe0"
    value = item + bytes(4) + item + len(jpeg).to_bytes(4, "little") + jpeg
    made = without_comments(value)
    assert len(made) == len(value)
    assert CANARY.encode() in value
    assert CANARY.encode() not in made
    shown = Image.open(io.BytesIO(made[16:]))
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(io.BytesIO(jpeg))))
