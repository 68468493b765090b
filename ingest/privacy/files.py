"""The files of a delivery by what is done with them, and what they say of who is who."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.mapping.mapping import Notes, Table, TableMapping
from ingest.privacy import record_files, tables, text_files
from ingest.privacy.people import Pair, People

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NOT_OURS = ("FHIR XML", "OMOP", "MEDS", "recording")


@dataclass
class Sorted:
    """Files by kind."""

    dicom: list[SourceFile] = field(default_factory=list)
    pictures: list[SourceFile] = field(default_factory=list)
    sounds: list[SourceFile] = field(default_factory=list)
    fhir: list[SourceFile] = field(default_factory=list)
    notes: list[tuple[SourceFile, Notes]] = field(default_factory=list)
    tables: list[tuple[SourceFile, Table]] = field(default_factory=list)
    refused: list[tuple[str, SourceFile, Refusal]] = field(default_factory=list)
    skipped: list[tuple[SourceFile, str]] = field(default_factory=list)


def by_kind(found: Sequence[SourceFile], mapping: TableMapping | None) -> Sorted:
    """Sort files as an ingest would; what is there twice is skipped, what has no rule is refused."""
    from ingest.readers.registry import READERS

    made, seen = Sorted(), set()
    plain = {"DICOM": made.dicom, "image": made.pictures, "sound": made.sounds, "FHIR": made.fhir}
    for file in found:
        if file.problem or file.refusal:
            refusal = file.refusal or Refusal("", "a file that can be read", file.problem)
            made.refused.append(("other", file, refusal))
            continue
        if not file.path.stat().st_size:
            made.skipped.append((file, "empty file"))
            continue
        kind = next((name for name, reader in READERS.items() if reader.accepts(file, mapping)), None)
        note, table = (mapping.note(file), mapping.table(file)) if mapping else (None, None)
        if note is not None:
            made.notes.append((file, note))
        elif table is not None:
            made.tables.append((file, table))
        elif kind == "image" and _is_nifti(file):
            made.refused.append(
                ("image", file, Refusal("", "PNG, JPEG or TIFF", "not de-identified automatically: NIfTI"))
            )
        elif kind in plain:
            if file.sha256 in seen:
                made.skipped.append((file, "the same content as another file"))
            else:
                plain[kind].append(file)
            seen.add(file.sha256)
        else:
            what = kind if kind in _NOT_OURS else "a format or table without a rule"
            refusal = Refusal("", "a kind of file with a rule", f"not de-identified automatically: {what}")
            made.refused.append((kind or "other", file, refusal))
    return made


def learn(found: Sorted, people: People, mapping: TableMapping | None) -> None:
    """Who is who, from all files. What cannot be read here is refused when it is written."""
    for file in found.fhir:
        for resource, url in record_files.patients(file):
            try:
                people.learn_patient(resource, url)
            except Refusal:
                continue
    for file in found.dicom:
        try:
            learn_dicom(file, people)
        except (Refusal, InputError):
            continue
    for file, note in found.notes:
        if (identifier := text_files.subject_of(file, note)) is not None:
            people.learn_identifier(note.issuer, identifier)
    for file, table in found.tables:
        try:
            for pair in tables.identifiers(file, table):
                people.learn_identifier(*pair)
        except (Refusal, InputError):
            continue
    people.settle()
    for file in found.fhir:
        record_files.learn_binaries(file, people)


def learn_dicom(file: SourceFile, people: People) -> None:
    """The patient of an image and what they are called there."""
    from ingest.dicom.header import dicom_errors, open_dicom

    with open_dicom(file.path) as opened:
        try:
            name = str(opened.dataset.get("PatientName", ""))
            people.learn_identifier(
                *dicom_pair(opened.dataset, people.issuer), [name.replace("^", " ").replace("=", " ")]
            )
        except dicom_errors():
            return


def dicom_pair(dataset: "Dataset", issuer: str) -> Pair:
    """Issuer and identifier of an image's patient. Raises Refusal."""
    from ingest.dicom.entry import _patient

    return _patient(dataset, issuer)[:2]


def _is_nifti(file: SourceFile) -> bool:
    from ingest.pictures.nifti import looks_like_nifti

    return looks_like_nifti(file.path, file.head)
