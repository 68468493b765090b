"""Notes without what says who they are of, by rules: each kind of thing found is counted, none is repeated.

Rules find what has a form (numbers, dates, addresses of any kind, a name after a title) and what the delivery itself
says of the subject (names, identifiers). A bare name that nobody has told of passes: see docs/privacy.md for what was
measured. Every pattern is linear: it takes no longer per character on hostile text than on plain text.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_WORD_NAME = r"[^\W\d_a-z][\w'’-]+"  # begins with a letter that is not a small Latin one
_NAME = rf"(?:{_WORD_NAME}|[^\W\d_a-z]\.)(?:[ \t](?:(?:van|von|der|den|de|di|da|la|le|del|zu|bin|al)[ \t])?(?:{_WORD_NAME}|[^\W\d_a-z]\.)){{0,3}}"
_TITLES = (
    r"Dr|Drs|Prof|Mr|Mrs|Ms|Miss|Mx|Sir|Herrn?|Frau|Hr|Fr|M|Mme|Mlle|Sr|Sra|Srta|Dña|Don|Doña|Sig|Sig\.ra|"
    r"Dott|Dott\.ssa|Dipl|med|Nurse|Schwester|Pfleger|Docteur|Doctor|Doctora"
)
_MONTHS: dict[str, int] = {}
for _number, _names in enumerate(
    (
        "january jan januar jänner janvier enero ene",
        "february feb februar février fév febrero",
        "march mar märz mrz mars marzo",
        "april apr avril avr abril abr",
        "may mai mayo",
        "june jun juni juin junio",
        "july jul juli juillet juil julio",
        "august aug août agosto ago",
        "september sep sept septembre septiembre",
        "october oct oktober okt octobre octubre",
        "november nov novembre noviembre",
        "december dec dezember dez décembre déc diciembre dic",
    ),
    1,
):
    _MONTHS.update(dict.fromkeys(_names.split(), _number))
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))


@dataclass(frozen=True)
class Known:
    """What the delivery says of a note's subject: names as words, identifiers as they are written."""

    names: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()


@dataclass
class Scrubber:
    """Takes out what identifies, counts it by kind, and moves the dates of one subject by `days`."""

    days: int
    known: Known = Known()
    found: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._known = _known_pattern(self.known)

    def scrub(self, text: str) -> str:
        """The text with a mark such as [NAME] in each place."""
        if self._known is not None:
            text = self._known.sub(lambda match: self._mark("NAME" if match["name"] else "ID"), text)
        for kind, pattern in _PATTERNS:
            if kind == "DATE":
                text = pattern.sub(self._date, text)
            elif kind == "AGE":
                text = pattern.sub(self._age, text)
            else:
                text = pattern.sub(self._part(kind), text)
        return text

    def _mark(self, kind: str) -> str:
        self.found[kind] += 1
        return f"[{kind}]"

    def _part(self, kind: str) -> Callable[[re.Match[str]], str]:
        def replaced(match: re.Match[str]) -> str:
            kept = match.groupdict().get("kept") or ""
            return kept + self._mark(kind)

        return replaced

    def _age(self, match: re.Match[str]) -> str:
        if int(match["age"]) <= 89:
            return match[0]
        self.found["AGE"] += 1
        return match[0].replace(match["age"], "90+", 1)

    def _date(self, match: re.Match[str]) -> str:
        self.found["DATE"] += 1
        moved = _moved(match, self.days)
        return "[DATE]" if moved is None else moved


def _known_pattern(known: Known) -> re.Pattern[str] | None:
    names = sorted({word for name in known.names for word in re.findall(r"[^\W\d_]{2,}", name)}, key=len, reverse=True)
    identifiers = sorted({text for text in known.identifiers if len(text) >= 3}, key=len, reverse=True)
    if not names and not identifiers:
        return None
    never = r"(?!)"
    by_name = "|".join(map(re.escape, names)) or never
    by_number = "|".join(map(re.escape, identifiers)) or never
    return re.compile(rf"(?<!\w)(?:(?P<name>{by_name})|(?:{by_number}))(?!\w)", re.IGNORECASE)


def _moved(match: re.Match[str], days: int) -> str | None:
    """The date some days later in the form in which it stood; None where it is none that can be told."""
    parts = match.groupdict()
    if parts.get("word"):
        day, month, year = (
            parts["word_day"] or parts["word_day2"],
            _MONTHS.get(parts["word"].lower()),
            parts["word_year"],
        )
    elif parts.get("iso_year"):
        day, month, year = parts["iso_day"], int(parts["iso_month"]), parts["iso_year"]
    elif parts.get("dot_year"):
        day, month, year = parts["dot_day"], int(parts["dot_month"]), parts["dot_year"]
    else:
        return None  # 03/04/2021: nobody can say which is the month
    if not (day and month and year and len(year) == 4):
        return None
    try:
        date = dt.date(int(year), month, int(day)) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    if parts.get("dot_year"):
        return f"{date:%d.%m.%Y}"
    return date.isoformat()


def _patterns() -> Iterable[tuple[str, str]]:
    yield "EMAIL", r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}"
    yield "URL", r"\b(?:https?|ftp)://\S+|\bwww\.\S+"
    yield (
        "DATE",
        (
            r"\b(?P<iso_year>\d{4})-(?P<iso_month>\d{1,2})-(?P<iso_day>\d{1,2})(?=\b|T)"
            r"|\b(?P<dot_day>\d{1,2})\.[ ]?(?P<dot_month>\d{1,2})\.[ ]?(?P<dot_year>\d{4}|\d{2})\b"
            r"|\b\d{1,4}/\d{1,2}/\d{1,4}\b|\b\d{1,2}-\d{1,2}-\d{2,4}\b"
            rf"|\b(?:(?P<word_day>\d{{1,2}})(?:st|nd|rd|th|\.|er)?[ ](?:de[ ])?)?(?P<word>{_MONTH})\b\.?"
            r"(?:[ ](?P<word_day2>\d{1,2})(?:st|nd|rd|th)?,?)?[ ](?:de[ ])?(?P<word_year>\d{4})\b"
            r"|\d{4}年\d{1,2}月\d{1,2}日"
        ),
    )
    yield "IP", r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
    yield "IBAN", r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,3})?\b"
    yield "SSN", r"\b\d{3}-\d{2}-\d{4}\b"
    yield (
        "ID",
        (
            r"(?P<kept>\b(?:MRN|ID|Pat(?:ient)?(?:en)?[ -]?(?:ID|Nr|No|number|nummer)|case|Fall(?:nummer|nr)|dossier|NHC|"
            r"No|Nr|N°|Versicherten(?:nummer|nr)|Acc(?:ession)?)\.?[ ]?[:#]?[ ]?)[A-Z]{0,3}[-/]?\d[\w/-]{3,20}"
        ),
    )
    yield (
        "PHONE",
        r"(?<![\w.,])(?:\+|00)\d[\d ()/.-]{6,20}\d(?!\w)|(?<![\w.,])\(?0\d{1,5}\)?[ /-]{1,3}\d[\d /-]{3,14}\d(?!\w)",
    )
    yield "PHONE", r"(?<![\w.,])\(?\d{3}\)?[ .-]\d{3}[.-]\d{4}(?!\w)"
    yield (
        "ADDRESS",
        (
            r"\b\d{1,5}[ ](?:[A-Z][\w'-]+[ ]){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|"
            r"Way|Place|Pl)\b\.?"
            r"|\b[A-ZÄÖÜ][\w-]*(?:straße|strasse|str\.|weg|gasse|platz|allee)[ ]\d{1,4}[a-z]?\b"
            r"|\b\d{1,4}(?:bis|ter)?,?[ ](?:rue|avenue|boulevard|place|chemin|allée)[ ](?:(?:de|du|des|la|le|l')[ ]?){0,3}\w[\w' -]{1,40}"
            r"|\b(?:Calle|Avenida|Avda\.|Plaza|Paseo)[ ](?:(?:de|del|la|las|los|el)[ ]){0,3}[A-ZÁÉÍÓÚÑ]\w+,?[ ](?:n\.?º?[ ]?)?\d{1,4}"
        ),
    )
    yield "ZIP", r"\b(?:[A-Z]{2}[ ])?\d{5}(?:-\d{4})?[ ](?=[A-ZÄÖÜÉ][a-zäöüéè]+\b)|(?<=[A-Z]{2}[ ])\d{5}(?:-\d{4})?\b"
    yield "NAME", rf"(?P<kept>\b(?:{_TITLES})\.?[ ]){_NAME}"
    yield (
        "NAME",
        (
            r"(?P<kept>\b(?:[Nn]ame|NAME|[Pp]atient(?:in)?|PATIENT|[Pp]aciente|[Ss]igned(?: by)?|[Dd]ictated by|gez\.|"
            rf"[Uu]nterschrift|[Ss]igné|[Ff]irmado)[ ]?:[ ]?){_NAME}"
        ),
    )
    yield "NUMBER", r"(?<![\w.,])\d{7,}(?![\w.,])"
    yield "AGE", (r"\b(?P<age>1?\d{2})(?=[ -]?(?:years?|yrs?|yo|y/o|y\.o\.|-year|jährige?[rn]?|Jahre|ans|años)\b)")


_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _patterns()]
