import datetime as dt
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from ingest.account.reconciliation import Reconciliation
from ingest.catalogue import read_catalogue
from ingest.errors import InputError
from ingest.pictures.pixels import read_image
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

Write = Callable[..., Path]
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def take(workspace: Workspace, delivery: Path) -> Callable[..., Reconciliation]:
    return lambda **options: ingest(workspace, [delivery], **options)


Take = Callable[..., Reconciliation]


def images(workspace: Workspace) -> list[dict[str, Any]]:
    return [row for row in read_observations(workspace).to_pylist() if row["code"].startswith("DICOM//")]


def test_an_image_is_its_record_s_subject_s(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write, write_lines: Write, patient: Make
) -> None:
    write_lines(delivery / "Patient.ndjson", [patient()])
    path = write_dicom(delivery / "images" / "1.dcm", InstanceCreationDate="20260301", InstanceCreationTime="121500")
    assert take().total.used == 2
    rows = read_observations(workspace).to_pylist()
    assert len({row["subject_id"] for row in rows}) == 1
    (image,) = images(workspace)
    assert (image["code"], image["text_value"], image["asset"]) == ("DICOM//DX", "PA", str(path))
    assert image["time"] == dt.datetime(2026, 3, 1, 11)  # noqa: DTZ001
    assert image["available_time"] == dt.datetime(2026, 3, 1, 11, 15)  # noqa: DTZ001
    assert image["source_record"] == dcmread(path).SOPInstanceUID


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"PatientName": "Baker^Ann"}, "name"),
        ({"PatientBirthDate": "19600518"}, "birth date"),
        ({"PatientSex": "M"}, "sex"),
    ],
)
def test_an_image_of_another_person_than_the_record_is_never_fused(
    workspace: Workspace,
    delivery: Path,
    take: Take,
    write_dicom: Write,
    write_lines: Write,
    patient: Make,
    changes: dict[str, str],
    field: str,
) -> None:
    """FAULTS 3."""
    write_lines(delivery / "Patient.ndjson", [patient()])
    write_dicom(delivery / "1.dcm", **changes)
    account = take()
    assert account.by_format["DICOM"].refused == 1
    assert field in str(account.refusals[0])
    assert not any(value in str(account.refusals[0]) for value in (*changes.values(), "Archer", "1960"))
    assert images(workspace) == []
    kept = workspace.quarantine / account.run
    assert (kept / "files" / "000001.dcm").read_bytes() == (delivery / "1.dcm").read_bytes()


def test_swapped_images_are_both_refused(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write, write_lines: Write, patient: Make
) -> None:
    """FAULTS 3."""
    write_lines(delivery / "Patient.ndjson", [patient(), patient("2", "Baker", "Bob", gender="male")])
    write_dicom(delivery / "a.dcm", PatientID="2")
    write_dicom(delivery / "b.dcm", PatientName="Baker^Bob", PatientSex="M")
    assert take().by_format["DICOM"].refused == 2
    assert images(workspace) == []


def test_the_same_number_of_another_issuer_is_another_subject(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    """FAULTS 5."""
    write_dicom(delivery / "a.dcm")
    write_dicom(delivery / "b.dcm", IssuerOfPatientIDQualifiersSequence=None, IssuerOfPatientID="B", PatientName="X^Y")
    write_dicom(delivery / "c.dcm", IssuerOfPatientIDQualifiersSequence=None, PatientName="V^W")
    assert take().total.refused == 0
    assert len({row["subject_id"] for row in images(workspace)}) == 3


def test_images_of_nobody_are_refused_not_merged(delivery: Path, take: Take, write_dicom: Write) -> None:
    """FAULTS 6."""
    write_dicom(delivery / "a.dcm", PatientID="")
    write_dicom(delivery / "b.dcm", PatientID=None)
    assert take().total.refused == 2


def test_a_time_without_zone_is_refused_unless_the_zone_is_given(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    write_dicom(delivery / "a.dcm", TimezoneOffsetFromUTC=None)
    write_dicom(delivery / "b.dcm", TimezoneOffsetFromUTC=None, AcquisitionDate="20261025", AcquisitionTime="023000")
    account = take()
    assert account.total.refused == 2
    assert "--timezone" in str(account.refusals[0])
    account = take(timezone="Europe/Berlin")
    assert (account.total.used, account.total.refused) == (1, 1)
    assert "happens twice in Europe/Berlin" in str(account.refusals[0])
    assert images(workspace)[0]["time"] == dt.datetime(2026, 3, 1, 11)  # noqa: DTZ001


def test_dates_of_lesser_rank_serve_where_better_ones_are_missing(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    gone = {"AcquisitionDate": None, "AcquisitionTime": None}
    write_dicom(delivery / "a.dcm", **gone, StudyDate="20260302", StudyTime="10")
    write_dicom(delivery / "b.dcm", **gone)
    write_dicom(delivery / "c.dcm", **gone, AcquisitionDateTime="20260303100000-0500")
    account = take()
    assert account.refusals[0].field == "Acquisition Date"
    assert [row["time"] for row in images(workspace)] == [
        dt.datetime(2026, 3, 2, 9),  # noqa: DTZ001
        dt.datetime(2026, 3, 3, 15),  # noqa: DTZ001
    ]


def test_objects_that_are_no_images_are_skipped_by_name(delivery: Path, take: Take, write_dicom: Write) -> None:
    write_dicom(delivery / "sr.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", PixelData=None)
    write_dicom(delivery / "seg.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    account = take()
    assert account.skip_reasons == {"no image: Basic Text SR Storage": 1, "no image: Segmentation Storage": 1}


def test_truncated_or_missing_pixels_are_refused_in_one_line(delivery: Path, take: Take, write_dicom: Write) -> None:
    """FAULTS 23."""
    whole = write_dicom(delivery / "a.dcm", np.zeros((64, 64), np.uint16))
    whole.write_bytes(whole.read_bytes()[:-100])
    write_dicom(delivery / "b.dcm", Rows=800)
    write_dicom(delivery / "c.dcm", PixelData=None)
    write_dicom(delivery / "d.dcm", Rows=60000, Columns=60000)
    account = take()
    assert account.total.refused == 4
    lines = [str(complaint) for complaint in account.refusals]
    assert not any("\n" in line for line in lines)
    assert "cut short" in lines[0]
    assert "12,800 bytes for 800 rows and 8 columns, got 128" in lines[1]
    assert "got none" in lines[2]
    assert "60000 rows" in lines[3]


def test_compressed_frames_cut_short_are_refused(delivery: Path, take: Take, write_dicom: Write) -> None:
    """FAULTS 23."""
    path = write_dicom(delivery / "a.dcm", np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.uint16))
    dataset = dcmread(path)
    dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    dataset.save_as(path)
    expected = read_image(path)
    assert expected.shape == (64, 64)
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    account = take()
    assert (account.total.refused, account.refusals[0].field) == (1, "Pixel Data")
    path.write_bytes(content)
    assert take().total.used == 1


def test_nested_sequences_are_bounded(delivery: Path, take: Take, write_dicom: Write) -> None:
    """FAULTS 24."""
    inner = Dataset()
    for _ in range(60):
        outer = Dataset()
        outer.RequestAttributesSequence = [inner]
        inner = outer
    write_dicom(delivery / "a.dcm", RequestAttributesSequence=[inner])
    raw = write_dicom(delivery / "b.dcm").read_bytes()
    deep = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    (delivery / "b.dcm").write_bytes(raw[: raw.index(b"\xe0\x7f\x10\x00")] + deep * 3000)
    account = take()
    assert account.total.refused == 2
    assert "nested" in str(account.refusals[0])
    assert "nested" in str(account.refusals[1])


def test_a_deflated_bomb_is_capped_and_an_honest_one_is_read(delivery: Path, take: Take, write_dicom: Write) -> None:
    """FAULTS 25."""
    path = write_dicom(delivery / "a.dcm")
    expected = read_image(path)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    np.testing.assert_array_equal(read_image(path), expected)
    content = path.read_bytes()
    meta = content[: 144 + int.from_bytes(content[140:144], "little")]
    deflate = zlib.compressobj(1, wbits=-15)
    zeros = bytes(1 << 20)
    body = b"".join(deflate.compress(zeros) for _ in range(80)) + deflate.flush()
    (delivery / "bomb.dcm").write_bytes(meta + body)
    account = take()
    assert (account.total.used, account.total.refused) == (1, 1)
    assert "once inflated" in str(account.refusals[0])


@pytest.mark.parametrize("start", [b"MZ", b"\x7fELF", b"#!/bin/sh"])
def test_a_program_in_the_preamble_is_refused(delivery: Path, take: Take, write_dicom: Write, start: bytes) -> None:
    """FAULTS 26."""
    path = write_dicom(delivery / "a.dcm")
    path.write_bytes(start + path.read_bytes()[len(start) :])
    account = take()
    assert "starts a program" in str(account.refusals[0])
    with pytest.raises(InputError, match="starts a program"):
        read_image(path)


@pytest.mark.parametrize(
    "changes", [{"SOPInstanceUID": "../../x"}, {"Modality": "Ann Archer is here"}, {"StudyInstanceUID": "a/b"}]
)
def test_identifying_elements_must_have_their_form(
    delivery: Path, take: Take, write_dicom: Write, changes: dict[str, str]
) -> None:
    """FAULTS 27: no path passes for a UID."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about what is wrong here on purpose
        write_dicom(delivery / "a.dcm", **changes)
    account = take()
    assert account.total.refused == 1
    assert next(iter(changes.values())) not in str(account.refusals[0])


@pytest.mark.parametrize("length", [0, 1, 131, 132, 140, 200, 400])
def test_a_file_cut_anywhere_in_its_header_is_refused(
    delivery: Path, take: Take, write_dicom: Write, length: int
) -> None:
    path = write_dicom(delivery / "a.dcm")
    path.write_bytes(path.read_bytes()[:length])
    account = take()
    assert (account.total.refused, account.total.seen) == (1, 1)


def test_the_catalogue_holds_what_series_are_chosen_by(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    path = write_dicom(
        delivery / "a.dcm", Modality="CT", BodyPartExamined="CHEST", SeriesDescription="THORAX 1mm",
        ProtocolName="Lung", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], InstanceNumber=7, SliceThickness=1.5,
        FrameOfReferenceUID="1.2.3.4", ImagePositionPatient=[-1, -2, 3.5], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.5, 0.25], BurnedInAnnotation="NO", ImageLaterality="L",
    )  # fmt: skip
    take()
    (entry,) = read_catalogue(workspace.images).to_pylist()
    dataset = dcmread(path)
    expected = {
        "kind": "image", "asset": str(path), "instance": dataset.SOPInstanceUID, "series": dataset.SeriesInstanceUID,
        "study": dataset.StudyInstanceUID, "modality": "CT", "body_part": "CHEST", "view": "PA", "laterality": "L",
        "description": "THORAX 1mm | Lung", "image_type": "ORIGINAL\\PRIMARY\\AXIAL", "photometric": "MONOCHROME2",
        "transfer_syntax": "1.2.840.10008.1.2.1", "instance_number": 7, "rows": 8, "columns": 8, "frames": 1,
        "bits_stored": 16, "frame_of_reference": "1.2.3.4", "position_mm": [-1, -2, 3.5],
        "orientation": [1, 0, 0, 0, 1, 0], "spacing_mm": [0.5, 0.25], "thickness_mm": 1.5, "burned_in": False,
    }  # fmt: skip
    assert {name: entry[name] for name in expected} == expected
    assert entry["asset_sha256"] == images(workspace)[0]["asset_sha256"]


def test_a_waveform_is_an_observation_with_its_leads(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    group = Dataset()
    group.SamplingFrequency, group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 500, 3, 1000
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = []
    for meaning in ("Lead I (Einthoven)", "aVR, augmented voltage, right", "Lead V1"):
        channel, source = Dataset(), Dataset()
        source.CodeMeaning = meaning
        channel.ChannelSourceSequence = [source]
        group.ChannelDefinitionSequence.append(channel)
    group.WaveformData = np.zeros((1000, 3), "<i2").tobytes()
    changes = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.1.1", "Modality": "ECG", "PixelData": None}
    write_dicom(delivery / "a.dcm", **changes, WaveformSequence=[group])
    assert take().total.used == 1
    assert images(workspace)[0]["code"] == "DICOM//ECG"
    (entry,) = read_catalogue(workspace.images).to_pylist()
    assert (entry["kind"], entry["sample_rate_hz"], entry["seconds"]) == ("waveform", 500.0, 2.0)
    assert entry["channels"] == ["I", "aVR", "V1"]
    group.WaveformData = group.WaveformData[:-2]
    write_dicom(delivery / "b.dcm", **changes, WaveformSequence=[group])
    account = take()
    assert (account.total.refused, account.refusals[0].field) == (1, "Waveform Data")


def test_a_syntax_that_nothing_here_decodes_is_named(delivery: Path, take: Take, write_dicom: Write) -> None:
    path = write_dicom(delivery / "video.dcm")
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([b"\0\0\1\xb3" * 8])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dataset.save_as(path)
    account = take()
    assert account.refusals[0].field == "Transfer Syntax UID"
    assert "MPEG2" in account.refusals[0].got
    with pytest.raises(InputError, match="MPEG2"):
        read_image(path)


def test_a_syntax_that_nobody_knows_is_said_to_be_unknown(delivery: Path, take: Take, write_dicom: Write) -> None:
    path = write_dicom(delivery / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.3\0\0\0"))
    (refused,) = take().refusals
    assert (refused.field, refused.got) == ("Transfer Syntax UID", "an unknown transfer syntax")


def test_the_catalogue_keeps_which_series_lacks_a_refused_image(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    """FAULTS 22: cut short, and contested; what has no series leaves no trace."""
    cut = write_dicom(delivery / "cut.dcm", SeriesInstanceUID="1.2.1")
    same = generate_uid()
    for name, pixels in (("one", b"\1\0"), ("other", b"\2\0")):
        path = write_dicom(delivery / f"{name}.dcm", SeriesInstanceUID="1.2.2", SOPInstanceUID=same)
        dataset = dcmread(path)
        dataset.PixelData = pixels + dataset.PixelData[2:]
        dataset.save_as(path)
    write_dicom(delivery / "nobody.dcm", PatientID="", SeriesInstanceUID=None)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-2])
    instance = str(dcmread(cut).SOPInstanceUID)
    assert take().total.refused == 4
    rows = read_catalogue(workspace.images).to_pylist()
    assert sorted((row["kind"], row["series"], row["instance"]) for row in rows) == sorted(
        [("refused", "1.2.1", instance), ("refused", "1.2.2", same), ("refused", "1.2.2", same)]
    )
    cut.write_bytes(whole)
    take()
    kinds = {row["kind"] for row in read_catalogue(workspace.images).to_pylist() if row["instance"] == instance}
    assert kinds == {"refused", "image"}


def test_data_sets_without_preamble_or_suffix_are_read(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    path = write_dicom(delivery / "a.dcm")
    expected = read_image(path)
    dataset = dcmread(path)
    for name, implicit in (("explicit", False), ("implicit", True)):
        dataset.SOPInstanceUID = generate_uid()
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
        write_dataset(buffer, Dataset(dataset))
        (delivery / name).write_bytes(buffer.getvalue())
        np.testing.assert_array_equal(read_image(delivery / name), expected)
    account = take()
    assert (account.total.used, account.by_format["DICOM"].seen) == (3, 3)


def test_a_directory_s_missing_files_are_told(delivery: Path, take: Take, write_dicom: Write) -> None:
    """FAULTS 27: a DICOMDIR may name nothing outside its folder."""
    write_dicom(delivery / "IMAGES" / "I1")
    directory = Dataset()
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    directory.DirectoryRecordSequence = []
    for reference in (["IMAGES", "I1"], ["images", "i1"], ["IMAGES", "I2"], ["..", "x"], ["/etc/passwd"], None):
        record = Dataset()
        record.DirectoryRecordType = "IMAGE" if reference else "PATIENT"
        if reference:
            record.ReferencedFileID = reference
        directory.DirectoryRecordSequence.append(record)
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = directory.SOPClassUID
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about what is wrong here on purpose
        directory.save_as(delivery / "DICOMDIR", enforce_file_format=True)
    account = take()
    assert account.skip_reasons == {"DICOM directory": 1}
    assert (account.total.used, account.total.refused) == (1, 3)
    assert [complaint.field for complaint in account.refusals] == [
        f"Referenced File ID of record {number}" for number in (3, 4, 5)
    ]
    assert [complaint.got for complaint in account.refusals[1:]] == ["a path that leads elsewhere"] * 2
    assert take().total.refused == 3, "as long as they are missing"
