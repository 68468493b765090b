"""DICOM files: one observation per image, of the patient that the file itself names."""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ingest.dicom_header import PREAMBLE_BYTES, DicomHeader, dicom_errors, quiet_pydicom, read_dicom
from ingest.errors import InputError
from ingest.identity import Claim
from ingest.intake import ALREADY, Intake
from ingest.mapping import TableMapping
from ingest.observations import ObservationColumns
from ingest.quarantine import Refusal
from ingest.sources import SourceFile
from ingest.times import DATE_NOTE, Moment, parse_dicom, parse_offset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FORMAT = "DICOM"
_SUFFIXES = {".dcm", ".dicom", ".ima"}
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
# Objects that have pixels, but are no picture of the patient.
_DERIVED = ("Segmentation", "RT Dose", "Parametric Map", "Raw Data", "Real World Value")
_TIMES = ("Acquisition", "Content", "Series", "Study")


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is DICOM: by its magic word, or by its suffix where that is missing."""
    return file.head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM" or file.path.suffix.lower() in _SUFFIXES


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """One row per image: code DICOM//<Modality>, the file as asset, the view position as text."""
    rows = ObservationColumns()
    for file in files:
        intake.report.see(FORMAT)
        if intake.ledger.file(file.sha256):
            intake.report.skip(FORMAT, ALREADY)
            continue
        try:
            with quiet_pydicom():
                reason = _read_one(file, intake, rows)
        except Refusal as refusal:
            intake.report.refuse(FORMAT, refusal.complaint(file.name, ""), file.path)
        except InputError as error:
            found = error.complaint
            intake.report.refuse(
                FORMAT, Refusal(found.field, found.expected, found.got, found.hint).complaint(file.name, ""), file.path
            )
        else:
            intake.ledger.enter_file(file.sha256, FORMAT, 1)
            if reason:
                intake.report.skip(FORMAT, reason)
            else:
                intake.report.use(FORMAT)
    yield rows.batch()


def _read_one(file: SourceFile, intake: Intake, rows: ObservationColumns) -> str | None:
    """Add the file's row; or the reason why it has none. Raises Refusal or InputError."""
    header = read_dicom(file.path)
    try:
        if reason := _no_image(header):
            return reason
        image, patient = _image(header.dataset), _patient(header.dataset, intake.issuer)
        taken, available = _times(header.dataset, intake)
    except dicom_errors() as error:
        raise Refusal("", "a DICOM file", f"an element that cannot be read ({type(error).__name__})") from None
    assert header.pixel_digest is not None
    if (known := intake.ledger.either("image", image.uid)) is not None:
        if known == header.pixel_digest:
            return "duplicate of an image ingested"
        raise Refusal("SOP Instance UID", "a UID of its own", "that of an image with other pixels")
    issuer, identifier, claim = patient
    expected = intake.identity.subject_id(issuer, identifier)
    study = intake.ledger.either("study", image.study)
    if study not in (None, str(expected)):
        raise Refusal("Study Instance UID", "a study of one patient", "that of a study of another patient")
    if intake.identity.known(issuer, identifier) is None:
        intake.report.note("patient known from images only: check --issuer if there are records too")
    if claim == Claim():
        intake.report.note("image that says nothing of its patient but an identifier: swapped ones go unnoticed")
    subject = intake.identity.register([(issuer, identifier)], claim)
    intake.ledger.enter("image", image.uid, header.pixel_digest)
    if image.study:
        intake.ledger.enter("study", image.study, str(subject))
    if taken.is_date:
        intake.report.note(DATE_NOTE)
    rows.add(
        subject, f"DICOM//{image.modality}", time=taken.start, available_time=available, text_value=image.view,
        asset=str(file.path), asset_sha256=file.sha256, source_file=file.source, source_record=image.uid,
    )  # fmt: skip
    return None


class _Image:
    """What tells one image from others."""

    def __init__(self, uid: str, study: str, modality: str, view: str | None) -> None:
        self.uid, self.study, self.modality, self.view = uid, study, modality, view


def _image(dataset: "Dataset") -> _Image:
    uid, study = _text(dataset, "SOPInstanceUID"), _text(dataset, "StudyInstanceUID")
    if not _UID.fullmatch(uid):
        raise Refusal("SOP Instance UID", "a UID", "none" if not uid else "something else")
    if study and not _UID.fullmatch(study):
        raise Refusal("Study Instance UID", "a UID", "something else")
    modality, view = _text(dataset, "Modality"), _text(dataset, "ViewPosition")
    if not _CODE_STRING.fullmatch(modality):
        raise Refusal("Modality", "a code such as DX", "none" if not modality else "something else")
    return _Image(uid, study, modality, view if _CODE_STRING.fullmatch(view) else None)


def _no_image(header: DicomHeader) -> str | None:
    from pydicom.uid import UID

    uid = UID(_text(header.dataset, "SOPClassUID"))
    name = uid.name if uid.name != uid else "an unknown SOP class"
    if name.startswith(_DERIVED):
        return f"no image: {name}"
    if header.pixel_digest is not None:
        return None
    if "Image Storage" in name:
        raise Refusal("Pixel Data", f"the pixels of a {name.removesuffix(' Storage')}", "none")
    return f"no image: {name}"


def _patient(dataset: "Dataset", default_issuer: str) -> tuple[str, str, Claim]:
    """(issuer, identifier, what the file says of the person)."""
    issuer = _text(dataset, "IssuerOfPatientID")
    if qualifiers := dataset.get("IssuerOfPatientIDQualifiersSequence"):
        entity = _text(qualifiers[0], "UniversalEntityID")
        if entity:
            is_oid = _text(qualifiers[0], "UniversalEntityIDType") == "ISO"
            issuer = f"urn:oid:{entity}" if is_oid else entity
    name = _text(dataset, "PatientName").split("=")[0]  # the alphabetic group; others are other scripts
    family, _, rest = name.partition("^")
    spoken = f"{family.strip()}^{rest.split('^')[0].strip()} {' '.join(rest.split('^')[1:2]).strip()}".strip(" ^")
    birth_date = re.sub(r"\D", "", _text(dataset, "PatientBirthDate"))
    sex = _text(dataset, "PatientSex").upper()
    claim = Claim((spoken,) if spoken else (), birth_date, sex if sex in {"M", "F", "O"} else "")
    return issuer or default_issuer, _text(dataset, "PatientID"), claim


def _times(dataset: "Dataset", intake: Intake) -> tuple[Moment, dt.datetime]:
    """(when the image was taken, when it could be known)."""
    offset = _text(dataset, "TimezoneOffsetFromUTC")
    zone: dt.tzinfo | None = parse_offset(offset) if offset else intake.zone
    taken = _taken(dataset, zone)
    created = taken.end
    if date := _text(dataset, "InstanceCreationDate"):
        created = parse_dicom(date, _text(dataset, "InstanceCreationTime"), "Instance Creation Date", zone).end
    return taken, max(taken.end, created)


def _taken(dataset: "Dataset", zone: dt.tzinfo | None) -> Moment:
    if whole := _text(dataset, "AcquisitionDateTime"):
        clock = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?", whole)
        if not clock:
            raise Refusal("Acquisition DateTime", "YYYYMMDDHHMMSS", "something else")
        own = parse_offset(clock[3]) if clock[3] else zone
        return parse_dicom(clock[1], clock[2] or "", "Acquisition DateTime", own)
    stated = [
        (kind, _text(dataset, f"{kind}Date"), _text(dataset, f"{kind}Time"))
        for kind in _TIMES
        if _text(dataset, f"{kind}Date")
    ]
    if not stated:
        raise Refusal("Acquisition Date", "the date of the acquisition, content, series or study", "none")
    kind, date, time = next((each for each in stated if each[2]), stated[0])
    return parse_dicom(date, time, f"{kind} Date", zone)


def _text(dataset: "Dataset", keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")
