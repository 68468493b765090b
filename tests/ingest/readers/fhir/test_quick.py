"""Quick reading gives what full reading gives, for every Observation that it takes."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.delivery.sources import SourceFile
from ingest.readers.fhir.extract import Extracted, Setting, extract, extract_lines
from ingest.readers.fhir.files import Chunk
from ingest.readers.fhir.quick import read_quickly

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
    ("valueQuantity", "system"), ("valueQuantity", "comparator"), ("component",), ("meta",), ("meta", "versionId"),
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
    }  # fmt: skip


def test_the_plain_one_is_read_quickly() -> None:
    others: list[int] = []
    found = read_quickly([orjson.dumps(PLAIN), b"{}"], 1, lambda number, line, resource: others.append(number))
    assert (found.numbers, others) == ([1], [2])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from(PATHS), ODD), max_size=2), min_size=1, max_size=4))
def test_quick_and_full_reading_agree(changes: list[list[tuple[tuple[str, ...], Any]]]) -> None:
    lines = []
    for number, changed in enumerate(changes):
        made = copy.deepcopy(PLAIN) | {"id": f"o{number}"}
        for path, value in changed:
            node = made
            for key in path[:-1]:
                node = node.get(key) if isinstance(node.get(key), dict) else {}
            node[path[-1]] = copy.deepcopy(value)
        lines.append(orjson.dumps(made))
    quick, full = both(lines)
    assert account(quick) == account(full)


def test_facts_have_the_types_of_the_table() -> None:
    quick, full = both([orjson.dumps(PLAIN)])
    assert quick.facts.schema == full.facts.schema
    assert quick.facts.schema.field("numeric_value").type == pa.float64()
