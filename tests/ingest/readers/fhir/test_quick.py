"""Quick reading gives what full reading gives, for every Observation and every event that it takes."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.delivery.sources import SourceFile
from ingest.readers.fhir.extract import Extracted, Setting, extract, extract_lines
from ingest.readers.fhir.files import Chunk
from ingest.readers.fhir.quick import read_quickly
from ingest.readers.fhir.quick_events import EventLines

PLAIN: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "meta": {"profile": ["x"], "versionId": "3", "lastUpdated": "2026-03-01T10:00:00Z"},
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-03-01T10:00:00+01:00",
    "issued": "2026-03-01T10:05:00.123Z",
    "valueQuantity": {"value": 80.5, "system": "http://unitsofmeasure.org", "code": "/min"},
}
ODD = st.sampled_from(
    [
        None, "", 0, -0.0, 1e39, True, [], {}, [{}], "2026", "2026-03-01", "2026-03-01T10:00:00", "preliminary",
        "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-03-01T10:00:00.1234567Z", "cancelled",
        "Patient/p2", "Group/1", "#x", [{"system": "http://snomed.info/sct", "code": "1"}], [1], {"value": 1},
        {"reference": "Patient/p1", "type": "Patient"},
    ]
)  # fmt: skip
PATHS = [
    ("resourceType",), ("id",), ("status",), ("code",), ("code", "coding"), ("subject",), ("subject", "reference"),
    ("effectiveDateTime",), ("issued",), ("valueQuantity",), ("valueQuantity", "value"), ("valueQuantity", "code"),
    ("valueQuantity", "system"), ("valueQuantity", "comparator"), ("component",),
    ("focus",), ("modifierExtension",), ("meta",), ("meta", "versionId"),
    ("meta", "lastUpdated"), ("docStatus",), ("verificationStatus",), ("contained",), ("valueString",),
]  # fmt: skip


def setting() -> Setting:
    here = Path(__file__)
    return Setting(SourceFile(here, here.parent), 7, b"k" * 32, "local")


def both(lines: list[bytes]) -> tuple[Extracted, Extracted]:
    data = b"\n".join(lines)
    chunk = Chunk(Path("x"), -1, len(data), 1, len(lines), too_long=False, data=data)
    return extract_lines(chunk, setting()), extract(chunk.records(), setting())


def account(found: Extracted) -> dict[str, Any]:
    """What was extracted, in the order of lines."""
    abouts = list(found.abouts)
    order = np.argsort(found.rows["line"], kind="stable")
    place = np.argsort(order)
    facts = found.facts.to_pylist()
    rows = sorted(
        (int(place[record]), str(fact)) for record, fact in zip(found.records, facts, strict=True)
        if int(record) not in found.problems
    )  # fmt: skip
    refused = set(found.refused) | {(f"line {found.rows['line'][r]}", why) for r, why in found.problems.items()}
    kept = [int(r) for r in order if int(r) not in found.problems]
    return {
        "seen": found.seen, "rows": found.rows[kept].tolist(), "whom": [abouts[found.whom[r]] for r in kept],
        "facts": [fact for _, fact in rows], "skipped": found.skipped, "refused": refused, "filled": found.filled,
        "withdrawn": [reason for _, reason, _ in found.withdrawn], "notes": found.notes,
        "by patient": [r in found.patient_fields for r in kept],
    }  # fmt: skip


def changed_line(resource: dict[str, Any], changes: list[tuple[tuple[str, ...], Any]]) -> bytes:
    """A resource with other values at these paths, as a line."""
    made = copy.deepcopy(resource)
    for path, value in changes:
        node = made
        for key in path[:-1]:
            node = node.get(key) if isinstance(node.get(key), dict) else {}
        node[path[-1]] = copy.deepcopy(value)
    return orjson.dumps(made)


def test_the_plain_one_is_read_quickly() -> None:
    others: list[int] = []
    found = read_quickly([orjson.dumps(PLAIN), b"{}"], 1, lambda number, line, resource: others.append(number))
    assert (found.numbers, others) == ([1], [2])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from(PATHS), ODD), max_size=2), min_size=1, max_size=4))
def test_quick_and_full_reading_agree(changes: list[list[tuple[tuple[str, ...], Any]]]) -> None:
    lines = []
    for number, changed in enumerate(changes):
        lines.append(changed_line(PLAIN | {"id": f"o{number}"}, changed))
    quick, full = both(lines)
    assert account(quick) == account(full)


def test_facts_have_the_types_of_the_table() -> None:
    quick, full = both([orjson.dumps(PLAIN)])
    assert quick.facts.schema == full.facts.schema
    assert quick.facts.schema.field("numeric_value").type == pa.float64()


CODE = {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]}
VACCINE = {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "140"}]}
EARLY, LATE = "2026-03-01T10:00:00+01:00", "2026-03-02T08:30:00.5Z"
SPAN = {"start": EARLY, "end": LATE}
PRESSURE = {"code": CODE, "valueQuantity": PLAIN["valueQuantity"]}
SAMPLES: list[dict[str, Any]] = [
    {"resourceType": "Observation", "status": "final", "code": CODE, "effectiveDateTime": EARLY, "issued": LATE,
     "component": [PRESSURE, {**PRESSURE, "code": VACCINE}]},
    {"resourceType": "Observation", "status": "final", "code": VACCINE, "effectiveDateTime": EARLY,
     "valueCodeableConcept": CODE},
    {"resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"}, "period": SPAN,
     "location": [{"location": {"reference": "Location/1"}}]},
    {"resourceType": "Encounter", "status": "in-progress", "class": {"code": "EMER"}, "period": {"start": EARLY}},
    {"resourceType": "Condition", "code": CODE, "onsetDateTime": EARLY, "recordedDate": LATE,
     "verificationStatus": {"coding": [{"code": "confirmed"}]}, "abatementDateTime": LATE},
    {"resourceType": "Condition", "code": CODE, "onsetDateTime": EARLY},
    {"resourceType": "Procedure", "status": "completed", "code": CODE, "performedPeriod": SPAN},
    {"resourceType": "Procedure", "status": "completed", "code": CODE, "performedDateTime": LATE, "recorded": EARLY},
    {"resourceType": "MedicationRequest", "status": "active", "medicationCodeableConcept": CODE, "authoredOn": EARLY},
    {"resourceType": "MedicationAdministration", "status": "completed", "medicationCodeableConcept": CODE,
     "effectivePeriod": SPAN},
    {"resourceType": "MedicationAdministration", "status": "completed", "medicationCodeableConcept": VACCINE,
     "effectiveDateTime": EARLY, "recorded": LATE},
    {"resourceType": "Immunization", "status": "completed", "vaccineCode": VACCINE, "occurrenceDateTime": EARLY},
]  # fmt: skip
for number, sample in enumerate(SAMPLES):
    whom = "patient" if sample["resourceType"] == "Immunization" else "subject"
    sample |= {"id": f"e{number}", whom: {"reference": "Patient/p1"}, "meta": {"versionId": "2"}}
KEYS = sorted({key for sample in SAMPLES for key in sample} | {
    "actualPeriod", "occurrencePeriod", "docStatus", "doNotPerform", "medication", "medicationReference", "contained",
    "abatementPeriod", "onsetPeriod", "modifierExtension", "valueQuantity", "valueString", "focus", "hasMember",
})  # fmt: skip
EVENT_PATHS = [(key,) for key in KEYS] + [
    ("period", "start"), ("period", "end"), ("performedPeriod", "end"), ("effectivePeriod", "start"),
    ("valueCodeableConcept", "coding"),
    ("code", "coding"), ("vaccineCode", "coding"), ("class", "code"), ("subject", "reference"), ("subject", "type"),
    ("verificationStatus", "coding"), ("meta", "lastUpdated"), ("meta", "versionId"), ("patient", "reference"),
]  # fmt: skip
EVENT_ODD = ODD | st.sampled_from(
    [
        EARLY, LATE, "2026-02-30T10:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01 10:00:00Z", "2026-03-01T10:00Z",
        "2026-03-01T10:00:00.1234567Z", SPAN, {"start": LATE, "end": EARLY}, {"end": LATE}, "entered-in-error",
        "completed", "planned", "amended", "Patient/Group/1", [{"code": "refuted"}], {"coding": [{"code": "refuted"}]},
        [PRESSURE], [PRESSURE, {"code": CODE}], [{**PRESSURE, "valueString": "x"}], [PRESSURE, 1],
        PRESSURE["valueQuantity"],
        [{**PRESSURE, "valueQuantity": {**PRESSURE["valueQuantity"], "value": True}}],
        [{**PRESSURE, "valueQuantity": {**PRESSURE["valueQuantity"], "comparator": "<"}}],
        [{"period": SPAN, "location": {"reference": "Location/2"}}],
        {"coding": [{"system": "urn:x", "code": "1"}, CODE["coding"][0]]},
    ]
)  # fmt: skip


def test_the_plain_events_are_read_quickly() -> None:
    events = EventLines()
    assert all(events.take(number, b"", sample) for number, sample in enumerate(SAMPLES))
    found, left = events.finish()
    assert (list(found.numbers), left) == (list(range(len(SAMPLES))), [])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(SAMPLES), st.lists(st.tuples(st.sampled_from(EVENT_PATHS), EVENT_ODD), max_size=2)),
        min_size=1,
        max_size=6,
    )
)
def test_quick_and_full_reading_of_events_agree(
    changes: list[tuple[dict[str, Any], list[tuple[tuple[str, ...], Any]]]],
) -> None:
    lines = [orjson.dumps(PLAIN)]
    for number, (sample, changed) in enumerate(changes):
        lines.append(changed_line(sample | {"id": f"e{number}"}, changed))
    quick, full = both(lines)
    assert account(quick) == account(full)


def test_events_of_real_exports_are_read_alike() -> None:
    folder = Path(__file__).parents[5] / "shared" / "data" / "fhir-synthea"
    if not folder.is_dir():
        pytest.skip(f"{folder}: not here")
    for name in ("Encounter", "Condition", "Procedure", "MedicationRequest", "Immunization", "AllergyIntolerance"):
        lines = (folder / f"{name}.000.ndjson").read_bytes().splitlines()[:300]
        quick, full = both(lines)
        assert account(quick) == account(full)
