"""The first pass over FHIR files: the patients, places, medications and binaries that all others refer to."""

from collections.abc import Iterator

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.intake import Intake
from ingest.readers.fhir.columns import FactColumns
from ingest.readers.fhir.extract import FIRST, Digests
from ingest.readers.fhir.facts import Binary, Context, Fact, Skip
from ingest.readers.fhir.files import (
    FIRST_WORDS,
    Chunk,
    Place,
    Raw,
    bundle_records,
    chunks,
    document,
    document_records,
    names_first,
    parsed,
)
from ingest.readers.fhir.index import label, subject_tag
from ingest.readers.fhir.people import References
from ingest.readers.fhir.resources import patient_facts
from ingest.readers.fhir.settle import FORMAT, FileState, Settling, rows_of
from ingest.readers.fhir.values import Node, word
from ingest.readers.fhir.versions import WITHDRAWN, Versions, not_counted

Found = tuple[Place, Node, Raw, Binary | None]  # resource, as it is written, where it lies if in a line


class FirstPass:
    """Reads what is of the `FIRST` types, and nothing else."""

    def __init__(self, intake: Intake, references: References, versions: Versions, settling: Settling) -> None:
        self._intake, self._references, self._versions, self._settling = intake, references, versions, settling
        self.secret = bytes.fromhex(intake.identity.digest("fhir"))
        self._digests = Digests(self.secret, intake.issuer)

    def read(self, state: FileState, *, as_lines: bool) -> Iterator[pa.RecordBatch]:
        """The rows of a file's patients; the references to all of the first types are known from here on."""
        if not as_lines:
            raw, _ = document(state.file)
            yield self._take_all(((place, node, node, None) for place, node in _nodes(document_records(raw))), state)
            return
        for chunk in chunks(state.file):
            if chunk.offset >= 0:
                state.chunks.append(chunk.without_data())
            if chunk.data is not None and not chunk.is_uniform and any(word in chunk.data for word in FIRST_WORDS):
                yield self._take_all(_of_lines(chunk), state)

    def take(self, late: list[tuple[Place, Node]], state: FileState) -> pa.RecordBatch:
        """The rows of patients that were met only in the second pass."""
        return self._take_all(((place, node, node, None) for place, node in late), state)

    def _take_all(self, found: Iterator[Found], state: FileState) -> pa.RecordBatch:
        columns = FactColumns()
        subjects: list[int] = []
        labels: list[str] = []
        context = Context(state.file, self._intake.zone)
        report = self._intake.report
        for place, resource, raw, binary in found:
            name = label(*place)
            if resource.get("resourceType") not in FIRST or (state.only is not None and name not in state.only):
                continue
            self._settling.see(state, 1)
            try:
                facts, subject = self._take(resource, raw, place, binary, context, state)
            except Skip as skip:
                report.skip(FORMAT, str(skip))
            except Refusal as refusal:
                if resource.get("resourceType") == "Patient":
                    self._references.bar(resource)
                self._settling.refuse(state, [(name, refusal)], [(place, raw)])
            else:
                report.use(FORMAT)
                for fact in facts:
                    columns.add(len(subjects), fact)
                subjects.append(subject)
                labels.append(name)
        facts_batch, records, _ = columns.finish(context, self._intake.vocabulary)
        for note, count in context.notes.items():
            report.note(note, count)
        return rows_of(facts_batch, records, subjects, pa.array(labels, pa.string()), state.file.source)

    def _take(
        self, resource: Node, raw: Raw, place: Place, binary: Binary | None, context: Context, state: FileState
    ) -> tuple[list[Fact], int]:
        """(facts, subject) of a Patient; none of the others, which are learnt. Raises Skip or Refusal."""
        kind = word(resource, "resourceType")
        row = self._digests.row(resource, raw, place, state.source)
        if verdict := not_counted(resource):
            reason, is_withdrawn = verdict
            if is_withdrawn:
                self._versions.withdraw(row._replace(rank=WITHDRAWN))
            raise Skip(reason)
        facts: list[Fact] = []
        subject = 0
        if kind == "Patient":
            facts = list(patient_facts(resource, context))
            subject = self._references.learn_patient(resource)
            row = row._replace(subject=subject_tag(subject))
        else:
            self._learn(kind, resource, binary)
        if row.key:
            self._versions.take(row, self._versions.known(row.key))
            self._versions.index.enter_one(row)
        return facts, subject

    def _learn(self, kind: str, resource: Node, binary: Binary | None) -> None:
        if kind == "Location":
            self._references.learn_place(resource)
        elif kind == "Medication":
            self._references.learn_medicine(resource)
        else:
            self._references.learn_binary(resource, binary)


def _of_lines(chunk: Chunk) -> Iterator[Found]:
    for place, raw in chunk.records():
        if type(raw) is not bytes or not names_first(raw):
            continue
        resource, problem = parsed(raw)
        if problem is not None:
            continue  # told in the second pass
        if resource.get("resourceType") == "Bundle":
            for (_, entry), inner in _nodes(list(bundle_records(resource))):
                yield (place[0], entry), inner, inner, None
        else:
            binary = None
            if resource.get("resourceType") == "Binary" and chunk.offset >= 0 and chunk.data is not None:
                binary = Binary(None, chunk.path, chunk.offset + chunk.data.find(raw), len(raw))
            yield place, resource, raw, binary


def _nodes(records: list[tuple[Place, Raw]]) -> Iterator[tuple[Place, Node]]:
    for place, raw in records:
        if type(raw) is dict:
            yield place, raw
