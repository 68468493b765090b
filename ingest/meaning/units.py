"""Units as they are written, and as UCUM means them.

UCUM (ucum.org, version 2.1) is read by ucumvert and reckoned with by pint; both are loaded only for a unit that no
table knows, once each. Traps are spellings of counts that UCUM would read as something else, or not at all: `K/uL` is
kelvin per microlitre, `G/L` gauss per litre.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

MAX_UNIT = 40  # characters; no unit is as long, and a parser's time grows with length

# LOINC property -> (in words, a unit of it). LOINC Users' Guide, appendix A; UCUM units by example.
PROPERTIES: dict[str, tuple[str, str]] = {
    "MCnc": ("mass concentration", "g/L"),
    "SCnc": ("substance concentration", "mol/L"),
    "NCnc": ("number concentration", "/L"),
    "CCnc": ("catalytic concentration", "U/L"),
    "ACnc": ("arbitrary concentration", "[iU]/L"),
    "EntMCnc": ("mass concentration in an entity", "g/L"),
    "MCnt": ("mass content", "g/kg"),
    "MRto": ("mass ratio", "g/g"),
    "Osmol": ("osmolality", "mosm/kg"),
    "Pres": ("pressure", "mm[Hg]"),
    "PPres": ("partial pressure", "mm[Hg]"),
    "Temp": ("temperature", "Cel"),
    "NRat": ("count per time", "/min"),
    "Mass": ("mass", "kg"),
    "EntMass": ("mass of an entity", "pg"),
    "Len": ("length", "m"),
    "Vel": ("velocity", "m/s"),
    "Accel": ("acceleration", "m/s2"),
    "Time": ("time", "s"),
    "Vol": ("volume", "L"),
    "EntVol": ("volume of an entity", "fL"),
    "VRat": ("volume per time", "mL/min"),
    "ArVRat": ("volume per time and area", "mL/min/{1.73_m2}"),
    "Area": ("area", "m2"),
    "Ratio": ("ratio", "1"),
    "NFr": ("number fraction", "%"),
    "MFr": ("mass fraction", "%"),
    "VFr": ("volume fraction", "%"),
    "SFr": ("substance fraction", "%"),
    "LsCnc": ("log of a substance concentration", "[pH]"),
    "RelTime": ("relative time", "{INR}"),
    "Rden": ("relative density", "1"),
    "Score": ("score", "{score}"),
}

_THOUSAND = r"(?:k|th|thou|thous|thousands?|thsd|tsd|1000s?)"
_MILLION = r"(?:m|mil|mill|millions?|mio)"
_UL = r"(?:ul|mcl|mm3|mm\^3|cmm|cumm|mmc)"
_POWER = re.compile(r"x?10(?:(?:\^|\*\*|e|exp|\()\+?(\d{1,2})\)?|(3|6|9|12))/(.+)")
_DENOMINATORS = {"ul": "uL", "mcl": "uL", "mm3": "uL", "mm^3": "uL", "cmm": "uL", "l": "L", "ml": "mL"}
_SAME = {"10*9/L": "10*3/uL", "10*12/L": "10*6/uL"}
_LITRE = re.compile(r"(?<![A-Za-z])([munpfdc]?)l(?![A-Za-z])")
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_PER_ANNOTATION = re.compile(r"/\{[^{}]*\}")
_ARBITRARY = re.compile(r"\[[^\]]*\]")
_COUNTED = re.compile(r"(?<![A-Za-z])[munpk]?(eq|osm)(?![A-Za-z])")
_PHYSICAL = ("[Hg]", "[H2O]", "[in_i]", "[ft_i]", "[mi_i]", "[lb_av]", "[oz_av]", "[degF]", "[g]")
_EXCESSIVE = re.compile(r"\d{4}|\(.*\(")  # powers and nesting that no unit has, and that cost a parser its time
_PER_TIME = re.compile(r"(?:1?/(?:s|min|h|d|wk)|Hz)")


def known_trap(unit: str) -> tuple[str, str] | None:
    """(what to write instead, what UCUM reads) of a spelling that UCUM reads as something else; None: no trap."""
    plain = re.sub(r"\s", "", unit.replace("µ", "u").replace("μ", "u").replace("×", "x").replace("³", "3"))
    plain = _ANNOTATION.sub("", plain)
    low = plain.lower()
    if plain in ("G/L", "Giga/L", "giga/L", "Gpt/L"):
        return _advice("10*9/L", ", which UCUM reads as gauss per litre" if plain == "G/L" else "")
    if plain in ("T/L", "Tera/L", "tera/L", "Tpt/L"):
        return _advice("10*12/L", ", which UCUM reads as tesla per litre" if plain == "T/L" else "")
    if re.fullmatch(rf"{_THOUSAND}/{_UL}", low):
        return _advice("10*3/uL", ", which UCUM reads as kelvin per microlitre" if plain.startswith("K/") else "")
    if re.fullmatch(rf"{_MILLION}/{_UL}", low):
        return _advice("10*6/uL", "")
    found = _POWER.fullmatch(low)
    if found and found[3] in _DENOMINATORS:
        return _advice(f"10*{found[1] or found[2]}/{_DENOMINATORS[found[3]]}", "")
    return None


def respelled(unit: str, spellings: Mapping[str, str]) -> list[str]:
    """What a unit may mean in UCUM, the likeliest first: a stated spelling, else small and capital letters mended."""
    plain = " ".join(unit.replace("µ", "u").replace("μ", "u").split())
    found = [spellings[each] for each in (unit, plain) if each in spellings]
    if not found:
        folded = {spelling.lower(): meant for spelling, meant in spellings.items()}
        found = [folded[plain.lower()]] if plain.lower() in folded else []
    mended = _LITRE.sub(r"\1L", plain.replace("mcg", "ug").replace("mcL", "uL").replace("mcl", "uL").replace(" ", ""))
    mended = re.sub(r"(?<![\[A-Za-z])([munp]?)IU\b", r"\1[iU]", mended)
    mended = re.sub(r"(?<![A-Za-z])([mu]?)Eq\b", r"\1eq", mended)
    return list(dict.fromkeys(each for each in (*found, mended) if each and each != unit))


def bare(unit: str) -> str:
    """A unit without its annotations, which UCUM gives no meaning; one that is nothing else (`{score}`) stays."""
    plain = _ANNOTATION.sub("", _PER_ANNOTATION.sub("/1", unit))
    return re.sub(r"^1/", "/", plain) or unit


def shown_unit(unit: str, spellings: Mapping[str, str] | None = None) -> str:
    """A unit for a message. What can only be a word may be somebody's name, and is not shown."""
    if spellings and unit.lower() in {spelling.lower() for spelling in spellings}:
        return unit
    plain = _ANNOTATION.sub(lambda found: found[0] if found[0].upper() == found[0] else "{}", unit)
    letters = max((len(run) for run in re.findall(r"[^\W\d_]+", plain)), default=0)
    harmless = len(plain) <= MAX_UNIT and letters <= 4 and " " not in plain and re.search(r"[/%*\[\]{}°^.\d]", plain)
    return plain if harmless or is_unit(unit) else f"text of {len(unit)} characters"


def same_kind(unit: str, other: str) -> bool:
    """Whether what stands in brackets and braces allows two units to be the same.

    International and other arbitrary units, equivalents and osmoles are only ever themselves. So is what is divided
    by, and so are annotations in capital letters, which name the basis of a unit: `ng/mL{FEU}` is not `ng/mL{DDU}`.
    """
    bases = [{each for each in _ANNOTATION.findall(unit) if each.isupper()} for unit in (unit, other)]
    return _arbitrary(unit) == _arbitrary(other) and (not bases[0] or not bases[1] or bases[0] == bases[1])


def property_words(loinc_property: str) -> str:
    """A LOINC property in words."""
    return PROPERTIES[loinc_property][0]


def fits_property(unit: str, loinc_property: str) -> bool:
    """Whether a unit can measure the property."""
    if loinc_property not in PROPERTIES:
        return False
    like = PROPERTIES[loinc_property][1]
    return bare(unit) == bare(like) or factor_between(unit, like) is not None


# Units that need no look into the registry, which takes a second or two to load.
_EVERYDAY = frozenset(
    (
        "1", "%", "a", "mo", "wk", "d", "h", "min", "s", "ms", "Hz", "m", "km", "cm", "mm", "um", "kg", "g", "mg", "ug",
        "L", "mL", "mL/h", "mL/d", "mL/min", "mg/dL", "g/dL", "g/L", "mg/L", "ug/L", "ng/mL", "mmol/L", "umol/L",
        "10*3/uL", "10*6/uL", "10*9/L", "10*12/L", "/min", "/h", "/d", "m/s", "km/h", "m/s2", "rad", "deg", "rad/s",
        "N", "Pa", "kPa", "W", "V", "mV", "uV", "dyn.s/cm5", "L/min", "Cel", "K", "m2", "kg/m2",
    )
)  # fmt: skip


@cache
def is_unit(unit: str) -> bool:
    """Whether UCUM knows the unit."""
    return unit in _EVERYDAY or _parsed(unit) is not None


@lru_cache(maxsize=4096)
def factor_between(unit: str, other: str) -> tuple[float, float] | None:
    """(factor, offset) from one UCUM unit to another of the same dimension; None where they measure different things.

    Bare numbers, and arbitrary units such as [iU], convert to nothing but themselves: that the dimension is the same
    says nothing there. So with `/min`, which is no angle and no dose per time.
    """
    if unit == other:
        return 1.0, 0.0
    from_unit, to_unit = _parsed(unit), _parsed(other)
    if from_unit is None or to_unit is None or not same_kind(unit, other):
        return None
    dimension = from_unit.dimensionality
    if dimension != to_unit.dimensionality or not dimension:
        return None
    if dict(dimension) == {"[time]": -1} and not (_PER_TIME.fullmatch(bare(unit)) and _PER_TIME.fullmatch(bare(other))):
        return None
    import pint

    try:
        zero, one = (
            _units().Quantity(value * from_unit.magnitude, from_unit.units).to(to_unit.units).magnitude
            for value in (0.0, 1.0)
        )
    except (pint.PintError, ArithmeticError):
        return None
    factor, offset = (one - zero) / to_unit.magnitude, zero / to_unit.magnitude
    return float(f"{factor:.12g}"), float(f"{offset:.12g}")  # 12 digits: without the dust of floats


def _advice(suggestion: str, meaning: str) -> tuple[str, str]:
    same = f", which is {_SAME[suggestion]}" if suggestion in _SAME else ""
    return suggestion + same, meaning


def _arbitrary(unit: str) -> frozenset[str]:
    """Units in square brackets that are no physical ones, annotations that are divided by, equivalents and osmoles.

    An equivalent is a mole divided by the valence, which no unit tells.
    """
    plain = _ANNOTATION.sub("", unit)
    found = [*_ARBITRARY.findall(plain), *_PER_ANNOTATION.findall(unit), *_COUNTED.findall(plain)]
    return frozenset(each for each in found if each not in _PHYSICAL)


@cache
def _parsed(unit: str) -> Any:
    """The unit as a quantity of pint's; None where UCUM does not know it."""
    plain = _ANNOTATION.sub("", _PER_ANNOTATION.sub("/1", unit))
    if not unit or len(unit) > MAX_UNIT or not unit.isascii() or _EXCESSIVE.search(plain):
        return None
    if not plain or plain in ("[pH]", "1"):
        return _units().Quantity(1.0)
    import lark
    import pint

    try:
        found = _units().from_ucum(plain)
        return found if hasattr(found, "magnitude") else _units().Quantity(1.0, found)
    except (lark.exceptions.LarkError, pint.PintError, AttributeError, ArithmeticError, ValueError, TypeError):
        return None


@cache
def _units() -> Any:
    """The UCUM registry: a second or two to load."""
    import ucumvert

    return ucumvert.PintUcumRegistry()
