"""FHIR R4: bulk exports in ndjson, bundles, single resources; read line by line, patients first."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import orjson
import pyarrow as pa

from ingest.identity import Claim
from ingest.intake import ALREADY, Intake
from ingest.ledger import KnownFile
from ingest.mapping import TableMapping
from ingest.observations import ObservationColumns
from ingest.quarantine import Refusal
from ingest.readers.fhir_files import LINE_SUFFIXES, parsed, records
from ingest.readers.fhir_resources import RESOURCES, Context, Fact, Skip, patient_facts, status_reason
from ingest.readers.fhir_values import Node, branch, branches, word, words
from ingest.sources import SourceFile

FORMAT = "FHIR"
BATCH_ROWS = 50_000
_FIRST = ("Patient", "Location")  # read before all others, which refer to them
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z]{2,40}")
_GENDERS = {"male": "M", "female": "F", "other": "O"}


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is JSON that speaks of a resourceType near its beginning."""
    head = file.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if file.path.suffix.lower() not in LINE_SUFFIXES and head[:1] != b"{":
        return False
    if b'"resourceType"' in head:
        return True
    with file.path.open("rb") as opened:
        return b'"resourceType"' in opened.read(1 << 20)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Two passes over the files: patients and locations, then everything that refers to them."""
    reading = _Reading(intake)
    progress = {file: _Progress(intake.ledger.file(file.sha256)) for file in files}
    for first_pass in (True, False):
        for file in files:
            state = progress[file]
            if first_pass and state.known is not None:
                intake.report.see(FORMAT, state.known.records)
                intake.report.skip(FORMAT, ALREADY, state.known.records - len(state.known.refused))
            if state.known is not None and not state.known.refused:
                continue
            yield from reading.read_file(file, state, first_pass=first_pass)
    for file in files:
        state = progress[file]
        count = state.known.records if state.known else state.records
        intake.ledger.enter_file(file.sha256, FORMAT, count, frozenset(state.refused))


class _Progress:
    """How far a file has been read. Of one ingested before, only what was refused is tried again."""

    def __init__(self, known: KnownFile | None) -> None:
        self.known = known
        self.records = 0
        self.refused: set[str] = set()

    def wants(self, label: str) -> bool:
        return self.known is None or label in self.known.refused


@dataclass
class _Reading:
    """The state of one delivery: whom and what its references mean."""

    intake: Intake
    rows: ObservationColumns = field(default_factory=ObservationColumns)
    patients: dict[str, int] = field(default_factory=dict)  # reference or full url -> subject
    places: dict[str, str] = field(default_factory=dict)
    barred: set[str] = field(default_factory=set)  # references to Patients that were refused: they mean nobody

    def read_file(self, file: SourceFile, state: _Progress, *, first_pass: bool) -> Iterator[pa.RecordBatch]:
        """Handle the records of a file that belong to this pass; the second also takes whatever is broken."""
        context = Context(self.intake, file, self.place)
        for label, raw in records(file):
            if not state.wants(label):
                continue
            if first_pass and isinstance(raw, bytes) and not any(b'"%s"' % t.encode() in raw for t in _FIRST):
                continue  # cheaper than parsing every line twice
            resource, problem = parsed(raw)
            if first_pass != (resource.get("resourceType") in _FIRST):
                continue
            if state.known is None:
                self.intake.report.see(FORMAT)
                state.records += 1
            try:
                if problem is not None:
                    raise problem
                self._take(resource, context, label)
            except Skip as skip:
                self.intake.report.skip(FORMAT, str(skip))
            except Refusal as refusal:
                state.refused.add(label)
                if resource.get("resourceType") == "Patient":
                    self._bar(resource)
                raw_text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else orjson.dumps(raw).decode()
                self.intake.report.refuse(FORMAT, refusal.complaint(file.name, label), raw_text)
            else:
                self.intake.report.use(FORMAT)
            if len(self.rows) >= BATCH_ROWS:
                yield self.rows.batch()
        yield self.rows.batch()

    def _take(self, resource: Node, context: Context, label: str) -> None:
        """Add the rows of one resource. Raises Refusal or Skip, having added none."""
        kind = word(resource, "resourceType")
        if kind not in RESOURCES and kind not in _FIRST:
            if not kind:
                raise Refusal("resourceType", "a resource", "none")
            raise Skip(f"FHIR type that is not read: {kind if _TYPE_NAME.fullmatch(kind) else 'unknown'}")
        if reason := status_reason(resource):
            raise Skip(reason)
        key, content = self._check_new(resource, kind)
        if kind == "Location":
            self._learn_place(resource)
        else:
            facts = list((patient_facts if kind == "Patient" else RESOURCES[kind])(resource, context))
            subject = self._learn_patient(resource) if kind == "Patient" else self._subject(resource)
            self._add(subject, facts, context.file, label)
        if key:
            self.intake.ledger.enter("record", key, content)

    def _check_new(self, resource: Node, kind: str) -> tuple[str, str]:
        """(digest of type and id, digest of the content); skips what is known, notes what has changed."""
        if not (identifier := word(resource, "id")):
            return "", ""
        identity, ledger = self.intake.identity, self.intake.ledger
        key = identity.digest(f"{kind}/{identifier}")
        content = identity.digest(orjson.dumps(resource, option=orjson.OPT_SORT_KEYS))
        current = ledger.current("record", key)
        if current == content:
            raise Skip("duplicate")
        if current is not None:
            raise Refusal("id", "an id of its own", f"that of another {kind} of this delivery")
        earlier = ledger.earlier("record", key)
        if earlier == content:
            if kind == "Patient":
                self._learn_patient(resource)
            elif kind == "Location":
                self._learn_place(resource)
            raise Skip(ALREADY)
        if earlier is not None:
            self.intake.report.note("resource changed since an earlier delivery: both versions are kept")
        return key, content

    def _add(self, subject: int, facts: list[Fact], file: SourceFile, label: str) -> None:
        for fact in facts:
            self.rows.add(
                subject, fact.code, time=fact.time, numeric_value=fact.numeric_value, text_value=fact.text_value,
                unit=fact.unit, available_time=fact.available_time, asset=fact.asset, asset_sha256=fact.asset_sha256,
                source_file=file.source, source_record=label,
            )  # fmt: skip

    def _learn_patient(self, resource: Node) -> int:
        """Register who a Patient is, and what refers to it. Raises Refusal where that contradicts what is known."""
        issuer, own = self.intake.issuer, word(resource, "id")
        pairs = [
            (word(each, "system") or issuer, word(each, "value"), _rank(each))
            for each in branches(resource, "identifier")
            if word(each, "value").strip()
        ]
        identifiers = [(system, value) for system, value, _ in sorted(pairs, key=lambda pair: pair[2])]
        if not identifiers and own:
            identifiers = [(f"{issuer}#Patient", own)]
        if not identifiers:
            raise Refusal("identifier", "an identifier or an id", "none", "a record of nobody is not used")
        claim = Claim(
            tuple(
                f"{word(name, 'family')}^{' '.join(words(name, 'given'))}"
                for name in branches(resource, "name")
                if word(name, "family")
            ),
            re.sub(r"\D", "", word(resource, "birthDate")),
            _GENDERS.get(word(resource, "gender"), ""),
        )
        subject = self.intake.identity.register(identifiers, claim)
        for reference in (f"Patient/{own}" if own else "", word(resource, "_fullUrl")):
            if reference:
                self.patients[reference] = subject
                self.intake.identity.refer(issuer, reference, subject)
        return subject

    def _bar(self, resource: Node) -> None:
        """What refers to a refused Patient is refused too, also where an earlier delivery gave it a meaning."""
        for key in ("id", "_fullUrl"):
            if type(name := resource.get(key)) is str:
                self.barred.add(f"Patient/{name}" if key == "id" else name)
        identifiers = resource.get("identifier")
        for each in identifiers if type(identifiers) is list else []:
            if type(each) is dict:
                self.barred.add(f"{each.get('system') or self.intake.issuer}|{each.get('value')}")

    def _subject(self, resource: Node) -> int:
        """The subject that a resource is about. Raises Refusal where no delivery has named it."""
        key = "subject" if "subject" in resource else "patient"
        about = branch(resource, key)
        if reference := word(about, "reference"):
            tail = "/".join(reference.split("/")[-2:])
            for place in (reference, tail):
                if place in self.barred:
                    raise _barred(key)
                if (subject := self.patients.get(place)) is not None:
                    return subject
            if (subject := self.intake.identity.referred(self.intake.issuer, reference)) is not None:
                return subject
            pair = _conditional(reference)
        else:
            identifier = branch(about, "identifier")
            pair = (word(identifier, "system") or self.intake.issuer, word(identifier, "value"))
        if pair and "|".join(pair) in self.barred:
            raise _barred(key)
        if pair and pair[1] and (subject := self.intake.identity.known(*pair)) is not None:
            return subject
        raise Refusal(
            f"{key}.reference",
            "a Patient of this delivery or an earlier one",
            "one that none has named" if reference or (pair and pair[1]) else "none",
            "deliver Patient too",
        )

    def _learn_place(self, resource: Node) -> None:
        codings = [coding for concept in branches(resource, "type") for coding in branches(concept, "coding")]
        code = next((word(coding, "code") for coding in codings if word(coding, "code")), "")
        if not code:
            return
        names = [f"Location/{word(resource, 'id')}", word(resource, "_fullUrl")]
        names += [
            f"Location?identifier={word(each, 'system')}|{word(each, 'value')}"
            for each in branches(resource, "identifier")
        ]
        for name in filter(None, names):
            self.places[name] = code
            self.intake.ledger.enter("place", name, code)

    def place(self, reference: Node) -> str:
        """The code of a Location's type where a delivery had that Location, else the reference's id."""
        name = word(reference, "reference")
        if not name:
            raise Refusal("location.location", "a reference to a Location", "none")
        tail = "/".join(name.split("/")[-2:])
        return (
            self.places.get(name) or self.places.get(tail) or self.intake.ledger.earlier("place", tail)
            or name.rsplit("/", 1)[-1]
        )  # fmt: skip


def _barred(key: str) -> Refusal:
    return Refusal(f"{key}.reference", "a Patient who is known", "one who was refused", "see that Patient's refusal")


def _rank(identifier: Node) -> int:
    """Which identifier names a patient best: a medical record number, then an official one, then any."""
    codes = {word(coding, "code") for coding in branches(branch(identifier, "type"), "coding")}
    return 0 if "MR" in codes else 1 if word(identifier, "use") == "official" else 2


def _conditional(reference: str) -> tuple[str, str] | None:
    """(system, value) of a reference such as Patient?identifier=system|value."""
    kind, _, query = reference.partition("?identifier=")
    system, bar, value = query.partition("|")
    return (system, value) if kind.endswith("Patient") and bar else None
