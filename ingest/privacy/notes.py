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

OLDEST = 90  # years: from this age on only that it was reached may be told (45 CFR 164.514(b)(2)(i)(C))
_WORD_NAME = r"[^\W\d_a-z][\w'’-]+"  # begins with a letter that is not a small Latin one
_PART = rf"(?:{_WORD_NAME}|[^\W\d_a-z]\.)"
_OF = r"(?:van|von|der|den|de|di|da|la|le|del|zu|bin|al)"
_NAME = rf"(?:{_OF}[ \t]){{0,2}}{_PART}(?:[ \t](?:{_OF}[ \t]){{0,2}}{_PART}){{0,3}}"
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
_SIGNS = (
    r"[Nn]ame|NAME|Nom|Nombre|[Pp]atient(?:in|e)?|PATIENT|[Pp]aciente|[Ss]igned(?: by)?|[Dd]ictated by|gez\.|"
    r"[Uu]nterschrift|[Ss]igné(?: par)?|[Ff]irmado(?: por)?|Next of kin|Angehörige[rn]?|Contact|Contacto|"
    r"Attending|GP|Hausarzt|Médecin|Médico"
)
_NUMBERED = (
    r"MRN|ID|Pat(?:ient)?(?:en)?[ -]?(?:ID|Nr|No|number|nummer)|case|Case|Fall(?:nummer|nr)|[Dd]ossier|NHC|IPP|NIP|DNI|"
    r"NHS(?: No)?|No|Nr|N°|Versicherten(?:nummer|nr)|Acc(?:ession)?|Historia"
)
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))


@dataclass(frozen=True)
class Known:
    """What the delivery says of a note's subject: names as words, identifiers as they are written."""

    names: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()


@dataclass
class Scrubber:
    """Takes out what identifies, counts it by kind, and moves the dates of one subject by `days`.

    A date of the year `oldest` or before goes altogether: it would be the birth of somebody of 90 or more.
    """

    days: int
    known: Known = field(default_factory=Known)
    found: Counter[str] = field(default_factory=Counter)
    oldest: int = field(default_factory=lambda: dt.datetime.now(dt.UTC).year - OLDEST)

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
        moved = _moved(match, self.days, self.oldest)
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


def _moved(match: re.Match[str], days: int, oldest: int) -> str | None:
    """The date some days later in the form in which it stood; None where it is none that can or may be told."""
    parts = match.groupdict()
    if parts.get("word"):
        day = parts["word_day"] or parts["word_day2"]
        month, year = _MONTHS.get(parts["word"].lower()), parts["word_year"]
    elif parts.get("iso_year"):
        day, month, year = parts["iso_day"], int(parts["iso_month"]), parts["iso_year"]
    elif parts.get("dot_year"):
        day, month, year = parts["dot_day"], int(parts["dot_month"]), parts["dot_year"]
    elif parts.get("han_year"):
        day, month, year = parts["han_day"], int(parts["han_month"]), parts["han_year"]
    else:
        return None  # 03/04/2021: nobody can say which is the month
    if not (day and month and year and len(year) == 4):
        return None
    try:
        date = dt.date(int(year), month, int(day)) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    if date.year <= oldest:
        return None
    if parts.get("dot_year"):
        return f"{date:%d.%m.}{date.year:04}"
    return f"{date.year}年{date.month}月{date.day}日" if parts.get("han_year") else date.isoformat()


def _patterns() -> Iterable[tuple[str, str]]:
    yield "EMAIL", r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}"
    yield "URL", r"\b(?:https?|ftp)://\S+|\bwww\.\S+"
    yield "DATE", "|".join(_dates())
    yield "IP", r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
    yield "IBAN", r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,3})?\b"
    yield "SSN", r"\b\d{3}-\d{2}-\d{4}\b"
    yield "ID", rf"(?P<kept>\b(?:{_NUMBERED})\.?[ ]?[:#]?[ ]?)[A-Z]{{0,3}}[-/]?\d[\w/-]{{3,20}}"
    yield "ID", r"(?P<kept>(?:病历号|住院号|门诊号|身份证号?|编号|病案号)[ ]?[:：]?[ ]?)[A-Z0-9-]{4,20}"
    yield (
        "PHONE",
        (
            r"(?<![\w.,/-])(?:\+|00)\d[\d ()/.-]{6,20}\d(?!\w)"
            r"|(?<![\w.,/-])\(?0\d{1,5}\)?[ /-]{1,3}\d[\d /-]{3,14}\d(?!\w)"
            r"|(?<![\w.,/-])\(?\d{3}\)?[ .-]{1,2}\d{3}[.-]\d{4}(?!\w)"
            r"|(?<![\w.,/-])[6-9]\d{1,2}(?:[ ]\d{2,3}){2,3}(?![\w])"
            r"|(?<!\d)1[3-9]\d{9}(?!\d)"
        ),
    )
    yield "ADDRESS", "|".join(_addresses())
    yield "ZIP", (r"\b(?:[A-Z]{2}[ ])?\d{5}(?:-\d{4})?[ ](?=[A-ZÄÖÜÉ][a-zäöüéè]+\b)|(?<=[A-Z]{2}[ ])\d{5}(?:-\d{4})?\b")
    yield "NAME", rf"(?P<kept>(?<!\w)(?:{_TITLES})\.?[ ])(?:(?:{_TITLES})\.?[ ]){{0,2}}{_NAME}"
    yield "NAME", rf"(?P<kept>(?<!\w)(?:{_SIGNS})[ ]?[:：][ ]?)(?:(?:{_TITLES})\.?[ ]){{0,2}}{_NAME}"
    yield "NAME", r"(?P<kept>(?:姓名|患者姓名|患者|医师|医生|签名|主治医师|家属)[ ]?[:：][ ]?)[\u4e00-\u9fff]{2,4}"
    yield "NUMBER", r"(?<![\w.,])\d{7,}(?![\w.,]\d)(?!\w)"
    yield "AGE", r"\b(?P<age>1?\d{2})(?=[ -]?(?:years?|yrs?|yo|y/o|y\.o\.|-year|jährige?[rn]?|Jahre|ans|años)\b|[ ]?岁)"


def _dates() -> Iterable[str]:
    """Dates, the most telling form first."""
    yield r"\b(?P<iso_year>\d{4})-(?P<iso_month>\d{1,2})-(?P<iso_day>\d{1,2})(?=\b|T)"
    yield r"\b(?P<dot_day>\d{1,2})\.[ ]?(?P<dot_month>\d{1,2})\.[ ]?(?P<dot_year>\d{4}|\d{2})(?!\d)"
    yield r"\b\d{1,2}/\d{1,2}/\d{2,4}\b|\b\d{4}/\d{1,2}/\d{1,2}\b|\b\d{1,2}-\d{1,2}-\d{2,4}\b"
    yield r"(?<!\d)(?P<han_year>\d{4})年(?P<han_month>\d{1,2})月(?P<han_day>\d{1,2})日"
    yield r"(?<!\d)\d{1,2}月\d{1,2}日"
    number = r"(?:st|nd|rd|th|\.|er)?[ ](?:of[ ]|de[ ])?"
    yield (
        rf"\b(?:(?P<word_day>\d{{1,2}}){number})?(?P<word>(?i:{_MONTH}))\b\.?"
        r"(?:[ ](?P<word_day2>\d{1,2})(?:st|nd|rd|th)?)?,?[ ](?:de[ ]|del[ ])?(?P<word_year>\d{4})\b"
    )
    yield rf"\b\d{{1,2}}{number}(?i:{_MONTH})\b(?:\.?[ ]'?\d{{2}}(?![\d:.,%/]))?"
    yield rf"\b(?i:{_MONTH})\.?[ ]\d{{1,2}}(?:st|nd|rd|th)\b"


def _addresses() -> Iterable[str]:
    """Streets with a number, by the words that they are called by."""
    yield (
        r"\b\d{1,5}[ ](?:[A-Z][\w'-]+[ ]){1,3}"
        r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Way|Place|Pl)\b\.?"
    )
    yield r"\b[A-ZÄÖÜ][\w-]*(?:straße|strasse|str\.|weg|gasse|platz|allee)[ ]\d{1,4}[a-z]?\b"
    yield (
        r"\b\d{1,4}(?:bis|ter)?,?[ ](?:rue|avenue|boulevard|place|chemin|allée)[ ]"
        r"(?:(?:de|du|des|la|le|l')[ ]?){0,3}[A-ZÉÈ][\w'-]{1,40}(?:[ ][A-ZÉÈ][\w'-]{1,40}){0,3}"
    )
    yield (
        r"\b(?:Calle|Avenida|Avda\.|Plaza|Paseo)[ ](?:(?:de|del|la|las|los|el)[ ]){0,3}"
        r"[A-ZÁÉÍÓÚÑ]\w+(?:[ ][A-ZÁÉÍÓÚÑ]\w+)?,?[ ](?:n\.?º?[ ]?)?\d{1,4}"
    )
    yield r"[\u4e00-\u9fff]{2,12}(?:路|街|大道|巷)\d{1,5}号(?:\d{1,4}[室楼栋])?"


_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _patterns()]
