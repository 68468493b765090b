"""Parts of FHIR resources, taken out with their types checked: nothing here trusts the JSON it is given."""

import math
from typing import Any
from urllib.parse import urlsplit

from ingest.account.quarantine import Refusal

Node = dict[str, Any]

PREFIXES = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
    # the same systems by their OIDs (HL7 OID registry), as converters from HL7 V2 and CDA write them
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.90": "ICD10CM",
    "urn:oid:2.16.840.1.113883.6.3": "ICD10",
    "urn:oid:2.16.840.1.113883.6.88": "RXNORM",
}
UCUM = "http://unitsofmeasure.org"
_UCUM_SYSTEMS = (UCUM, "urn:oid:2.16.840.1.113883.6.8")
LARGEST_FLOAT32 = 3.4028234663852886e38


def branch(node: Node, *keys: str) -> Node:
    """The object at a path of keys; empty where absent. Refuses anything that is not an object."""
    for key in keys:
        inner = node.get(key)
        if inner is None:
            return {}
        if type(inner) is not dict:
            raise Refusal(key, "an object", kind_of(inner))
        node = inner
    return node


def branches(node: Node, key: str) -> list[Node]:
    """The list of objects under a key; empty where absent."""
    inner = node.get(key)
    if inner is None:
        return []
    if type(inner) is not list or not all(type(item) is dict for item in inner):
        raise Refusal(key, "a list of objects", kind_of(inner))
    return inner


def word(node: Node, key: str) -> str:
    """The text under a key; empty where absent."""
    inner = node.get(key)
    if inner is None:
        return ""
    if type(inner) is not str:
        raise Refusal(key, "text", kind_of(inner))
    return inner


def words(node: Node, key: str) -> list[str]:
    """The texts listed under a key; empty where absent."""
    inner = node.get(key)
    if inner is None:
        return []
    if type(inner) is not list or not all(type(item) is str for item in inner):
        raise Refusal(key, "a list of texts", kind_of(inner))
    return inner


def number(node: Node, key: str) -> float | None:
    """The number under a key, finite also in single precision; None where absent."""
    inner = node.get(key)
    if inner is None:
        return None
    if type(inner) not in (int, float):
        raise Refusal(key, "a number", kind_of(inner))
    value = float(inner)
    if not math.isfinite(value) or abs(value) > LARGEST_FLOAT32:
        raise Refusal(key, "a number within single precision", "one beyond it")
    return value


def code_of(concept: Node, field: str) -> str:
    """A CodeableConcept as PREFIX//code: its first coding of a well-known system, else its first. Refuses none."""
    first = ""
    for coding in branches(concept, "coding"):
        system, code = word(coding, "system"), word(coding, "code")
        if not code or not system:
            continue
        if prefix := PREFIXES.get(system):
            return f"{prefix}//{code}"
        first = first or f"{last_part(system)}//{code}"
    if not first:
        raise Refusal(f"{field}.coding", "a code with its system", "none")
    return first


def concept_of(node: Node, key: str) -> Node:
    """A CodeableConcept under a key, also where R5 puts it inside a CodeableReference."""
    concept = branch(node, key)
    return branch(concept, "concept") if "concept" in concept else concept


def unit_of(quantity: Node) -> str | None:
    """The unit of a Quantity: its code where the system is UCUM, else as it is written."""
    if word(quantity, "system") in _UCUM_SYSTEMS and (code := word(quantity, "code")):
        return code
    return word(quantity, "unit") or word(quantity, "code") or None


def place_code(location: Node) -> str:
    """The code of a Location's type, such as ICU; empty where it has none."""
    codings = [coding for concept in branches(location, "type") for coding in branches(concept, "coding")]
    return next((code for coding in codings if (code := word(coding, "code"))), "")


def local_name(reference: str) -> str:
    """A reference without its server and version: Patient/17 of https://srv/fhir/Patient/17/_history/2."""
    if "?identifier=" in reference:  # the identifier's system may be an address too
        kind, _, query = reference.partition("?")
        return f"{kind.rsplit('/', 1)[-1]}?{query}"
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])


def last_part(system: str) -> str:
    """The last part of a code system's address, which is what codes of less known systems are prefixed with."""
    if system.startswith("urn:"):
        return system.rsplit(":", 1)[-1]
    try:
        path = urlsplit(system).path.rstrip("/") if "://" in system else system
    except ValueError:
        path = system  # brackets in an address make it no address: it stands as it is
    return path.rsplit("/", 1)[-1] or system


def kind_of(value: object) -> str:
    """What a JSON value is, without its content."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
