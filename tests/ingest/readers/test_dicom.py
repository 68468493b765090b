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
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, generate_uid

from ingest.errors import InputError
from ingest.pixels import read_image
from ingest.reconciliation import Reconciliation
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
    write_lines(delivery / "Patient.ndjson", [patient(), patient("2", "Baker", "Bob", gender="male")])
    write_dicom(delivery / "a.dcm", PatientID="2")
    write_dicom(delivery / "b.dcm", PatientName="Baker^Bob", PatientSex="M")
    assert take().by_format["DICOM"].refused == 2
    assert images(workspace) == []


def test_the_same_number_of_another_issuer_is_another_subject(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    write_dicom(delivery / "a.dcm")
    write_dicom(delivery / "b.dcm", IssuerOfPatientIDQualifiersSequence=None, IssuerOfPatientID="B", PatientName="X^Y")
    write_dicom(delivery / "c.dcm", IssuerOfPatientIDQualifiersSequence=None, PatientName="V^W")
    assert take().total.refused == 0
    assert len({row["subject_id"] for row in images(workspace)}) == 3


def test_images_of_nobody_are_refused_not_merged(delivery: Path, take: Take, write_dicom: Write) -> None:
    write_dicom(delivery / "a.dcm", PatientID="")
    write_dicom(delivery / "b.dcm", PatientID=None)
    assert take().total.refused == 2


def test_one_study_of_two_patients_is_refused(delivery: Path, take: Take, write_dicom: Write) -> None:
    study = generate_uid()
    write_dicom(delivery / "a.dcm", StudyInstanceUID=study)
    write_dicom(delivery / "b.dcm", StudyInstanceUID=study, PatientID="2", PatientName="Baker^Bob")
    account = take()
    assert account.total.refused == 1
    assert account.refusals[0].field == "Study Instance UID"


def test_one_uid_with_other_pixels_is_refused_also_later(
    workspace: Workspace, delivery: Path, take: Take, write_dicom: Write
) -> None:
    uid = generate_uid()
    write_dicom(delivery / "a.dcm", SOPInstanceUID=uid)
    write_dicom(delivery / "b.dcm", np.ones((8, 8), np.uint16), SOPInstanceUID=uid)
    write_dicom(delivery / "c.dcm", SOPInstanceUID=uid, Modality="CR")
    account = take()
    assert (account.total.used, account.total.refused, account.total.skipped) == (1, 1, 1)
    assert account.refusals[0].field == "SOP Instance UID"
    (delivery / "a.dcm").unlink()
    assert take().total.refused == 1
    assert len(images(workspace)) == 1


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
    path = write_dicom(delivery / "a.dcm")
    expected = read_image(path)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(path)
    np.testing.assert_array_equal(read_image(path), expected)
    content = path.read_bytes()
    meta = content[: 144 + int.from_bytes(content[140:144], "little")]
    deflate = zlib.compressobj(1, wbits=-15)
    zeros = bytes(1 << 20)
    body = b"".join(deflate.compress(zeros) for _ in range(260)) + deflate.flush()
    (delivery / "bomb.dcm").write_bytes(meta + body)
    account = take()
    assert (account.total.used, account.total.refused) == (1, 1)
    assert "once inflated" in str(account.refusals[0])


@pytest.mark.parametrize("start", [b"MZ", b"\x7fELF", b"#!/bin/sh"])
def test_a_program_in_the_preamble_is_refused(delivery: Path, take: Take, write_dicom: Write, start: bytes) -> None:
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
