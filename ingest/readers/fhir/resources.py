"""FHIR resources as facts, by type: what each says of its subject, when it was, and when it could be known."""

import datetime as dt
import re
from collections.abc import Callable, Iterator

from ingest.account.quarantine import Refusal
from ingest.meaning.times import parse_iso
from ingest.observations import BIRTH_CODE, DEATH_CODE
from ingest.readers.fhir.documents import composition, document, report
from ingest.readers.fhir.facts import Context, Fact, Lookup, Skip, Span, contained, reference_of
from ingest.readers.fhir.medications import MEDICATIONS
from ingest.readers.fhir.observations import observation
from ingest.readers.fhir.questionnaires import questionnaire_response
from ingest.readers.fhir.values import Node, branch, branches, code_of, concept_of, place_code, word

Reading = Callable[[Node, Context], Iterator[Fact]]
NO_PLACE = "place of an Encounter that refers to no Location: left out"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NOT_TAKEN = re.compile("not-tak")  # not-taken; not-taking, not-taking-on-hold


def patient_facts(resource: Node, context: Context) -> Iterator[Fact]:
    """Birth, sex, death. The birth date counts as known at any time."""
    if birth_date := word(resource, "birthDate"):
        try:
            born = parse_iso(birth_date[:10], "birthDate", dt.UTC).start
        except Refusal:
            raise Refusal("birthDate", "YYYY, YYYY-MM or YYYY-MM-DD", "something else") from None
        yield Fact(BIRTH_CODE, (born - _EPOCH) // dt.timedelta(microseconds=1))
    if gender := word(resource, "gender"):
        yield Fact("GENDER", text_value=gender)
    if died := word(resource, "deceasedDateTime"):
        moment = context.moment(died, "deceasedDateTime")
        yield Fact(DEATH_CODE, moment.start, available_time=moment.end)


def event(concept: str, times: tuple[str, ...], released: str = "", *, ahead: bool = False) -> Reading:
    """How a type is read that is a code at a time, the shape of most clinical events. ahead: see `Context.when`."""

    def read(resource: Node, context: Context) -> Iterator[Fact]:
        code = code_of(concept_of(resource, concept), concept)
        time, available = context.when(resource, times, released, ahead=ahead)
        yield Fact(code, time, available_time=available)

    return read


def _encounter(resource: Node, context: Context) -> Iterator[Fact]:
    kind = resource.get("class")
    concepts = branches(resource, "class") if isinstance(kind, list) else []  # R5: a list of concepts
    codings = [coding for concept in concepts for coding in branches(concept, "coding")]
    coding = codings[0] if codings else None
    if coding is None and not isinstance(kind, list):
        coding = branch(resource, "class")
    code = word(coding or {}, "code")
    if not code:
        raise Refusal("class.code", "a code such as IMP", "none")
    key = "actualPeriod" if "actualPeriod" in resource else "period"  # R5; R4
    yield from _span(f"ENCOUNTER//{code}", branch(resource, key), key, context)
    for stay in branches(resource, "location"):
        if since := word(branch(stay, "period"), "start"):
            reference = reference_of(branch(stay, "location"), "Location")
            own = contained(resource, reference, "Location")
            code = "" if own is None else place_code(own)
            if not code and (not reference or reference.startswith("#")):
                context.notes[NO_PLACE] += 1
                continue
            moment = context.moment(since, "location.period.start")
            lookup = None if code else Lookup("place", reference, "location.location")
            yield Fact(f"LOCATION//{code}", moment.start, available_time=moment.end, lookup=lookup)


def _span(code: str, period: Node, field: str, context: Context) -> Iterator[Fact]:
    """The start and, where it is stated, the end of something that lasts."""
    if not (text := word(period, "start")):
        raise Refusal(f"{field}.start", "a time", "none")
    start = context.moment(text, f"{field}.start")
    yield Fact(f"{code}//START", start.start, available_time=start.end)
    if text := word(period, "end"):
        end = context.moment(text, f"{field}.end")
        if end.end < start.start:
            raise Refusal(f"{field}.end", "an end that is not before the start", "one that is")
        yield Fact(f"{code}//END", end.start, available_time=end.end)


def _episode(resource: Node, context: Context) -> Iterator[Fact]:
    kinds = branches(resource, "type")
    code = f"EPISODE//{code_of(kinds[0], 'type')}" if kinds else "EPISODE"
    yield from _span(code, branch(resource, "period"), "period", context)


def _condition(resource: Node, context: Context) -> Iterator[Fact]:
    """A problem at its onset, and where it ended a row //ABATED: not known before it was."""
    code = code_of(branch(resource, "code"), "code")
    recorded = word(resource, "recordedDate")
    onset = ("onsetDateTime", "onsetPeriod", "recordedDate")
    stated = next((key for key in onset if resource.get(key)), "")
    if not stated:
        raise Refusal("onsetDateTime", "a time of onset or of recording", "none")
    text = word(branch(resource, stated), "start") if stated == "onsetPeriod" else word(resource, stated)
    if not text:
        raise Refusal(f"{stated}.start", "a time", "none")
    moment = context.moment(text, stated)
    yield Fact(code, moment.start, available_time=context.known(moment, recorded, "recordedDate"))
    if ended := word(resource, "abatementDateTime") or word(branch(resource, "abatementPeriod"), "end"):
        moment = context.moment(ended, "abatementDateTime")
        available = context.known(moment, recorded, "recordedDate", ahead=True)  # recorded while it lasted
        yield Fact(f"{code}//ABATED", moment.start, available_time=available)


def _media(resource: Node, context: Context) -> Iterator[Fact]:
    content = branch(resource, "content")
    kind = word(content, "contentType").lower()
    if kind and not kind.startswith(("audio/", "image/")):
        raise Skip("Media that is neither sound nor image")
    concept = branch(resource, "modality") or branch(resource, "type")
    code = code_of(concept, "modality")
    time, available = context.when(resource, ("createdDateTime", "createdPeriod"), "issued")
    if not (url := word(content, "url")):
        raise Skip("Media without a file")
    asset, sha256 = context.asset(url, "content.url")
    yield Fact(code, time, available_time=available, asset=asset, asset_sha256=sha256)


def _imaging_study(resource: Node, context: Context) -> Iterator[Fact]:
    """A row per series: that it was made. Its images come as DICOM files."""
    for series in branches(resource, "series"):
        modality = branch(series, "modality")  # R4: a coding; R5: a concept
        code = word((branches(modality, "coding") or [modality])[0], "code")
        if not code:
            raise Refusal("series.modality", "a code such as CT", "none")
        about = series if series.get("started") else resource
        time, available = context.when(about, ("started",))
        yield Fact(f"IMAGING//{code}", time, available_time=available)
    if not branches(resource, "series"):
        raise Skip("ImagingStudy without series")


def _care_plan(resource: Node, context: Context) -> Iterator[Fact]:
    time, available = context.when(resource, ("period", "created"), "created", ahead=True)
    codes = [code_of(concept, "category") for concept in branches(resource, "category") if branches(concept, "coding")]
    if not codes:
        raise Refusal("category.coding", "a code with its system", "none")
    for code in dict.fromkeys(codes):
        yield Fact(code, time, available_time=available)


def _family_history(resource: Node, context: Context) -> Iterator[Fact]:
    """What a relative had: never a fact about the subject's own body, so its code says FAMILY first."""
    time, available = context.when(resource, ("date",))
    relation = next((word(each, "code") for each in branches(branch(resource, "relationship"), "coding")), "") or None
    conditions = branches(resource, "condition")
    if not conditions:
        raise Skip("FamilyMemberHistory without conditions")
    for condition in conditions:
        code = code_of(branch(condition, "code"), "condition.code")
        yield Fact(f"FAMILY//{code}", time, text_value=relation, available_time=available)


def _specimen(resource: Node, context: Context) -> Iterator[Fact]:
    """That a specimen was taken; known when it was received."""
    code = code_of(branch(resource, "type"), "type")
    collection = branch(resource, "collection")
    time, available = context.when(collection, ("collectedDateTime", "collectedPeriod"))
    if received := word(resource, "receivedTime"):
        available = context.known(Span(time, available), received, "receivedTime")
    yield Fact(f"SPECIMEN//{code}", time, available_time=available)


def denied(resource: Node) -> str:
    """Why a resource says that something is not so, in another field than its status; empty where it does not.

    Asked not to be done, not taken by the patient, declined, a goal that is none.
    """
    kind, status = resource.get("resourceType"), resource.get("status")
    if resource.get("doNotPerform") is True:
        return f"{kind} of what is not to be done"
    if kind == "MedicationStatement":
        codings = branches(branch(resource, "adherence", "code"), "coding")  # R5; R4 has it as a status
        told = [word(coding, "code") for coding in codings] + [status if type(status) is str else ""]
        return "MedicationStatement not taken" if any(_NOT_TAKEN.match(each) for each in told) else ""
    if kind == "MedicationDispense" and status == "declined":
        return "MedicationDispense declined"
    state = resource.get("lifecycleStatus")
    return f"Goal {state}" if kind == "Goal" and state in ("cancelled", "entered-in-error", "rejected") else ""


RESOURCES: dict[str, Reading] = {
    **MEDICATIONS,
    "AllergyIntolerance": event("code", ("onsetDateTime", "onsetPeriod", "recordedDate"), "recordedDate"),
    "CarePlan": _care_plan,
    "Composition": composition,
    "Condition": _condition,
    "DiagnosticReport": report,
    "DocumentReference": document,
    "Encounter": _encounter,
    "EpisodeOfCare": _episode,
    "FamilyMemberHistory": _family_history,
    "Flag": event("code", ("period",)),
    "Goal": event("description", ("startDate", "statusDate")),
    "ImagingStudy": _imaging_study,
    "Immunization": event("vaccineCode", ("occurrenceDateTime",), "recorded"),
    "Media": _media,
    "Observation": observation,
    "Procedure": event(
        "code",
        ("performedDateTime", "occurrenceDateTime", "performedPeriod", "occurrencePeriod"),
        "recorded",
        ahead=True,
    ),
    "QuestionnaireResponse": questionnaire_response,
    "ServiceRequest": event("code", ("authoredOn", "occurrenceDateTime", "occurrencePeriod")),
    "Specimen": _specimen,
}
