"""Events of the commonest shapes, read with as few questions as those allow: encounters, problems, procedures, drugs.

A code of a Patient at one or two times that state their zone: most of what a bulk export holds beside Observations of
one number; those of several numbers, or of a code, are here, too. It gives what the full way gives (a test compares
the two); a record that is anything else is left to the full way.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.account.quarantine import Refusal
from ingest.readers.fhir.values import LARGEST_FLOAT32, PREFIXES, UCUM, last_part
from ingest.readers.fhir.versions import stated_version

Resource = Any  # parsed JSON: what is not of the expected shape raises one of `_ODD`
_ODD = (LookupError, TypeError, AttributeError, ValueError, Refusal)
_MOMENT = r"^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
_DONE = frozenset({"active", "completed", "finished", "in-progress", "on-hold", "stopped", "discharged", "ended"})


# A row that an event becomes, as `_row` makes it: a bare tuple, since there are millions.
EventRow = tuple[str, str, str | None, bool, bool, float | None, str | None, str | None]

# Every value[x] but a code, and what stands for one.
_VALUES = frozenset({f"value{kind}" for kind in (
    "Quantity", "String", "Integer", "Decimal", "Boolean", "Coding", "DateTime", "Date", "Time", "Uri", "Period",
    "Range", "Ratio", "Attachment", "Reference", "SampledData",
)})  # fmt: skip


class Events(NamedTuple):
    """Events as columns, a place for each record; then of each of their rows the record's place, and what it says."""

    numbers: Sequence[int]  # of the lines
    lines: Sequence[bytes]
    kinds: Sequence[str]
    identifiers: Sequence[str]
    subjects: Sequence[str]
    stated: Mapping[int, tuple[int, int]]  # place -> lastUpdated, versionId, as ROW has them
    owners: np.ndarray  # (rows,) int64
    codes: Sequence[str]
    times: np.ndarray  # (rows,) int64 microseconds since 1970, UTC
    known: np.ndarray  # (rows,) the same: when it could be known
    values: Sequence[float | None]
    texts: Sequence[str | None]
    units: Sequence[str | None]


_NONE = np.zeros(0, np.int64)
NO_EVENTS = Events((), (), (), (), (), MappingProxyType({}), _NONE, (), _NONE, _NONE, (), (), ())


class EventLines:
    """Gathers the events among the lines of a chunk."""

    def __init__(self) -> None:
        self._records: list[tuple[int, bytes, str, str, str, tuple[int, int] | None]] = []
        self._owners: list[int] = []
        self._rows: list[EventRow] = []

    def take(self, number: int, line: bytes, resource: Resource) -> bool:
        """Whether a line is an event of a shape that is read here; then it is taken."""
        try:
            kind = resource["resourceType"]
            shape, whom, not_whom = _SHAPES[kind]
            about = resource[whom]
            subject, identifier, meta = about["reference"], resource["id"], resource.get("meta")
            if (
                type(subject) is not str or subject[:8] != "Patient/" or "/" in subject[8:]
                or type(identifier) is not str or not identifier
                or "type" in about or not_whom in resource or "modifierExtension" in resource
                or "docStatus" in resource or "doNotPerform" in resource
                or ("verificationStatus" in resource and kind != "Condition")
            ):  # fmt: skip
                return False
            rows = shape(resource)
            stated = None
            if meta and (type(meta) is not dict or "lastUpdated" in meta or "versionId" in meta):
                stated = stated_version(resource)[1:]
        except _ODD:
            return False
        place = len(self._records)
        self._records.append((number, line, kind, identifier, subject, stated))
        for row in rows:
            self._owners.append(place)
            self._rows.append(row)
        return True

    def finish(self) -> tuple[Events, list[tuple[int, bytes]]]:
        """(what was taken; lines that are not plain after all, because of their times)."""
        if not self._rows:
            return NO_EVENTS, []
        codes, times, known, ahead, after, values, texts, units = zip(*self._rows, strict=True)
        owners, plain = np.array(self._owners, np.int64), np.ones(len(self._records), bool)
        written = [pa.array(each, pa.string()) for each in (times, known)]
        zoned = [pc.fill_null(pc.match_substring_regex(each, _MOMENT), fill_value=True) for each in written]
        plain[owners[~np.asarray(pc.and_(*zoned))]] = False
        try:
            whole = [pc.if_else(fine, each, None) for fine, each in zip(zoned, written, strict=True)]
            moments = [pc.cast(each, pa.timestamp("us", "UTC")).cast(pa.int64()) for each in whole]
        except pa.ArrowInvalid:  # the 30th of February
            return NO_EVENTS, [record[:2] for record in self._records]
        start = np.asarray(pc.fill_null(moments[0], 0))
        released = np.asarray(pc.coalesce(moments[1], moments[0], pa.scalar(0, pa.int64())))
        early = ~np.array(ahead, bool) & (released < start)
        early[1:] |= np.array(after, bool)[1:] & (start[1:] < start[:-1])
        plain[owners[early]] = False
        columns = owners, codes, start, np.maximum(start, released), values, texts, units
        others = [self._records[at][:2] for at in np.flatnonzero(~plain).tolist()]
        records, some = self._records, columns
        if others:
            records, kept = list(compress(self._records, plain.tolist())), plain[owners]
            some = tuple(_where(kept, each) for each in columns)
            some = ((np.cumsum(plain) - 1)[some[0]], *some[1:])
        if not records:
            return NO_EVENTS, others
        *about, stated = zip(*records, strict=True)
        return Events._make([*about, {at: each for at, each in enumerate(stated) if each is not None}, *some]), others


def _where(kept: np.ndarray, column: Any) -> Any:
    return column[kept] if isinstance(column, np.ndarray) else list(compress(column, kept.tolist()))


def _row(
    code: str,
    time: str,
    known: str | None = None,
    number: float | None = None,
    text: str | None = None,
    unit: str | None = None,
    *,
    ahead: bool = True,
    after: bool = False,
) -> EventRow:
    """time, known: when it was and when it was released, as written. ahead: it may be known before its time.

    after: it cannot be before the row that precedes it.
    """
    return code, time, known, ahead, after, number, text, unit


def _observation(resource: Resource) -> tuple[EventRow, ...]:
    """Several numbers in UCUM and no other value, such as a blood pressure; or a code."""
    _only(resource["status"] == "final" and "focus" not in resource)
    time, issued = _text(resource["effectiveDateTime"]), resource.get("issued")
    release = None if issued is None else _text(issued)
    if "component" not in resource:
        _only(_VALUES.isdisjoint(resource))
        text = _code(resource["valueCodeableConcept"])
        return (_row(_code(resource["code"]), time, release, text=text, ahead=False),)
    _only(
        _VALUES.isdisjoint(resource) and "valueCodeableConcept" not in resource and type(resource["component"]) is list
    )
    rows = []
    for part in resource["component"]:
        quantity = part["valueQuantity"]
        number, unit = quantity["value"], _text(quantity["code"])
        _only(quantity["system"] == UCUM and "comparator" not in quantity and "modifierExtension" not in part)
        _only((type(number) is float or type(number) is int) and -LARGEST_FLOAT32 <= number <= LARGEST_FLOAT32)
        rows.append(_row(_code(part["code"]), time, release, number, unit=unit, ahead=False))
    _only(rows)
    return tuple(rows)


def _encounter(resource: Resource) -> tuple[EventRow, ...]:
    period, code = resource["period"], f"ENCOUNTER//{_text(resource['class']['code'])}"
    _only(resource["status"] in _DONE and "actualPeriod" not in resource)
    if "location" in resource:
        _only(type(resource["location"]) is list)
        for stay in resource["location"]:
            _only(type(stay) is dict and "period" not in stay)
    start = _row(f"{code}//START", _text(period["start"]))
    return (start, _row(f"{code}//END", _text(period["end"]), after=True)) if "end" in period else (start,)


def _condition(resource: Resource) -> tuple[EventRow, ...]:
    code, onset = _code(resource["code"]), _text(resource["onsetDateTime"])
    _only("status" not in resource and "abatementPeriod" not in resource)
    if "verificationStatus" in resource:
        (coding,) = resource["verificationStatus"]["coding"]
        _only(coding["code"] == "confirmed")
    recorded = _text(resource["recordedDate"]) if "recordedDate" in resource else None
    row = _row(code, onset, recorded, ahead=False)
    if "abatementDateTime" not in resource:
        return (row,)
    return row, _row(f"{code}//ABATED", _text(resource["abatementDateTime"]), recorded)


def _event(concept: str, moment: str, period: str, released: str, *others: str, ahead: bool) -> Callable[..., Any]:
    """A code at a moment, or over a period. others: keys that say the same in another way, and must not be there."""

    def rows(resource: Resource) -> tuple[EventRow, ...]:
        _only(resource["status"] in _DONE)
        for key in others:
            _only(key not in resource)
        code = _code(resource[concept])
        release = _text(resource[released]) if released and released in resource else None
        if moment in resource:
            return (_row(code, _text(resource[moment]), release, ahead=ahead),)
        span = resource[period]
        if release is None and "end" in span:
            return (_row(code, _text(span["start"]), _text(span["end"])),)
        return (_row(code, _text(span["start"]), release, ahead=ahead),)

    return rows


def _code(concept: Resource) -> str:
    """As `code_of` has it, where the first coding decides."""
    codings = concept["coding"]
    coding = codings[0]
    system, code = coding["system"], _text(coding["code"])
    prefix = PREFIXES.get(system)
    if prefix is None:
        _only(len(codings) == 1)
        prefix = _prefix(_text(system))
    return f"{prefix}//{code}"


@lru_cache(maxsize=1000)
def _prefix(system: str) -> str:
    return last_part(system)


def _text(value: Resource) -> str:
    if type(value) is not str or not value:
        raise TypeError
    return value


def _only(plain: object) -> None:
    if not plain:
        raise TypeError


BY_PATIENT = frozenset({"Immunization"})  # name their subject as `patient`
_READ: dict[str, Callable[[Resource], tuple[EventRow, ...]]] = {
    "Condition": _condition,
    "Encounter": _encounter,
    "Immunization": _event("vaccineCode", "occurrenceDateTime", "", "recorded", "occurrenceString", ahead=False),
    "MedicationAdministration": _event(
        "medicationCodeableConcept", "effectiveDateTime", "effectivePeriod", "recorded",
        "medication", "medicationReference", ahead=False,
    ),
    "MedicationRequest": _event(
        "medicationCodeableConcept", "authoredOn", "", "", "medication", "medicationReference", "doNotPerform",
        ahead=False,
    ),
    "Observation": _observation,
    "Procedure": _event(
        "code", "performedDateTime", "performedPeriod", "recorded", "occurrenceDateTime", "occurrencePeriod",
        ahead=True,
    ),
}  # fmt: skip
# type -> how it is read, the key of its subject, the key that a subject would have in other types
_SHAPES = {
    kind: (read, *(("patient", "subject") if kind in BY_PATIENT else ("subject", "patient")))
    for kind, read in _READ.items()
}
