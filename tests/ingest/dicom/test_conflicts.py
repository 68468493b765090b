"""Images that contradict each other on whose they are: never used, whichever came first (FAULTS 1, 2, 4)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, generate_uid

from ingest.account.reconciliation import Reconciliation
from ingest.identity.register import IdentityRegister
from ingest.observations import SCHEMA
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

Write = Callable[..., Path]
Make = Callable[..., dict[str, Any]]
Take = Callable[..., Reconciliation]
OTHER_PIXELS = np.ones((8, 8), np.uint16)


@pytest.fixture
def take(workspace: Workspace, tmp_path: Path) -> Take:
    """Ingest a folder below tmp_path, by its name."""
    return lambda name: ingest(workspace, [tmp_path / name])


def used(workspace: Workspace) -> list[str]:
    """The UIDs of the images in use."""
    table = read_observations(workspace)
    assert table.schema.names == SCHEMA.names
    return sorted(row["source_record"] for row in table.to_pylist() if row["code"].startswith("DICOM//"))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [({"PatientName": "Baker^Bob"}, "another name"), ({"PatientBirthDate": "19610517"}, "another birth date")],
)
def test_two_persons_under_one_identifier_are_both_refused(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write, changes: dict[str, str], difference: str
) -> None:
    """FAULTS 1, within one delivery: whichever comes first."""
    write_dicom(tmp_path / "d" / "a.dcm")
    write_dicom(tmp_path / "d" / "b.dcm", **changes)
    other = write_dicom(tmp_path / "d" / "c.dcm", PatientID="2", PatientName="Carter^Cleo")
    account = take("d")
    assert (account.total.used, account.total.refused) == (1, 2)
    assert all(difference in complaint.got for complaint in account.refusals)
    assert not any(value in str(account.refusals) for value in (*changes.values(), "Archer", "1960"))
    assert used(workspace) == [dcmread(other).SOPInstanceUID]
    assert len(list((workspace.quarantine / account.run / "files").iterdir())) == 2


def test_another_person_in_a_later_delivery_takes_the_earlier_images_back(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write
) -> None:
    """FAULTS 1, between deliveries: neither is used until one delivery holds all images and they agree."""
    first = write_dicom(tmp_path / "one" / "a.dcm")
    second = write_dicom(tmp_path / "two" / "b.dcm", OTHER_PIXELS, PatientName="Baker^Bob")
    assert take("one").total.used == 1
    account = take("two")
    assert (account.total.used, account.total.refused) == (0, 1)
    assert used(workspace) == []
    assert take("two").total.refused == 1, "the same again settles nothing"
    assert take("one").total.refused == 1
    assert used(workspace) == []
    # The source is corrected: the second image gets a number of its own, and both are delivered.
    (tmp_path / "three").mkdir()
    dataset = dcmread(second)
    dataset.PatientID = "2"
    dataset.save_as(tmp_path / "three" / "b.dcm")
    (tmp_path / "three" / "a.dcm").write_bytes(first.read_bytes())
    account = take("three")
    assert (account.total.used, account.total.refused) == (2, 0)
    assert len(used(workspace)) == 2
    subjects = read_observations(workspace)["subject_id"].to_pylist()
    assert len(set(subjects)) == 2


def test_a_record_settles_who_an_identifier_s_images_are_of(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write, write_lines: Write, patient: Make
) -> None:
    write_dicom(tmp_path / "one" / "a.dcm")
    write_dicom(tmp_path / "two" / "b.dcm", PatientName="Baker^Bob")
    take("one")
    take("two")
    write_lines(tmp_path / "three" / "Patient.ndjson", [patient()])
    for name in ("a", "b"):
        folder = "one" if name == "a" else "two"
        (tmp_path / "three" / f"{name}.dcm").write_bytes((tmp_path / folder / f"{name}.dcm").read_bytes())
    account = take("three")
    assert (account.by_format["DICOM"].used, account.by_format["DICOM"].refused) == (1, 1)
    assert used(workspace) == [dcmread(tmp_path / "one" / "a.dcm").SOPInstanceUID]


def test_a_record_that_contradicts_earlier_images_is_refused_and_they_are_taken_back(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write, write_lines: Write, patient: Make
) -> None:
    """FAULTS 1, images first and the record later: both are withheld; the record is accepted when it comes again."""
    write_dicom(tmp_path / "one" / "a.dcm")
    write_lines(tmp_path / "two" / "Patient.ndjson", [patient(family="Baker")])
    take("one")
    account = take("two")
    assert (account.total.used, account.total.refused) == (0, 1)
    assert used(workspace) == []
    assert take("two").total.used == 1
    assert take("one").total.refused == 1


def test_a_study_of_two_patients_is_refused_as_a_whole(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write
) -> None:
    """FAULTS 2, within one delivery and between two."""
    study = generate_uid()
    write_dicom(tmp_path / "one" / "a.dcm", StudyInstanceUID=study)
    write_dicom(tmp_path / "one" / "b.dcm", StudyInstanceUID=study, PatientID="2", PatientName="Baker^Bob")
    other = write_dicom(tmp_path / "one" / "c.dcm")
    account = take("one")
    assert (account.total.used, account.total.refused) == (1, 2)
    assert {complaint.field for complaint in account.refusals} == {"Study Instance UID"}
    assert used(workspace) == [dcmread(other).SOPInstanceUID]
    later = dcmread(other).StudyInstanceUID
    write_dicom(tmp_path / "two" / "d.dcm", OTHER_PIXELS, StudyInstanceUID=later, PatientID="3", PatientName="D^D")
    account = take("two")
    assert (account.total.used, account.total.refused) == (0, 1)
    assert used(workspace) == []


def test_one_uid_with_other_pixels_is_a_conflict_of_both(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write
) -> None:
    """FAULTS 4, within one delivery and between two; both are kept in quarantine."""
    uid = generate_uid()
    write_dicom(tmp_path / "one" / "a.dcm", SOPInstanceUID=uid)
    write_dicom(tmp_path / "one" / "b.dcm", OTHER_PIXELS, SOPInstanceUID=uid)
    account = take("one")
    assert (account.total.used, account.total.refused) == (0, 2)
    assert {complaint.field for complaint in account.refusals} == {"SOP Instance UID"}
    assert len(list((workspace.quarantine / account.run / "files").iterdir())) == 2
    (tmp_path / "one" / "b.dcm").unlink()
    assert take("one").total.refused == 1, "one of them alone settles nothing"
    later = write_dicom(tmp_path / "two" / "c.dcm")
    assert take("two").total.used == 1
    write_dicom(tmp_path / "three" / "d.dcm", OTHER_PIXELS, SOPInstanceUID=dcmread(later).SOPInstanceUID)
    assert take("three").total.refused == 1
    assert used(workspace) == []


def test_the_same_image_again_is_a_duplicate_also_when_recompressed_without_loss(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write
) -> None:
    uid = generate_uid()
    pixels = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.uint16)
    path = write_dicom(tmp_path / "one" / "a.dcm", pixels, SOPInstanceUID=uid)
    write_dicom(tmp_path / "one" / "c.dcm", pixels, SOPInstanceUID=uid, Modality="CR")
    dataset = dcmread(path)
    dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    dataset.save_as(tmp_path / "one" / "b.dcm")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "b.dcm").write_bytes((tmp_path / "one" / "b.dcm").read_bytes())
    (tmp_path / "one" / "b.dcm").unlink()
    account = take("one")
    assert (account.total.used, account.total.skipped) == (1, 1)
    account = take("two")
    assert (account.total.refused, account.total.skipped) == (0, 1)
    assert used(workspace) == [uid]


def test_images_of_nobody_are_never_merged(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write
) -> None:
    """FAULTS 6: an empty identifier, blanks, and padding alike."""
    for name, identifier in enumerate(("", "   ", "\0\0", None)):
        write_dicom(tmp_path / "d" / f"{name}.dcm", PatientID=identifier)
    assert take("d").total.refused == 4
    assert used(workspace) == []


def test_a_study_of_one_person_with_two_merged_identifiers_is_no_contest(
    workspace: Workspace, tmp_path: Path, take: Take, write_dicom: Write
) -> None:
    study = generate_uid()
    write_dicom(tmp_path / "one" / "a.dcm", StudyInstanceUID=study)
    write_dicom(tmp_path / "one" / "b.dcm", PatientID="2")
    take("one")
    register = IdentityRegister(workspace.identities)
    register.merge(register.subject_id("urn:oid:1.2.3", "2"), register.subject_id("urn:oid:1.2.3", "1"), "one person")
    register.save()
    write_dicom(tmp_path / "two" / "c.dcm", OTHER_PIXELS, StudyInstanceUID=study, PatientID="2")
    account = take("two")
    assert (account.total.used, account.total.refused) == (1, 0)
