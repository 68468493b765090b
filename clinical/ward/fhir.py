"""The small pieces of FHIR R4 of which the demo ward's resources are made."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

Resource = dict[str, Any]

SYSTEMS = {
    "LOINC": "http://loinc.org",
    "SNOMED": "http://snomed.info/sct",
    "UCUM": "http://unitsofmeasure.org",
    "ActCode": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "RoleCode": "http://terminology.hl7.org/CodeSystem/v3-RoleCode",
    "category": "http://terminology.hl7.org/CodeSystem/observation-category",
    "condition-category": "http://terminology.hl7.org/CodeSystem/condition-category",
    "condition-clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "condition-ver-status": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
    "discharge": "http://terminology.hl7.org/CodeSystem/discharge-disposition",
    "identifier": "http://terminology.hl7.org/CodeSystem/v2-0203",
    "media-type": "http://terminology.hl7.org/CodeSystem/media-type",
}


def write_resources(path: Path, resources: Iterable[Resource]) -> int:
    """Write one resource a line, as a bulk export does. Returns how many there were."""
    count = 0
    with path.open("wb") as file:
        for resource in resources:
            file.write(orjson.dumps(resource, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def coding(system: str, code: str, display: str) -> Resource:
    """A Coding; `system` is a key of SYSTEMS."""
    return {"system": SYSTEMS[system], "code": code, "display": display}


def concept(system: str, code: str, display: str) -> Resource:
    """A CodeableConcept with one coding."""
    return {"coding": [coding(system, code, display)], "text": display}


def reference(kind: str, identity: str) -> Resource:
    """A reference to a resource of this export."""
    return {"reference": f"{kind}/{identity}"}


def quantity(value: float, unit: str) -> Resource:
    """A Quantity; `unit` is a UCUM code."""
    return {"value": value, "unit": unit, "system": SYSTEMS["UCUM"], "code": unit}
