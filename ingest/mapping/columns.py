"""What a column of an unknown table is likely to be, told from its name and some of its cells."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ingest.readers.table.cells import is_number

NULL_WORDS = (
    "?", "NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "None", "none", "unknown", "Unknown", "-", ".", "<NA>",
)  # fmt: skip
_SENTINELS = ("-1", "-9", "-99", "-999", "-9999", "99", "999", "9999", "99999")
_ENOUGH = 0.95
_FORMATS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%Y%m%d%H%M%S", "%Y%m%d",
    "%d-%b-%Y", "%d %b %Y",
)  # fmt: skip
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?")
_CLOCK = re.compile(r"(\d{1,4}):[0-5]\d(?::[0-5]\d)?")
_ROW_ID = re.compile(r"\bid\b|id$|\bno$|number$")
_SPAN_WORDS = {"s": "sec|second", "min": "min|minute", "h": "hr|hour", "d": "day", "wk": "week"}
_PERSONAL = re.compile(
    r"\b(?:surname|lastname|firstname|(?:last|first|given|family|full|patient|middle|maiden) ?name|birth|dob|address|"
    r"street|phone|mobile|e ?mail|zip|postcode|postal|ssn|insurance|passport|"
    r"nachname|vorname|familienname|geburts|geb(?: ?dat|\b)|anschrift|adresse|stra(?:ß|ss)e|telefon|handy|plz|postleit|"
    r"versichert|nom\b|pr[ée]nom|naissance|t[ée]l[ée]|apellido|nombre|nacimiento|direcci[óo]n|cognome|nascita)"
    r"|姓名|出生|电话|地址|身份证|氏名|生年月日|住所"
)
_NAME = "name"  # of a person, unless it is repeated: then of a test, a drug
# Units as headers write them, in lower case -> UCUM.
UNITS = {
    "mg/dl": "mg/dL", "g/dl": "g/dL", "g/l": "g/L", "mg/l": "mg/L", "ug/l": "ug/L", "ng/ml": "ng/mL",
    "mmol/l": "mmol/L", "umol/l": "umol/L", "µmol/l": "umol/L", "meq/l": "meq/L", "u/l": "U/L", "iu/l": "[iU]/L",
    "k/ul": "10*3/uL", "10^3/ul": "10*3/uL", "10^9/l": "10*9/L", "mmhg": "mm[Hg]", "cmh2o": "cm[H2O]",
    "c": "Cel", "degc": "Cel", "°c": "Cel", "celsius": "Cel", "f": "[degF]", "degf": "[degF]", "°f": "[degF]",
    "fahrenheit": "[degF]", "bpm": "/min", "/min": "/min", "1/min": "/min", "breaths/min": "/min",
    "%": "%", "pct": "%", "percent": "%", "kg": "kg", "g": "g", "lb": "[lb_av]", "lbs": "[lb_av]",
    "cm": "cm", "mm": "mm", "m": "m", "inch": "[in_i]", "ml": "mL", "l": "L", "ml/h": "mL/h", "l/min": "L/min",
    "years": "a", "year": "a", "yrs": "a", "days": "d", "hours": "h", "minutes": "min", "s": "s", "sec": "s",
    "seconds": "s", "km/h": "km/h", "m/s": "m/s", "kpa": "kPa",
}  # fmt: skip
_SUFFIXES = ("mgdl", "mmhg", "bpm", "kg", "cm", "pct", "percent", "ml", "years", "celsius", "mm", "c", "°c", "f")


@dataclass(frozen=True)
class Guess:
    """What one column is: kind is empty, identifier-like texts are `text` too.

    time: `iso`, a strptime pattern, `hh:mm`, or a unit of relative times; empty where it is no time.
    """

    name: str
    kind: str  # numeric, text, time, asset, empty, personal
    distinct: int
    filled: int  # cells that are not empty
    unit: str = ""
    null: tuple[str, ...] = ()
    unparseable: int = 0
    time: str = ""
    zoned: bool = True
    sure: bool = True
    asset: str = ""
    longest: int = 0
    numbers: int = 0  # cells that are numbers


def words_of(name: str) -> str:
    """A column's name as words in lower case: "patientUnitStayId" and "patient_unit_stay_id" alike."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).strip().lower()


def guess_column(name: str, cells: Sequence[str], beside: Path, decimal: str = ".") -> Guess:
    """The guess for one column from some cells (trimmed). beside: the table's folder, for files that it may name."""
    filled = [cell for cell in cells if cell]
    null = tuple(word for word in NULL_WORDS if word in set(filled))
    told = [cell for cell in filled if cell not in null]
    distinct = set(told)
    facts = {"distinct": len(distinct), "filled": len(told), "null": null, "longest": max(map(len, told), default=0)}
    if not told:
        return Guess(name, "empty", **facts)  # type: ignore[arg-type]  # the four facts are of the right types
    if _PERSONAL.search(words_of(name)) or (words_of(name) == _NAME and 2 * len(distinct) > len(told)):
        return Guess(name, "personal", **facts)  # type: ignore[arg-type]
    if template := _asset(name, sorted(distinct)[:200], beside):
        return Guess(name, "asset", asset=template, **facts)  # type: ignore[arg-type]
    time, zoned, sure = _time(name, told, decimal)
    if time:
        return Guess(name, "time", time=time, zoned=zoned, sure=sure, **facts)  # type: ignore[arg-type]
    numbers = facts["numbers"] = sum(is_number(cell, decimal) for cell in told)
    if _ROW_ID.search(words_of(name)) and len(distinct) > 20 and all(map(str.isdigit, told)):
        return Guess(name, "text", **facts)  # type: ignore[arg-type]
    if numbers >= _ENOUGH * len(told) or (numbers >= 0.6 * len(told) and unit_of(name)):
        facts["null"] = (*null, *_sentinels(told, decimal))
        return Guess(name, "numeric", unit=unit_of(name), unparseable=len(told) - numbers, **facts)  # type: ignore[arg-type]
    return Guess(name, "text", **facts)  # type: ignore[arg-type]


def unit_of(name: str) -> str:
    """The UCUM unit that a header states: "Glucose (mg/dL)", "temp [C]", "weight_kg". Empty where it states none."""
    if found := re.search(r"[(\[]\s*([^)\]]+?)\s*[)\]]\s*$", name):
        return UNITS.get(found[1].lower(), "")
    parts = re.split(r"[_ ]", name.lower())
    if len(parts) > 2 and (unit := UNITS.get("/".join(parts[-2:]))):  # glucose_mg_dl
        return unit
    if len(parts) > 1 and "/" in parts[-1]:
        return UNITS.get(parts[-1], "")
    if len(parts) > 1 and parts[-1] in _SUFFIXES:
        return {"mgdl": "mg/dL"}.get(parts[-1]) or UNITS.get(parts[-1], "")
    return ""


def _time(name: str, cells: list[str], decimal: str) -> tuple[str, bool, bool]:
    """(what kind of time, whether it states its zone or needs none, whether that is sure)."""
    some = cells[:500]
    matches = [_ISO.fullmatch(cell) for cell in some]
    if sum(map(bool, matches)) >= _ENOUGH * len(some):
        return "iso", all(len(cell) <= 10 or (m and m["zone"]) for cell, m in zip(some, matches, strict=True)), True
    clocks = [found for cell in some if (found := _CLOCK.fullmatch(cell))]
    if len(clocks) >= _ENOUGH * len(some) and any(int(found[1]) > 23 for found in clocks):
        return "hh:mm", True, True
    if sum(is_number(cell, decimal) for cell in some) >= _ENOUGH * len(some) and (unit := _span(name)):
        return unit.rstrip("?"), True, not unit.endswith("?")
    if not any(character.isdigit() for character in some[0]) or (is_number(some[0]) and len(some[0]) not in (8, 14)):
        return "", True, True
    fitting = [pattern for pattern in _FORMATS if _fits(pattern, some)]
    return (fitting[0], not any(h in fitting[0] for h in ("%H",)), len(fitting) == 1) if fitting else ("", True, True)


def _fits(pattern: str, cells: list[str]) -> bool:
    parsed = pd.to_datetime(pd.Series(cells, dtype=object), format=pattern, errors="coerce")
    years = parsed.dt.year.between(1880, 2200)
    return bool((parsed.notna() & years).mean() >= _ENOUGH)


def _span(name: str) -> str:
    """The unit of a relative time that a name tells, with a ? where it tells only that it is one; else nothing."""
    words = words_of(name)
    relative = re.search(r"offset|elapsed|since|relative|^(?:time|hours?|days?|minutes?|seconds?)$", words)
    if not relative:
        return ""
    for unit, pattern in _SPAN_WORDS.items():
        if re.search(rf"\b(?:{pattern})s?\b", words):
            return unit
    return "min?"


def _sentinels(cells: list[str], decimal: str) -> tuple[str, ...]:
    """Numbers that stand for "no value": -1 where nothing else is negative, 999 far above all else."""
    counted = Counter(cells)
    numbers = sorted({float(cell.replace(decimal, ".")) for cell in counted if is_number(cell, decimal)})
    found = []
    for text in _SENTINELS:
        if counted.get(text, 0) < 3:
            continue
        value, others = float(text), [number for number in numbers if number != float(text)]
        below = value < 0 and bool(others) and others[0] >= 0
        above = value >= 99 and bool(others) and others[-1] < value / 3
        if below or above:
            found.append(text)
    return tuple(found)


def _asset(name: str, cells: list[str], beside: Path) -> str:
    """The template of the files that the cells name, as seen from the table; empty where they do not all name one."""
    if not cells or max(map(len, cells)) > 200 or any("/" in c and c.startswith(("/", "..")) for c in cells):
        return ""
    if not re.fullmatch(r"\w+", name):
        return ""
    folders = ["", *sorted(f"{path.name}/" for path in beside.iterdir() if path.is_dir())[:20]]
    suffixes = [""] if "." in cells[0] else [".jpg", ".png", ".jpeg", ".tif", ".tiff", ".wav", ".flac", ".dcm"]
    for folder in folders:
        for suffix in suffixes:
            there = sum(_is_file(beside / f"{folder}{cell}{suffix}") for cell in cells)
            if there == len(cells):
                return f"{folder}{{{name}}}{suffix}"
    return ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
