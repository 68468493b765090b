"""Extracted FHIR records to rows of the observation table: whom each is about, and whether its version counts."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.account.ledger import KnownFile
from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.identity.recordings import check_named
from ingest.intake import KNOWN_STAYS, Intake
from ingest.meaning.clocks import ClockWatch
from ingest.observations import SCHEMA
from ingest.readers.fhir.columns import FACTS
from ingest.readers.fhir.extract import Extracted
from ingest.readers.fhir.facts import Skip
from ingest.readers.fhir.files import Chunk, Place, Raw, raw_text
from ingest.readers.fhir.index import Known, label, label_of, row_at, subject_tag
from ingest.readers.fhir.people import References
from ingest.readers.fhir.versions import WITHDRAWN, Versions

FORMAT = "FHIR"
Verdict = Skip | Refusal
Records = Iterable[tuple[Place, Raw]]  # all of a chunk, gone through again to keep those that are refused


class FileState:
    """How far a file has been read. Of one ingested before, only what was refused is tried again."""

    def __init__(self, file: SourceFile, known: KnownFile | None, source: int) -> None:
        self.file, self.known, self.source = file, known, source
        self.records = 0
        self.lines = 0
        self.refused: set[str] = set()
        self.chunks: list[Chunk] = []  # of a file that is not compressed: where its lines are, from the first pass on

    @property
    def only(self) -> frozenset[str] | None:
        """The records that are wanted; None: all."""
        return None if self.known is None else self.known.refused


class Settling:
    """Reports what became of records, and gives the rows of those that are used."""

    def __init__(self, intake: Intake, references: References, versions: Versions) -> None:
        self._intake, self._references, self._versions = intake, references, versions
        self.clock = ClockWatch()

    def settle(self, got: Extracted, state: FileState, records: Records) -> pa.RecordBatch:
        """The rows of a chunk's records; `got.late` is left to the caller."""
        report = self._intake.report
        self.see(state, got.seen)
        for reason, count in got.skipped.items():
            report.skip(FORMAT, reason, count)
        for note, count in got.notes.items():
            report.note(note, count)
        self.clock.include(got.clock)
        wrong = [(label, Refusal(*parts)) for label, parts in got.refused]
        subjects, verdicts = self._whom(got)
        verdicts.update({record: Refusal(*parts) for record, parts in got.problems.items()})
        facts = self._looked_up(got, verdicts)
        self._check_recordings(got, subjects, verdicts)
        self._check_versions(got, subjects, verdicts)
        for record, verdict in sorted(verdicts.items()):
            if isinstance(verdict, Skip):
                report.skip(FORMAT, str(verdict))
            else:
                wrong.append((label_of(row_at(got.rows, record)), verdict))
        report.use(FORMAT, len(got.rows) - len(verdicts))
        wrong += self._withdrawals(got)
        self.refuse(state, wrong, records)
        return rows_of(facts, got.records, subjects, _labels(got.rows), state.file.source, verdicts)

    def see(self, state: FileState, count: int) -> None:
        """Records of a file that came in for the first time."""
        if state.known is None:
            self._intake.report.see(FORMAT, count)
            state.records += count

    def refuse(self, state: FileState, wrong: list[tuple[str, Refusal]], records: Records) -> None:
        """Report what is wrong with records, each with its raw text."""
        if not wrong:
            return
        wanted = {name for name, _ in wrong} | {name.partition(",")[0] for name, _ in wrong}
        raws = {label(*place): raw_text(raw) for place, raw in records if label(*place) in wanted}
        for name, refusal in wrong:
            state.refused.add(name)
            raw = raws.get(name) or raws.get(name.partition(",")[0])  # of a bundle on a line: the line
            self._intake.report.refuse(FORMAT, refusal.complaint(state.file.name, name), raw or state.file.path)

    def _whom(self, got: Extracted) -> tuple[np.ndarray, dict[int, Verdict]]:
        """(the subject of each record, 0 where refused; the refusals)."""
        subjects: list[int] = []
        unknown: dict[int, Refusal] = {}
        for number, about in enumerate(got.abouts):  # in the order of their numbers
            try:
                subjects.append(self._references.subject(about, "subject"))
            except Refusal as refusal:
                subjects.append(0)
                unknown[number] = refusal
        verdicts: dict[int, Verdict] = {}
        for record, number in enumerate(got.whom) if unknown else ():
            if (wrong := unknown.get(number)) is not None:
                field = wrong.field.replace("subject", "patient") if record in got.patient_fields else wrong.field
                verdicts[record] = Refusal(field, wrong.expected, wrong.got, wrong.hint)
        return np.array(subjects, np.int64)[np.array(got.whom, np.int64)], verdicts

    def _looked_up(self, got: Extracted, verdicts: dict[int, Verdict]) -> pa.RecordBatch:
        """The facts, those codes completed that refer to a Location or Medication."""
        if not got.lookups:
            return got.facts
        place = FACTS.get_field_index("code")
        codes = got.facts.column(place).to_pylist()
        for row, prefix, lookup in got.lookups:
            try:
                codes[row] = prefix + self._references.code(lookup)
            except Refusal as refusal:
                verdicts.setdefault(int(got.records[row]), refusal)
        return got.facts.set_column(place, FACTS.field(place), pa.array(codes, pa.string()))

    def _check_recordings(self, got: Extracted, subjects: np.ndarray, verdicts: dict[int, Verdict]) -> None:
        """Refuse records that name a recording of another patient; the files of the others are in use."""
        if not got.assets:
            return
        intake = self._intake
        paths = got.facts.column(FACTS.get_field_index("asset")).to_pylist()
        for path, record in zip(paths, got.records.tolist(), strict=True):
            if path is None or record in verdicts:
                continue
            try:
                check_named(Path(path), int(subjects[record]), intake.identity, intake.issuer, "content.url")
                intake.assets[Path(path)] = got.assets[Path(path)]
            except Refusal as refusal:
                verdicts[record] = refusal

    def _check_versions(self, got: Extracted, subjects: np.ndarray, verdicts: dict[int, Verdict]) -> None:
        """Skip what is known or older, refuse what nothing tells apart, retire what is replaced."""
        rows = got.rows
        rows["subject"] = np.maximum(subjects & 0xFFFFFFFF, 1)
        known = self._versions.index.find(rows["key"])
        keys = np.sort(rows["key"])
        twice = set(keys[1:][(keys[1:] == keys[:-1]) & (keys[1:] != 0)].tolist())
        last: dict[int, Known] = {}  # of keys that are here more than once
        suspects = range(len(rows)) if twice else sorted(known)
        for record in suspects:
            key = int(rows["key"][record])
            if record in verdicts or not key or not (record in known or key in twice):
                continue
            new = row_at(rows, record)
            try:
                self._versions.take(new, last.get(key) or known.get(record))
            except (Skip, Refusal) as verdict:
                verdicts[record] = verdict
            else:
                last[key] = Known(new, is_of_this_run=True)
        refused = {record for record, verdict in verdicts.items() if isinstance(verdict, Refusal)}
        stays = sum(each.row.rank != WITHDRAWN for record, each in known.items() if record in refused)
        self._intake.report.note(KNOWN_STAYS, stays)
        used = np.ones(len(rows), bool)
        used[list(verdicts)] = False
        self._versions.index.enter(rows[used])

    def _withdrawals(self, got: Extracted) -> list[tuple[str, Refusal]]:
        wrong = []
        for row, reason, about in got.withdrawn:
            tag = 0
            with suppress(Refusal):  # of somebody unknown: it is withdrawn all the same
                tag = subject_tag(self._references.subject(about, "subject"))
            try:
                self._versions.withdraw(row._replace(subject=tag))
            except Refusal as refusal:
                wrong.append((label_of(row), refusal))
            else:
                self._intake.report.skip(FORMAT, reason)
        for row, reason in got.deleted:
            if self._versions.withdraw(row):
                self._intake.report.use(FORMAT)
            else:
                self._intake.report.skip(FORMAT, f"{reason} that is not here")
        return wrong


def _labels(rows: np.ndarray) -> pa.Array:
    """The place of each record in its file, as `label` has it."""
    if not rows["line"].all() or rows["entry"].any():
        return pa.array(
            [label(*place) for place in zip(rows["line"].tolist(), rows["entry"].tolist(), strict=True)], pa.string()
        )
    return pc.binary_join_element_wise("line", pa.array(rows["line"]).cast(pa.string()), " ")


def rows_of(
    facts: pa.RecordBatch,
    records: np.ndarray,
    subjects: Sequence[int] | np.ndarray,
    labels: pa.Array,
    source: str,
    verdicts: Collection[int] = (),
) -> pa.RecordBatch:
    """Facts with their subject and source, less those of records that are not used."""
    if verdicts:
        keep = ~np.isin(records, np.fromiter(verdicts, np.int64, len(verdicts)))
        facts, records = facts.filter(pa.array(keep)), records[keep]
    columns = {name: facts.column(i) for i, name in enumerate(FACTS.names)}
    columns["subject_id"] = pa.array(np.asarray(subjects, np.int64)[records])
    columns["numeric_value"] = pc.cast(columns["numeric_value"], pa.float32(), safe=False)
    columns["source_file"] = pa.repeat(pa.scalar(source, pa.string()), len(records))
    columns["source_record"] = labels.take(pa.array(records))
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)
