"""FHIR Observations as facts: what was measured, in its unit; panels and components a row each."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ingest.account.quarantine import Refusal
from ingest.readers.fhir.facts import Context, Fact, Skip
from ingest.readers.fhir.values import LARGEST_FLOAT32, Node, branch, branches, code_of, number, unit_of, word
from ingest.readers.fhir.versions import not_counted

_TIMES = ("effectiveDateTime", "effectiveInstant", "effectivePeriod")
_UNREAD = ("valueAttachment", "valueReference", "valueSampledData")
_CODE = re.compile(r"[a-z][a-z-]{0,30}")


class Value(NamedTuple):
    """A value[x]: a number, a text, or both (a number with its comparator)."""

    number: float | None = None
    text: str | None = None
    unit: str | None = None


def observation(resource: Node, context: Context) -> Iterator[Fact]:
    """The value of an Observation, and of each of its components."""
    about = word(branch(resource, "subject"), "reference")
    if any(word(focus, "reference") != about for focus in branches(resource, "focus")):
        raise Skip("Observation whose focus is not the patient")  # of a fetus, a donor, a device
    if any("modifierExtension" in each for each in branches(resource, "component")):
        raise modified("component.modifierExtension")
    time, available = effective(resource, context)
    facts, left_out = [], ""
    for part, field in [(resource, "code"), *((each, "component.code") for each in branches(resource, "component"))]:
        try:
            value = value_of(part)
        except Skip as skip:
            left_out = str(skip)
            context.notes[left_out] += 1
            continue
        if value is not None:
            facts.append(Fact(code_of(branch(part, "code"), field), time, *value, available))
    if not facts:
        context.notes.pop(left_out, None)
        raise Skip(left_out or _why_empty(resource))
    yield from facts


def contained_observations(report: Node, context: Context) -> Iterator[Fact]:
    """The Observations that a report has within it, and nobody else; their time is the report's where they state none.

    They are rows of the report's own record, which replaces or withdraws them with it.
    """
    times = {key: report[key] for key in (*_TIMES, "issued") if key in report}
    for inner in branches(report, "contained"):
        if inner.get("resourceType") != "Observation":
            continue
        own = any(key in inner for key in _TIMES)
        about = inner.get("subject")
        try:
            if not_counted(inner) is not None or about not in (None, report.get("subject")):
                raise Skip("Observation within a report that does not count, or is about another")
            if "modifierExtension" in inner:
                raise modified("contained.modifierExtension")
            yield from observation(inner if own else {**inner, **times}, context)
        except Skip as skip:
            context.notes[str(skip)] += 1


def modified(field: str) -> Refusal:
    """An extension that may turn the meaning of its element round: FHIR forbids to read on without knowing it."""
    return Refusal(field, "none that is not known: it may turn the meaning round", "one", "leave it out at the source")


def effective(resource: Node, context: Context) -> tuple[int, int]:
    """(when it was, when it could be known) of an Observation or a DiagnosticReport."""
    if "effectiveTiming" in resource and not any(key in resource for key in _TIMES):
        raise Skip(f"{word(resource, 'resourceType')} at a repeating time")
    return context.when(resource, _TIMES, "issued")


def value_of(node: Node, prefix: str = "value") -> Value | None:
    """The value[x] of a node; None where there is none. A comparator such as < is kept as text.

    A ratio of quantities with units is their quotient; one without, such as a titre, stays text, and so do ranges,
    periods and times. Raises Skip for kinds that are not read.
    """
    for kind, read in _READ.items():
        key = prefix + kind
        if node.get(key) is not None:
            return read(node, key)
    for key in _UNREAD:
        if key in node:
            raise Skip(f"a value of a kind that is not read: {key}")
    return None


def _quantity(node: Node, key: str) -> Value | None:
    quantity = branch(node, key)
    value = number(quantity, "value")
    return None if value is None else Value(value, word(quantity, "comparator") or None, unit_of(quantity))


def _concept(node: Node, key: str) -> Value | None:
    concept = branch(node, key)
    text = code_of(concept, key) if branches(concept, "coding") else word(concept, "text")
    return Value(text=text) if text else None


def _coding(node: Node, key: str) -> Value | None:
    return Value(text=code_of({"coding": [branch(node, key)]}, key))


def _text(node: Node, key: str) -> Value | None:
    text = word(node, key)
    return Value(text=text) if text else None


def _number(node: Node, key: str) -> Value | None:
    return Value(number(node, key))


def _boolean(node: Node, key: str) -> Value | None:
    if type(node[key]) is not bool:
        raise Refusal(key, "true or false", "something else")
    return Value(text="true" if node[key] else "false")


def _period(node: Node, key: str) -> Value | None:
    period = branch(node, key)
    return Value(text=f"{word(period, 'start')}/{word(period, 'end')}")


def _range(node: Node, key: str) -> Value | None:
    ends = [branch(node, key, name) for name in ("low", "high")]
    values = [number(end, "value") for end in ends]
    if values == [None, None]:
        return None
    unit = next((unit for end in ends if (unit := unit_of(end))), None)
    return Value(text=" to ".join("" if value is None else f"{value:g}" for value in values).strip(), unit=unit)


def _ratio(node: Node, key: str) -> Value | None:
    parts = [branch(node, key, name) for name in ("numerator", "denominator")]
    values, units = [number(part, "value") for part in parts], [unit_of(part) for part in parts]
    above, below = values
    if above is None or below is None:
        return None
    plain = not any(word(part, "comparator") for part in parts)
    if plain and below and all(units) and abs(above) <= abs(below) * LARGEST_FLOAT32:
        return Value(above / below, unit=f"{units[0]}/{_divisor(str(units[1]))}")
    return Value(text=":".join(f"{word(part, 'comparator')}{each:g}" for part, each in zip(parts, values, strict=True)))


def _divisor(unit: str) -> str:
    """A unit to divide by: UCUM reads a/b/c from the left, so that what is itself a product goes in brackets."""
    return f"({unit})" if re.search(r"[/.]", unit) else unit


def _why_empty(resource: Node) -> str:
    """Why an Observation has no value, as far as it says so itself."""
    if any(resource.get(key) for key in ("hasMember", "related")):
        return "Observation that is a panel: its members are read by themselves"
    codings = branches(branch(resource, "dataAbsentReason"), "coding")
    reason = next((code for coding in codings if _CODE.fullmatch(code := word(coding, "code"))), "")
    return f"Observation without a value{f': {reason}' if reason else ''}"


_READ = {
    "Quantity": _quantity,
    "CodeableConcept": _concept,
    "String": _text,
    "Integer": _number,
    "Decimal": _number,
    "Boolean": _boolean,
    "Coding": _coding,
    "DateTime": _text,
    "Date": _text,
    "Time": _text,
    "Uri": _text,
    "Period": _period,
    "Range": _range,
    "Ratio": _ratio,
}
