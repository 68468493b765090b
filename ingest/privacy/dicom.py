"""A DICOM data set without what says who it is of.

The Basic Application Level Confidentiality Profile with the Retain Longitudinal Temporal Information with Modified
Dates Option: DICOM PS3.15, annex E, table E.1-1 (2026c, as data from the package dicomanonymizer). Where the table
leaves a choice (X/Z, X/Z/D ...), what keeps the object valid is taken: an empty value over none, a dummy over an empty
one. Dates of the patient's course are moved by the subject's own number of days; times of day stay.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from ingest.privacy.keys import ISSUER, Keys

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

Action = Literal["remove", "empty", "dummy", "uid"]
METHOD = "Telltale: Basic Profile, longitudinal with modified dates"
# DICOM PS3.16 CID 7050: what was done, as codes.
PROFILE_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
_TEXT = "REMOVED"
_DUMMIES = {
    "PN": "REMOVED", "LO": _TEXT, "SH": _TEXT, "ST": _TEXT, "LT": _TEXT, "UT": _TEXT, "UC": _TEXT, "CS": _TEXT,
    "AE": _TEXT, "UR": "urn:removed", "AS": "000Y", "DS": "0", "IS": "0", "DA": "19000101", "TM": "000000",
    "DT": "19000101000000",
}  # fmt: skip
_NUMBERS = {"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"}
_BYTES = {"OB", "OW", "OF", "OD", "OL", "OV", "UN"}
_TIME = re.compile(r"\d{2,6}(\.\d{1,6})?")
_BIRTH_AND_OTHER_LIFE_DATES = {0x00100030, 0x00100032, 0x00100035, 0x001021D0}  # birth, birth time, menstruation
_OVERLAYS, _CURVES = 0x6000, 0x5000
_AFTER_PIXELS = 0x7FE0
_OFFSET, _OFFSET_FORM = 0x00080201, re.compile(r"[+-]\d{4}")
_CHARACTER_SET = 0x00080005
_OURS = {_CHARACTER_SET, 0x00100024, 0x0040B020}  # issuer qualifiers, waveform annotations: removed
_FREE_TEXT = {"ST", "LT", "UT", "PN"}  # removed where the table does not name them
_SHORT_TEXT = {"LO", "SH", "UC", "AE", "UR"}  # kept where the table does not name them, as the meaning of a code
_IDENTIFYING = (
    "PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName", "AccessionNumber",
)  # fmt: skip
_STANDARD_ROOT = "1.2.840.10008."
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_DATETIME = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(\d{2,6}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")


@dataclass(frozen=True)
class Person:
    """What takes the place of a patient's identifier and name, and by how many days the patient's dates move."""

    pseudonym: str
    days: int


def deidentify(dataset: "Dataset", person: Person, keys: Keys, codes: tuple[tuple[str, str], ...] = ()) -> None:
    """Change a data set in place, its nested ones too. Pixels stay as they are; the file's meta is the caller's.

    codes: what else was done to it (CID 7050). Elements after the pixels go: trailing padding, digital signatures.
    """
    is_wide = _CHARACTER_SET in dataset
    for tag in [tag for tag in list(dataset.keys()) if tag.group > _AFTER_PIXELS]:
        del dataset[tag]
    _clean(dataset, person, keys, _named_in(dataset))
    if is_wide:  # all texts are decoded by now
        dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID = person.pseudonym
    dataset.PatientName = person.pseudonym
    dataset.IssuerOfPatientID = ISSUER
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = [_code(*code) for code in (*PROFILE_CODES, *codes)]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def _named_in(dataset: "Dataset") -> re.Pattern[str] | None:
    """The patient's names and numbers, as words that other texts of the data set may hold."""
    said = [str(dataset.get(keyword) or "") for keyword in _IDENTIFYING]
    words = {word.casefold() for text in said for word in re.findall(r"\w{3,}", text)}
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(words)))})(?!\w)", re.IGNORECASE) if words else None


def _clean(dataset: "Dataset", person: Person, keys: Keys, named: re.Pattern[str] | None) -> None:
    from pydicom.datadict import dictionary_has_tag

    for tag in list(dataset.keys()):
        if tag.is_private or tag.element == 0 or not dictionary_has_tag(tag):
            del dataset[tag]
            continue
        element = dataset[tag]
        action = _action(tag)
        if element.VR in ("DA", "DT", "TM") and int(tag) not in _BIRTH_AND_OTHER_LIFE_DATES:
            element.value = _each(element, partial(moved, days=person.days, vr=element.VR))
        elif int(tag) == _OFFSET and _OFFSET_FORM.fullmatch(str(element.value).strip()):
            continue  # without it no time of the file could be told
        elif action == "remove" or element.VR == "UN" or (action is None and _is_doubtful(tag, element)):
            del dataset[tag]
        elif element.VR == "SQ":
            if action == "empty":
                element.value = []
            for item in element.value:
                _clean(item, person, keys, named)
        elif element.VR == "UI":
            element.value = _each(element, partial(_uid, keys=keys, always=action is not None))
        elif action == "empty":
            element.value = None
        elif action in ("dummy", "uid") or (named and element.VR in _SHORT_TEXT and named.search(str(element.value))):
            element.value = _dummy(element)


def _is_doubtful(tag: "BaseTag", element: "DataElement") -> bool:
    """What the table does not name and that could say anything all the same: free text, names, graphics."""
    is_graphic = tag.group & 0xFF00 in (_OVERLAYS, _CURVES) and tag.group <= 0x60FF
    return element.VR in _FREE_TEXT or is_graphic or int(tag) in _OURS


def _uid(uid: str, *, keys: Keys, always: bool) -> str:
    """A UID that the table names, or that the standard has not assigned, becomes another."""
    return uid if uid.startswith(_STANDARD_ROOT) or not (uid.strip() or always) else keys.uid(uid)


def moved(value: object, days: int, vr: str) -> str:
    """A DICOM date (DA) or date-time (DT) some days later; of less than a day's precision, the year or month that
    results. A time of day (TM) stays. What is none of these is left out: a text in its place could say anything.
    """
    text = str(value).strip()
    if vr == "TM":
        return text if _TIME.fullmatch(text) else ""
    found = (_DATE if vr == "DA" else _DATETIME).fullmatch(text)
    if not found:
        return ""
    try:
        day = dt.date(int(found[1]), int(found[2] or 7), int(found[3] or 1)) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    plain = f"{day.year:04}{day:%m%d}"
    if vr == "DA":
        return plain
    precision = 4 if not found[2] else 6 if not found[3] else 8
    return plain[:precision] + (found[4] or "") + (found[5] or "")


def _each(element: "DataElement", change: Callable[[str], str]) -> object:
    value = element.value
    if value in (None, "", []):
        return value
    if element.VM > 1:
        return [change(str(one)) for one in value]
    return change(str(value))


def _dummy(element: "DataElement") -> object:
    if element.VR in _NUMBERS:
        return 0
    if element.VR in _BYTES:
        return b"\0\0"
    return _DUMMIES.get(element.VR, _TEXT)


def _action(tag: "BaseTag") -> Action | None:
    exact, repeating = _table()
    if int(tag) in exact:
        return exact[int(tag)]
    group, number = tag.group, tag.element
    masked = (
        action
        for (base_group, base, group_mask, mask), action in repeating.items()
        if group & group_mask == base_group & group_mask and number & mask == base & mask
    )
    return next(masked, None)


@cache
def _table() -> tuple[dict[int, Action], dict[tuple[int, int, int, int], Action]]:
    """Table E.1-1: the action for each tag, and for the repeating groups (group, element and their masks)."""
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

    parts: tuple[tuple[list[tuple[int, ...]], Action], ...] = (
        (table.X_TAGS, "remove"),
        (table.Z_TAGS, "empty"),
        (table.X_Z_TAGS, "empty"),
        (table.D_TAGS, "dummy"),
        (table.X_D_TAGS, "dummy"),
        (table.Z_D_TAGS, "dummy"),
        (table.X_Z_D_TAGS, "dummy"),
        (table.U_TAGS, "uid"),
        (table.X_Z_U_STAR_TAGS, "uid"),
    )
    exact: dict[int, Action] = {}
    repeating: dict[tuple[int, int, int, int], Action] = {}
    for tags, action in parts:
        for tag in tags:
            if len(tag) == 2:
                exact[tag[0] << 16 | tag[1]] = action
            else:
                group, element, group_mask, element_mask = tag
                repeating[group, element, group_mask, element_mask] = action
    return exact, repeating


def _code(value: str, meaning: str) -> "Dataset":
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
