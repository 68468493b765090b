"""Observations of the commonest shape, read with as few questions as that shape allows.

A number in UCUM of a final Observation with one time: most of what hospitals deliver. It gives what the full way
gives (a test compares the two); a line that is anything else is left to the full way.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from ingest.account.quarantine import Refusal
from ingest.readers.fhir.values import LARGEST_FLOAT32, PREFIXES, UCUM
from ingest.readers.fhir.versions import stated_version


class QuickLines(NamedTuple):
    """Observations as columns, a place for each; times, subjects and codes are as they were written."""

    numbers: Sequence[int] = ()  # of the lines
    lines: Sequence[bytes] = ()
    identifiers: Sequence[str] = ()
    subjects: Sequence[str] = ()
    codes: Sequence[str] = ()
    values: Sequence[float] = ()
    units: Sequence[str] = ()
    times: Sequence[str] = ()
    issued: Sequence[str | None] = ()
    stated: Mapping[int, tuple[int, int]] = MappingProxyType({})  # place -> lastUpdated, versionId, as ROW has them


def read_quickly(lines: list[bytes], first: int, otherwise: Callable[[int, bytes, object], None]) -> QuickLines:
    """The Observations of that shape among lines that are numbered from `first` on.

    otherwise: called with the number of every other line, the line, and what it parses to, None where it does not.
    """
    # A list per column: a tuple per line would be one more thing for the garbage collector to look at.
    numbers: list[int] = []
    kept: list[bytes] = []
    identifiers: list[str] = []
    subjects: list[str] = []
    codes: list[str] = []
    values: list[float] = []
    units: list[str] = []
    times: list[str] = []
    issues: list[str | None] = []
    stated: dict[int, tuple[int, int]] = {}
    loads, prefixes, largest = orjson.loads, PREFIXES, LARGEST_FLOAT32
    for number, line in enumerate(lines, first):
        resource: Any = None
        plain: object = False
        try:
            resource = loads(line)
            if "valueQuantity" in resource:  # asked, since a KeyError for every other line would cost more
                quantity, time, issued = (
                    resource["valueQuantity"],
                    resource["effectiveDateTime"],
                    resource.get("issued"),
                )
                value, unit, identifier = quantity["value"], quantity["code"], resource["id"]
                coding, subject, meta = resource["code"]["coding"][0], resource["subject"], resource.get("meta")
                code, prefix, about = coding["code"], prefixes[coding["system"]], subject["reference"]
                plain = (
                    resource["resourceType"] == "Observation" and resource["status"] == "final"
                    and quantity["system"] == UCUM and "comparator" not in quantity and "type" not in subject
                    and not ("component" in resource or "docStatus" in resource or "verificationStatus" in resource
                             or "focus" in resource or "modifierExtension" in resource)
                    and (type(value) is float or type(value) is int) and -largest <= value <= largest
                    and type(unit) is type(code) is type(time) is type(identifier) is type(about) is str
                    and unit and code and identifier and time and about[:8] == "Patient/"
                    and (issued is None or type(issued) is str) and (meta is None or type(meta) is dict)
                )  # fmt: skip
                if plain and meta is not None and ("lastUpdated" in meta or "versionId" in meta):
                    stated[len(numbers)] = stated_version(resource)[1:]
        except (LookupError, TypeError, AttributeError, ValueError, Refusal):  # ValueError: it does not parse
            plain = False
        if not plain:
            otherwise(number, line, resource)
            continue
        numbers.append(number)
        kept.append(line)
        identifiers.append(identifier)
        subjects.append(about)
        codes.append(f"{prefix}//{code}")
        values.append(value)
        units.append(unit)
        times.append(time)
        issues.append(issued or None)
    return QuickLines(numbers, kept, identifiers, subjects, codes, values, units, times, issues, stated)
