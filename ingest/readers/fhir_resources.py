"""FHIR R4 resources as facts: what each type says of its subject, when it was, and when it could be known."""

import base64
import binascii
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ingest.intake import Intake
from ingest.observations import BIRTH_CODE, DEATH_CODE
from ingest.quarantine import Refusal
from ingest.readers.fhir_values import Node, branch, branches, code_of, number, unit_of, word
from ingest.sources import SourceFile, inside
from ingest.times import DATE_NOTE, Moment, parse_iso

MAX_NOTE_BYTES = 16 * 1024 * 1024
_UNTRUE = frozenset({"entered-in-error", "cancelled", "not-done", "refuted"})
_NOT_YET = frozenset({"draft", "planned", "preparation", "proposed"})
_OTHER_VALUES = frozenset(
    f"value{kind}"
    for kind in ("Attachment", "DateTime", "Period", "Range", "Ratio", "Reference", "SampledData", "Time")
)


class Skip(Exception):  # noqa: N818 - a verdict, not an error
    """A record that is well formed, and left out for the reason given."""


class Fact(NamedTuple):
    """A row of the observation table but for its subject and its source."""

    code: str
    time: dt.datetime | None = None
    numeric_value: float | None = None
    text_value: str | None = None
    unit: str | None = None
    available_time: dt.datetime | None = None
    asset: str | None = None
    asset_sha256: str | None = None


@dataclass(frozen=True)
class Context:
    """What a resource needs beside itself."""

    intake: Intake
    file: SourceFile
    place: Callable[[Node], str]  # a Location's reference -> the code of its type, else the reference's id

    def moment(self, text: str, field: str) -> Moment:
        """A FHIR date or dateTime; dates without a time are noted."""
        moment = parse_iso(text, field, self.intake.zone)
        if moment.is_date:
            self.intake.report.note(DATE_NOTE)
        return moment

    def known(self, moment: Moment, text: str, field: str) -> dt.datetime:
        """When a thing of `moment` could be known, its release being stated as `text` or not at all."""
        return max(moment.end, self.moment(text, field).end) if text else moment.end


def patient_facts(resource: Node, context: Context) -> Iterator[Fact]:
    """Birth, sex, death. The birth date counts as known at any time."""
    if birth_date := word(resource, "birthDate"):
        try:
            yield Fact(BIRTH_CODE, parse_iso(birth_date[:10], "birthDate", dt.UTC).start)
        except Refusal:
            raise Refusal("birthDate", "YYYY, YYYY-MM or YYYY-MM-DD", "something else") from None
    if gender := word(resource, "gender"):
        yield Fact("GENDER", text_value=gender)
    if died := word(resource, "deceasedDateTime"):
        moment = context.moment(died, "deceasedDateTime")
        yield Fact(DEATH_CODE, moment.start, available_time=moment.end)


def _encounter(resource: Node, context: Context) -> Iterator[Fact]:
    kind = resource.get("class")
    concepts = branches(resource, "class") if isinstance(kind, list) else []  # R5: a list of concepts
    coding = branches(concepts[0], "coding")[0] if concepts and branches(concepts[0], "coding") else None
    code = word(coding if coding is not None else branch(resource, "class"), "code")
    if not code:
        raise Refusal("class.code", "a code such as IMP", "none")
    start = word(branch(resource, "period"), "start")
    if not start:
        raise Refusal("period.start", "a time", "none")
    moment = context.moment(start, "period.start")
    yield Fact(f"ENCOUNTER//{code}//START", moment.start, available_time=moment.end)
    if end := word(branch(resource, "period"), "end"):
        moment = context.moment(end, "period.end")
        yield Fact(f"ENCOUNTER//{code}//END", moment.start, available_time=moment.end)
    for stay in branches(resource, "location"):
        if since := word(branch(stay, "period"), "start"):
            moment = context.moment(since, "location.period.start")
            name = context.place(branch(stay, "location"))
            yield Fact(f"LOCATION//{name}", moment.start, available_time=moment.end)


def _observation(resource: Node, context: Context) -> Iterator[Fact]:
    moment, available = _effective(resource, context)
    concept = branch(resource, "code")
    found = False
    if (value := _value(resource)) is not None:
        found = True
        yield Fact(code_of(concept, "code"), moment.start, *value, available)
    for component in branches(resource, "component"):
        if (value := _value(component)) is not None:
            found = True
            code = code_of(branch(component, "code"), "component.code")
            yield Fact(code, moment.start, *value, available)
    if not found:
        raise Skip("Observation without a value")


def _effective(resource: Node, context: Context) -> tuple[Moment, dt.datetime]:
    """(when it was, when it could be known) of an Observation or a DiagnosticReport."""
    issued = word(resource, "issued")
    for key in ("effectiveDateTime", "effectiveInstant"):
        if text := word(resource, key):
            moment = context.moment(text, key)
            return moment, context.known(moment, issued, "issued")
    return _period(resource, "effectivePeriod", issued, "issued", context)


def _period(resource: Node, key: str, released: str, released_key: str, context: Context) -> tuple[Moment, dt.datetime]:
    """A period stands at its start, and is known from its release, else from its end."""
    period = branch(resource, key)
    if not (start := word(period, "start")):
        raise Refusal(key.replace("Period", "DateTime"), "a time", "none")
    moment = context.moment(start, f"{key}.start")
    end = word(period, "end")
    if released:
        return moment, context.known(moment, released, released_key)
    return moment, context.known(moment, end, f"{key}.end")


def _value(node: Node) -> tuple[float | None, str | None, str | None] | None:
    """(number, text, unit) of a value[x]; None where there is none. A comparator such as < is kept as text."""
    if "valueQuantity" in node:
        quantity = branch(node, "valueQuantity")
        value = number(quantity, "value")
        return None if value is None else (value, word(quantity, "comparator") or None, unit_of(quantity))
    if "valueCodeableConcept" in node:
        concept = branch(node, "valueCodeableConcept")
        text = code_of(concept, "valueCodeableConcept") if branches(concept, "coding") else word(concept, "text")
        return (None, text, None) if text else None
    if "valueString" in node:
        return None, word(node, "valueString"), None
    if "valueInteger" in node:
        return number(node, "valueInteger"), None, None
    if "valueBoolean" in node:
        if type(node["valueBoolean"]) is not bool:
            raise Refusal("valueBoolean", "true or false", "something else")
        return None, "true" if node["valueBoolean"] else "false", None
    if other := _OTHER_VALUES & node.keys():
        raise Skip(f"a value of a kind that is not read: {min(other)}")
    return None


def _condition(resource: Node, context: Context) -> Iterator[Fact]:
    code = code_of(branch(resource, "code"), "code")
    recorded = word(resource, "recordedDate")
    if onset := word(resource, "onsetDateTime"):
        moment = context.moment(onset, "onsetDateTime")
    elif onset := word(branch(resource, "onsetPeriod"), "start"):
        moment = context.moment(onset, "onsetPeriod.start")
    elif recorded:
        moment = context.moment(recorded, "recordedDate")
    else:
        raise Refusal("onsetDateTime", "a time of onset or of recording", "none")
    yield Fact(code, moment.start, available_time=context.known(moment, recorded, "recordedDate"))


def _document(resource: Node, context: Context) -> Iterator[Fact]:
    code = code_of(branch(resource, "type"), "type")
    date, start = word(resource, "date"), word(branch(resource, "context", "period"), "start")
    if not (date or start):
        raise Refusal("date", "the document's date", "none")
    moment = context.moment(start or date, "context.period.start" if start else "date")
    attachments = [branch(content, "attachment") for content in branches(resource, "content")]
    texts = [text for attachment in attachments if (text := _attached_text(attachment, context)) is not None]
    if not texts:
        raise Skip("DocumentReference without text")
    yield Fact(code, moment.start, text_value="\n\n".join(texts), available_time=context.known(moment, date, "date"))


def _report(resource: Node, context: Context) -> Iterator[Fact]:
    code = code_of(branch(resource, "code"), "code")
    moment, available = _effective(resource, context)
    texts = [_attached_text(form, context) for form in branches(resource, "presentedForm")]
    texts.append(word(resource, "conclusion") or None)
    said = [text for text in texts if text]
    if not said:
        raise Skip("DiagnosticReport without text")
    yield Fact(code, moment.start, text_value="\n\n".join(said), available_time=available)


def _attached_text(attachment: Node, context: Context) -> str | None:
    """The text of an Attachment, inline or in a file of the delivery; None where it is not plain text."""
    kind, _, parameters = word(attachment, "contentType").partition(";")
    if kind.strip().lower() not in {"", "text/plain", "text/markdown"}:
        return None
    if data := word(attachment, "data"):
        if len(data) > MAX_NOTE_BYTES * 4 // 3:
            raise Refusal("attachment.data", f"at most {MAX_NOTE_BYTES:,} bytes", "more")
        try:
            content = base64.b64decode(data, validate=False)
        except (binascii.Error, ValueError):
            raise Refusal("attachment.data", "base64", "something else") from None
    elif url := word(attachment, "url"):
        path = inside(context.file, url, "attachment.url")
        if path.stat().st_size > MAX_NOTE_BYTES:
            raise Refusal("attachment.url", f"at most {MAX_NOTE_BYTES:,} bytes", "more")
        content = path.read_bytes()
    else:
        return None
    charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
    try:
        return content.decode(charset)
    except (UnicodeDecodeError, LookupError):
        raise Refusal("attachment", "text in the encoding that it states, or UTF-8", "something else") from None


def _media(resource: Node, context: Context) -> Iterator[Fact]:
    content = branch(resource, "content")
    kind = word(content, "contentType").lower()
    if kind and not kind.startswith(("audio/", "image/")):
        raise Skip("Media that is neither sound nor image")
    concept = branch(resource, "modality") or branch(resource, "type")
    code = code_of(concept, "modality")
    taken = word(resource, "createdDateTime") or word(branch(resource, "createdPeriod"), "start")
    if not taken:
        raise Refusal("createdDateTime", "a time", "none")
    moment = context.moment(taken, "createdDateTime")
    available = context.known(moment, word(resource, "issued"), "issued")
    if not (url := word(content, "url")):
        raise Skip("Media without a file")
    asset, sha256 = context.intake.asset(context.file, url, "content.url")
    yield Fact(code, moment.start, available_time=available, asset=asset, asset_sha256=sha256)


def _procedure(resource: Node, context: Context) -> Iterator[Fact]:
    yield _event(resource, "code", ("performedDateTime", "occurrenceDateTime"), "performedPeriod", context)


def _medication_request(resource: Node, context: Context) -> Iterator[Fact]:
    _needs_coded_medication(resource)
    yield _event(resource, "medicationCodeableConcept", ("authoredOn",), "", context)


def _medication_administration(resource: Node, context: Context) -> Iterator[Fact]:
    _needs_coded_medication(resource)
    times = ("effectiveDateTime", "occurenceDateTime")  # R4; R5, spelt so there
    yield _event(resource, "medicationCodeableConcept", times, "effectivePeriod", context)


def _immunization(resource: Node, context: Context) -> Iterator[Fact]:
    yield _event(resource, "vaccineCode", ("occurrenceDateTime",), "", context, "recorded")


def _allergy(resource: Node, context: Context) -> Iterator[Fact]:
    yield _event(resource, "code", ("onsetDateTime", "recordedDate"), "", context, "recordedDate")


def _needs_coded_medication(resource: Node) -> None:
    if "medicationReference" in resource:
        raise Skip(f"{word(resource, 'resourceType')} whose medication is a reference")


def _event(
    resource: Node, concept: str, times: tuple[str, ...], period: str, context: Context, released: str = ""
) -> Fact:
    """A code at a time, the shape of most clinical events."""
    code = code_of(branch(resource, concept), concept)
    release = word(resource, released) if released else ""
    for key in times:
        if text := word(resource, key):
            moment = context.moment(text, key)
            return Fact(code, moment.start, available_time=context.known(moment, release, released))
    if not period:
        raise Refusal(times[0], "a time", "none")
    moment, available = _period(resource, period, release, released, context)
    return Fact(code, moment.start, available_time=available)


def status_reason(resource: Node) -> str | None:
    """Why a resource does not count: entered in error, refuted, cancelled, not done, or merely planned."""
    statuses = [word(resource, key) for key in ("status", "docStatus") if isinstance(resource.get(key), str)]
    verification = resource.get("verificationStatus")
    if isinstance(verification, dict):
        statuses += [word(coding, "code") for coding in branches(verification, "coding")]
    wrong = next((status for status in statuses if status in _UNTRUE or status in _NOT_YET), None)
    return f"{word(resource, 'resourceType')} {wrong}" if wrong else None


RESOURCES: dict[str, Callable[[Node, Context], Iterator[Fact]]] = {
    "AllergyIntolerance": _allergy,
    "Condition": _condition,
    "DiagnosticReport": _report,
    "DocumentReference": _document,
    "Encounter": _encounter,
    "Immunization": _immunization,
    "Media": _media,
    "MedicationAdministration": _medication_administration,
    "MedicationRequest": _medication_request,
    "Observation": _observation,
    "Procedure": _procedure,
}
