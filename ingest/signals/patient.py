"""Whom a recording's own header names: the patient field of EDF and BDF, the comments of a WFDB header.

SOURCE: the EDF and EDF+ specifications (edfplus.info/specs): 80 characters, in EDF+ "code sex birthdate name", each X
where it is unknown, spaces within one as underscores. header(5) leaves the comments of WFDB free; PhysioNet's records
write "# Patient ID: 17" and "# Sex: F".
"""

import datetime as dt
import re
from dataclasses import dataclass, field
from pathlib import Path

from ingest.identity.register import Claim
from ingest.signals.edf import is_edf
from ingest.signals.wfdb import MAX_HEADER_BYTES, SUFFIX

_HEADER_BYTES = 256  # of EDF and BDF
_PLACE = slice(8, 88)  # of the patient in it
_NOBODY = re.compile(r"(?:[x?*._0-]+|n/?a|none|unknown|anon\w*|de-?identified|not[ _]recorded)?", re.IGNORECASE)
_BIRTH = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})")
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_COMMENT = re.compile(r"#\s*<?(?P<key>[A-Za-z ]{2,24}?)>?\s*[:=]\s*(?P<value>[^<]{1,80}?)\s*")
_IDENTIFIERS = {"patient", "patient id", "patient identifier", "patient number", "patient no", "subject id", "mrn"}


@dataclass(frozen=True)
class NamedPatient:
    """The identifier, and what else is said; empty where the header says nothing."""

    identifier: str = ""
    claim: Claim = field(default_factory=Claim)


def named_patient(path: Path) -> NamedPatient:
    """Whom a recording names: nobody where it is anonymous, of another format, or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            if is_edf(head):
                return _of_edf(head[_PLACE].decode("latin-1").strip(" \0"))
            if path.suffix == SUFFIX:
                return _of_comments((head + file.read(MAX_HEADER_BYTES)).decode("latin-1"))
    except OSError:
        pass
    return NamedPatient()


def _of_edf(written: str) -> NamedPatient:
    """Of EDF+'s four parts; of other text an identifier that stands alone: more cannot be told from a name."""
    parts = written.split()
    if len(parts) == 1 and re.search(r"\d", written):
        return NamedPatient(_stated(written))
    if len(parts) < 4 or parts[1].upper() not in {*_SEXES, "X"}:
        return NamedPatient()
    code, sex, birth, name = (_stated(part) for part in parts[:4])
    name = name.replace("_", " ").strip()
    claim = Claim((name,) if name else (), _birth_date(birth), _SEXES.get(sex.upper(), ""))
    return NamedPatient(code, claim)


def _of_comments(header: str) -> NamedPatient:
    found = [match for line in header.splitlines() if (match := _COMMENT.fullmatch(line.strip()))]
    said = {match["key"].strip().lower(): _stated(match["value"].strip()) for match in reversed(found)}
    identifier = next((said[key] for key in said if key in _IDENTIFIERS and said[key]), "")
    return NamedPatient(identifier, Claim(sex=_SEXES.get(said.get("sex", "").upper(), "")))


def _stated(text: str) -> str:
    return "" if _NOBODY.fullmatch(text) else text


def _birth_date(text: str) -> str:
    """dd-MMM-yyyy as digits; empty where it is no date."""
    parts = _BIRTH.fullmatch(text)
    if parts is None or parts[2].upper() not in _MONTHS:
        return ""
    try:
        day = dt.date(int(parts[3]), _MONTHS.index(parts[2].upper()) + 1, int(parts[1]))
    except ValueError:
        return ""
    return f"{day:%Y%m%d}"
