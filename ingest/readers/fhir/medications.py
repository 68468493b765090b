"""FHIR medication resources as facts: asked for, given, dispensed, stated; by code or by reference."""

from collections.abc import Callable, Iterator

from ingest.account.quarantine import Refusal
from ingest.readers.fhir.facts import Context, Fact, Lookup, contained, reference_of
from ingest.readers.fhir.values import Node, branch, branches, code_of

_OCCURRENCES = ("occurenceDateTime", "occurencePeriod", "occurrenceDateTime", "occurrencePeriod")
Reading = Callable[[Node, Context], Iterator[Fact]]


def medication(times: tuple[str, ...], released: str = "", *, ahead: bool = False) -> Reading:
    """How a type of medication resource is read: its medication, at the first of `times` that it states.

    ahead: see `Context.when`.
    """

    def read(resource: Node, context: Context) -> Iterator[Fact]:
        code, lookup = _medication(resource)
        time, available = context.when(resource, times, released, ahead=ahead)
        yield Fact(code, time, available_time=available, lookup=lookup)

    return read


def _medication(resource: Node) -> tuple[str, Lookup | None]:
    """(code, "") or ("", the Medication that has it). R4: a CodeableConcept or a reference; R5: either in one key."""
    both = branch(resource, "medication")
    concept = branch(both, "concept") if "concept" in both else branch(resource, "medicationCodeableConcept")
    reference = reference_of(branch(both, "reference") or branch(resource, "medicationReference"), "Medication")
    field = "medication.reference" if both else "medicationReference"
    if branches(concept, "coding") or not reference:
        return code_of(concept, "medication.concept" if both else "medicationCodeableConcept"), None
    if reference.startswith("#"):
        inside = contained(resource, reference, "Medication")
        if inside is None:
            raise Refusal(field, "a Medication that the record contains", "none of that name")
        return medication_code(inside), None
    return "", Lookup("medicine", reference, field)


def medication_code(resource: Node) -> str:
    """The code of a Medication, else of its only ingredient. Raises Refusal where there is none."""
    ingredients = branches(resource, "ingredient")
    if not branches(branch(resource, "code"), "coding") and len(ingredients) == 1:
        item = branch(ingredients[0], "itemCodeableConcept") or branch(ingredients[0], "item", "concept")
        return code_of(item, "ingredient.item")
    return code_of(branch(resource, "code"), "code")


MEDICATIONS: dict[str, Reading] = {
    "MedicationAdministration": medication(
        # R4 effective; R5 spells it so ("occurence"), its successor with two r
        ("effectiveDateTime", "effectivePeriod", *_OCCURRENCES),
        "recorded",
    ),
    "MedicationDispense": medication(("whenHandedOver", "whenPrepared", "recorded")),
    "MedicationRequest": medication(("authoredOn",)),
    "MedicationStatement": medication(
        ("effectiveDateTime", "effectivePeriod", "dateAsserted"), "dateAsserted", ahead=True
    ),
}
