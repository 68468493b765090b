"""What one DICOM file says: who, when, which image, which pixels; or why it is not one that is read in."""

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.dicom.facts import CODE_STRING, UID_PATTERN, common_facts, image_facts, text, waveform_facts
from ingest.dicom.header import DicomFile, dicom_errors, open_dicom
from ingest.dicom.kinds import is_waveform, no_image, sop_class
from ingest.dicom.pixels import decoded_bytes, missing_decoder, pixel_digest, syntax_name
from ingest.errors import InputError
from ingest.identity.register import Claim
from ingest.meaning.times import Moment, parse_dicom, parse_offset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_IDENTIFIER = 256  # characters; the standard allows 64
_TIMES = ("Acquisition", "Content", "Series", "Study")


@dataclass(frozen=True)
class Entry:
    """An image or waveform that is sound by itself. Times are ISO 8601 in UTC."""

    uid: str
    study: str  # empty where the file names none
    digest: str  # of the pixels or samples
    issuer: str
    identifier: str
    claim: Claim
    code: str
    text_value: str | None
    taken: str
    available: str
    is_date: bool
    kind: str  # of the catalogue: image, volume, waveform
    decoded_bytes: int  # of compressed pixels; 0 of others
    facts: dict[str, object] = field(default_factory=dict)


def read_entry(file: SourceFile, content: bytes | None, *, issuer: str, zone: dt.tzinfo | None) -> Entry | str:
    """What a file says; or, of one that is no image, what it is. Raises Refusal or InputError.

    issuer: of identifiers that do not say whose they are. zone: of times that do not say in which.
    """
    with open_dicom(file.path, content) as opened:
        dataset = opened.dataset
        try:
            if "DirectoryRecordSequence" in dataset:
                return "DICOM directory"
            if not dataset.get("SOPClassUID"):
                raise Refusal("SOP Class UID", "what kind of object this is", "none")
            if is_waveform(dataset):
                return _entry(opened, issuer, zone, _samples_digest(dataset), "waveform", waveform_facts(dataset), 0)
            if reason := no_image(dataset, has_pixels=opened.pixels is not None):
                return reason
            if missing := missing_decoder(opened):
                raise Refusal(
                    "Transfer Syntax UID", "one that can be decoded here", syntax_name(opened), f"needs {missing}"
                )
            digest = pixel_digest(opened)
            assert digest is not None
            facts = image_facts(opened)
            kind = "image" if facts["frames"] == 1 else "volume"
            size = decoded_bytes(opened) if opened.transfer_syntax.is_encapsulated else 0
            return _entry(opened, issuer, zone, digest, kind, facts, size)
        except dicom_errors() as error:
            raise Refusal(
                "", f"a sound {sop_class(dataset)}", f"an element that cannot be read ({type(error).__name__})"
            ) from None


def series_and_instance(file: SourceFile, content: bytes | None = None) -> tuple[str, str]:
    """Series and SOP Instance UID of a file that may be broken; empty where it does not tell."""
    try:
        with open_dicom(file.path, content) as opened:
            facts = common_facts(opened.dataset)
            return str(facts["series"]), str(facts["instance"])
    except (InputError, Refusal):
        return "", ""
    except dicom_errors():
        return "", ""


def _entry(
    opened: DicomFile, issuer: str, zone: dt.tzinfo | None, digest: str, kind: str, facts: dict[str, object], size: int
) -> Entry:  # fmt: skip
    dataset = opened.dataset
    uid, study = _uid(dataset, "SOPInstanceUID"), _uid(dataset, "StudyInstanceUID")
    if not uid:
        raise Refusal("SOP Instance UID", "a UID", "none")
    modality, view = text(dataset, "Modality"), text(dataset, "ViewPosition")
    if not CODE_STRING.fullmatch(modality):
        raise Refusal("Modality", "a code such as DX", "none" if not modality else "something else")
    taken, available = _times(dataset, zone)
    return Entry(
        uid, study, digest, *_patient(dataset, issuer), f"DICOM//{modality}",
        view if CODE_STRING.fullmatch(view) else None, taken.start.isoformat(), available.isoformat(), taken.is_date,
        kind, size, facts,
    )  # fmt: skip


def _uid(dataset: "Dataset", keyword: str) -> str:
    from pydicom.datadict import dictionary_description

    value = str(dataset.get(keyword) or "").strip(" \0")
    if value and (len(value) > 64 or not UID_PATTERN.fullmatch(value)):
        raise Refusal(dictionary_description(keyword), "a UID", "something else")
    return value


def _samples_digest(dataset: "Dataset") -> str:
    digest = hashlib.sha256()
    for group in dataset.get("WaveformSequence") or ():
        digest.update(group.get("WaveformData") or b"")
    return digest.hexdigest()


def _patient(dataset: "Dataset", default_issuer: str) -> tuple[str, str, Claim]:
    """(issuer, identifier, what the file says of the person)."""
    issuer = text(dataset, "IssuerOfPatientID")
    if qualifiers := dataset.get("IssuerOfPatientIDQualifiersSequence"):
        entity = text(qualifiers[0], "UniversalEntityID")
        if entity:
            is_oid = text(qualifiers[0], "UniversalEntityIDType") == "ISO"
            issuer = f"urn:oid:{entity}" if is_oid else entity
    identifier = text(dataset, "PatientID")
    if len(identifier) > MAX_IDENTIFIER or "\\" in identifier or not identifier.isprintable():
        raise Refusal("Patient ID", "one identifier of printable characters", f"{len(identifier)} characters")
    if not identifier:
        raise Refusal("Patient ID", "an identifier", "nothing", "an image or record of nobody is not used")
    name = text(dataset, "PatientName").split("=")[0]  # the alphabetic group; others are other scripts
    family, _, rest = name.partition("^")
    spoken = f"{family.strip()}^{rest.split('^')[0].strip()} {' '.join(rest.split('^')[1:2]).strip()}".strip(" ^")
    birth_date = re.sub(r"\D", "", text(dataset, "PatientBirthDate"))[:8]
    sex = text(dataset, "PatientSex").upper()
    claim = Claim((spoken,) if spoken else (), birth_date, sex if sex in {"M", "F", "O"} else "")
    return issuer or default_issuer, identifier, claim


def _times(dataset: "Dataset", zone: dt.tzinfo | None) -> tuple[Moment, dt.datetime]:
    """(when the image was taken, when it could be known)."""
    offset = text(dataset, "TimezoneOffsetFromUTC")
    own: dt.tzinfo | None = parse_offset(offset) if offset else zone
    taken = _taken(dataset, own)
    created = taken.end
    if date := text(dataset, "InstanceCreationDate"):
        created = parse_dicom(date, text(dataset, "InstanceCreationTime"), "Instance Creation Date", own).end
    return taken, max(taken.end, created)


def _taken(dataset: "Dataset", zone: dt.tzinfo | None) -> Moment:
    if whole := text(dataset, "AcquisitionDateTime"):
        clock = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?", whole)
        if not clock:
            raise Refusal("Acquisition DateTime", "YYYYMMDDHHMMSS", "something else")
        own = parse_offset(clock[3]) if clock[3] else zone
        return parse_dicom(clock[1], clock[2] or "", "Acquisition DateTime", own)
    stated = [
        (kind, text(dataset, f"{kind}Date"), text(dataset, f"{kind}Time"))
        for kind in _TIMES
        if text(dataset, f"{kind}Date")
    ]
    if not stated:
        raise Refusal("Acquisition Date", "the date of the acquisition, content, series or study", "none")
    kind, date, time = next((each for each in stated if each[2]), stated[0])
    return parse_dicom(date, time, f"{kind} Date", zone)
