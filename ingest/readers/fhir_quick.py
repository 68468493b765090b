"""Observations of the commonest shape, read with as few questions as that shape allows.

A number in UCUM of a final Observation with one time: most of what hospitals deliver. It gives what the full way
gives (a test compares the two); a line that is anything else is left to the full way.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import orjson

from ingest.quarantine import Refusal
from ingest.readers.fhir_values import LARGEST_FLOAT32, PREFIXES, UCUM
from ingest.readers.fhir_versions import stated_version


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


def read_quickly(lines: list[bytes], first: int) -> tuple[QuickLines, list[tuple[int, bytes]]]:
    """(the Observations among lines that are numbered from `first` on, the other lines and their numbers)."""
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
    others: list[tuple[int, bytes]] = []
    stated: dict[int, tuple[int, int]] = {}
    loads, prefixes, largest = orjson.loads, PREFIXES, LARGEST_FLOAT32
    for number, line in enumerate(lines, first):
        try:
            resource = loads(line)
            quantity, time, issued = resource["valueQuantity"], resource["effectiveDateTime"], resource.get("issued")
            value, unit, identifier = quantity["value"], quantity["code"], resource["id"]
            coding, subject, meta = resource["code"]["coding"][0], resource["subject"], resource.get("meta")
            code, prefix, about = coding["code"], prefixes[coding["system"]], subject["reference"]
            if (
                resource["resourceType"] != "Observation" or resource["status"] != "final"
                or quantity["system"] != UCUM or "comparator" in quantity or "type" in subject
                or "component" in resource or "docStatus" in resource or "verificationStatus" in resource
                or not (type(value) is float or type(value) is int) or not -largest <= value <= largest
                or not (type(unit) is type(code) is type(time) is type(identifier) is type(about) is str)
                or not (unit and code and identifier and time) or about[:8] != "Patient/"
                or not (issued is None or type(issued) is str) or not (meta is None or type(meta) is dict)
            ):  # fmt: skip
                others.append((number, line))
                continue
            if meta is not None and ("lastUpdated" in meta or "versionId" in meta):
                stated[len(numbers)] = stated_version(resource)[1:]
        except (LookupError, TypeError, AttributeError, ValueError, Refusal):  # ValueError: it does not parse
            others.append((number, line))
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
    return QuickLines(numbers, kept, identifiers, subjects, codes, values, units, times, issues, stated), others
