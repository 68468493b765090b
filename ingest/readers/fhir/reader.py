"""FHIR R4 and R5: bulk exports in ndjson, bundles, single resources; read chunk by chunk, patients first."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.identity.merges import BY_SOURCE
from ingest.intake import ALREADY, Intake
from ingest.mapping.mapping import TableMapping
from ingest.readers.fhir.extract import Extracted, Setting, extract
from ingest.readers.fhir.files import (
    LINE_SUFFIXES,
    beginning,
    chunks,
    document,
    document_records,
    is_gzip,
    is_lines,
)
from ingest.readers.fhir.first import FirstPass
from ingest.readers.fhir.manifest import check_manifests, is_manifest
from ingest.readers.fhir.people import MERGED, References
from ingest.readers.fhir.pool import Extracting
from ingest.readers.fhir.settle import FORMAT, FileState, Records, Settling
from ingest.readers.fhir.versions import Versions

__all__ = ["FORMAT", "accepts", "read"]
BATCH_ROWS = 16_384
_LIST = re.compile(r'\s*\[\s*\{\s*"resourceType"\s*:')
_KEY = re.compile(r'resourceType"?\s*:')  # in quotes or, where the file is broken, without


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is JSON, or is meant to be, that speaks of a resourceType near its beginning; or a manifest."""
    name = file.path.name.lower()
    is_lines_by_name = name.removesuffix(".gz").endswith(tuple(LINE_SUFFIXES))
    if is_gzip(file):
        if not name.endswith((".json.gz", ".ndjson.gz", ".jsonl.gz")):
            return False
    elif not (name.endswith(".json") or is_lines_by_name or file.head.removeprefix(BOM_UTF8).lstrip()[:1] == b"{"):
        return False
    head = beginning(file)
    if head.lstrip()[:1] == "[" and not (is_lines_by_name or _LIST.match(head)):
        return False
    return bool(_KEY.search(head)) or is_manifest(head)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Two passes over the files: patients and what else is referred to, then everything that refers to it."""
    manifests = [file for file in files if is_manifest(beginning(file))]
    reading = _Reading(intake, [file for file in files if file not in manifests])
    try:
        yield from in_batches(reading.rows())
    finally:
        reading.close()
    check_manifests(manifests, reading.states, intake)


class _Reading:
    """One delivery of FHIR files."""

    def __init__(self, intake: Intake, files: Sequence[SourceFile]) -> None:
        self._intake = intake
        self._references, self._versions = References(intake), Versions(intake)
        self._settling = Settling(intake, self._references, self._versions)
        self._first = FirstPass(intake, self._references, self._versions, self._settling)
        self._as_lines = {file: is_lines(file) for file in files}
        self._extracting = Extracting(sum(file.path.stat().st_size for file in files if self._as_lines[file]))
        self.states = [
            FileState(file, intake.ledger.file(file.sha256), self._versions.source(file.source)) for file in files
        ]

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The observations of all files. At the end the ledger knows every file."""
        report = self._intake.report
        for state in self.states:
            if state.known is not None:
                report.see(FORMAT, state.known.records)
                report.skip(FORMAT, ALREADY, state.known.records - len(state.known.refused))
        wanted = [state for state in self.states if state.only is None or state.only]
        for state in wanted:
            yield from self._first.read(state, as_lines=self._as_lines[state.file])
        for kept, other in self._references.merged():
            if self._intake.identity.merge(kept, other, BY_SOURCE):
                report.note(MERGED)
        for state in wanted:
            yield from self._all_else(state)
        self._versions.index.flush()
        for note, count in self._settling.clock.notes().items():
            report.note(note, count)
        for state in self.states:
            count = state.known.records if state.known else state.records
            self._intake.ledger.enter_file(state.file.sha256, FORMAT, count, frozenset(state.refused))

    def close(self) -> None:
        """Let go of processes and of what was kept aside."""
        self._extracting.close()
        self._references.patients.close()

    def _all_else(self, state: FileState) -> Iterator[pa.RecordBatch]:
        """What is not of the first types, and whatever is broken."""
        setting = Setting(
            state.file, state.source, self._first.secret, self._intake.issuer, self._intake.zone,
            self._intake.vocabulary, self._references.binaries, state.only,
        )  # fmt: skip
        if self._as_lines[state.file]:
            for chunk, got in self._extracting.extract(state.chunks or chunks(state.file), setting):
                state.lines += got.filled
                yield from self._settled(got, state, chunk.records())
                if chunk.broken:
                    self._refuse_file(state, f"after line {chunk.first_line + chunk.lines_in - 1}", chunk.broken)
                if chunk.offset >= 0:
                    self._intake.advance(state.file, chunk.offset + chunk.size)
        else:
            raw, problem = document(state.file)
            if problem:
                self._refuse_file(state, "file", problem)
            else:
                records = document_records(raw)
                yield from self._settled(extract(records, setting), state, records)
        self._intake.advance(state.file, state.file.path.stat().st_size)

    def _settled(self, got: Extracted, state: FileState, records: Records) -> Iterator[pa.RecordBatch]:
        yield self._settling.settle(got, state, records)
        if got.late:  # a Patient that could not be told from its line at first: known from here on
            yield self._first.take(got.late, state)

    def _refuse_file(self, state: FileState, label: str, problem: str) -> None:
        if state.only is None or label in state.only:
            self._settling.see(state, 1)
            self._settling.refuse(state, [(label, Refusal("", "a file that can be read to its end", problem))], ())


def in_batches(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about `BATCH_ROWS`, since many files are small."""
    waiting: list[pa.RecordBatch] = []
    for part in parts:
        if len(part):
            waiting.append(part)
        if sum(map(len, waiting)) >= BATCH_ROWS:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)
