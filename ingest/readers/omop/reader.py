"""OMOP CDM 5.4: a DuckDB database, or a folder of CSV or Parquet exports, read table by table and known by row.

SOURCE: OMOP CDM 5.4, https://ohdsi.github.io/CommonDataModel/cdm54.html; the codes follow MEDS' OMOP ETL.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.intake import ALREADY, Intake
from ingest.mapping.mapping import TableMapping
from ingest.readers.omop.concepts import Concepts
from ingest.readers.omop.known import KnownRows, Reading
from ingest.readers.omop.people import People, read_people
from ingest.readers.omop.rows import FORMAT, Batch, Reader
from ingest.readers.omop.source import Model, Opened, Relation, is_database, models, opened, table_name
from ingest.readers.omop.tables import CONCEPT, PERSON, TABLES, select, select_people

__all__ = ["FORMAT", "accepts", "read"]


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is a DuckDB database, or has the name and the columns of a table of the CDM."""
    if mapping is not None and mapping.table(file) is not None:
        return False
    return is_database(file) or table_name(file) is not None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """CDM after CDM, each with its persons first. What cannot be opened is refused as a whole."""
    run = secrets.token_hex(4)
    for model in models(files):
        reading = _Model(model, intake, run)
        try:
            yield from reading.read()
        except InputError as error:
            reading.give_up(error)


@dataclass
class _Count:
    """How far a file has been read."""

    seen: int = 0
    refused: set[str] = field(default_factory=set)  # tables with refused rows


class _Model:
    """One CDM on its way to observations."""

    def __init__(self, model: Model, intake: Intake, run: str) -> None:
        self._model, self._intake, self._run = model, intake, run
        self._people = People(intake)
        self._known = KnownRows(intake.ledger, intake.issuer)
        self._counts = {file: _Count() for file in model.files}
        self._meaning = self._reading_digest()

    def read(self) -> Iterator[pa.RecordBatch]:
        """All tables of those files that are new, or of which something was refused, or is understood better now."""
        unread = [file for file in self._model.files if not self._skip_known(file)]
        if not unread:
            return
        with opened(self._model) as cdm:
            if not cdm.relations:
                self._refuse_file(unread[0], Refusal("", "tables of an OMOP CDM, such as person", "none of them"))
                return
            concepts = Concepts(cdm)
            for name in (PERSON, *TABLES):
                for relation in cdm.of(name):
                    if relation.file in unread:
                        yield from self._table(cdm, relation, concepts)
            for relation in cdm.of(CONCEPT):
                self._count_concepts(relation, unread)
        for file in unread:
            count = self._counts[file]
            self._intake.ledger.enter_file(file.sha256, self._meaning, count.seen, frozenset(count.refused))

    def give_up(self, error: InputError) -> None:
        """Refuse what could not be opened, or not be read to its end: one record, beside those read before."""
        found = error.complaint
        self._refuse_file(self._model.files[0], Refusal(found.field, found.expected, found.got, found.hint))

    def _table(self, cdm: Opened, relation: Relation, concepts: Concepts) -> Iterator[pa.RecordBatch]:
        """One table of one file."""
        count = self._counts[relation.file]
        needed = ("person_id",) if relation.table == PERSON else TABLES[relation.table].required
        if absent := [name for name in needed if name not in relation.types]:
            self._refuse_file(
                relation.file, Refusal(f"{relation.table}.{absent[0]}", "a column of this name", "none"),
            )  # fmt: skip
            return
        reading = Reading(relation.file.source, self._suffix(relation.file), self._run)
        refused = 0
        if relation.table == PERSON:
            rows = cdm.batches(relation, select_people(relation.types))
            for batch, seen, wrong in read_people(rows, relation, self._people, concepts, self._known, reading):
                count.seen += seen
                refused += wrong
                yield batch
        else:
            table = TABLES[relation.table]
            reader = Reader(table, relation, self._intake, concepts, self._people, self._known, reading)
            for rows_of_table in cdm.batches(relation, select(table, relation.types)):
                yield from Batch(reader, rows_of_table).read()
            count.seen += reader.seen
            refused += reader.refused
        for row, text, refusal in cdm.broken(relation):
            self._intake.report.see(FORMAT)
            count.seen += 1
            refused += 1
            complaint = refusal.complaint(relation.file.name, f"{relation.table} row {row}")
            self._intake.report.refuse(FORMAT, complaint, text)
        if refused:
            count.refused.add(relation.table)
        if not self._model.is_database:
            self._intake.advance(relation.file, relation.file.path.stat().st_size)

    def _count_concepts(self, relation: Relation, unread: Sequence[SourceFile]) -> None:
        """The table of concepts is one record: it tells of words, not of persons."""
        if relation.file in unread:
            self._counts[relation.file].seen += 1
            self._intake.report.see(FORMAT)
            self._intake.report.use(FORMAT)

    def _skip_known(self, file: SourceFile) -> bool:
        """Whether a file was read before as it would be now, with nothing refused; then it is accounted for here."""
        ledger, report = self._intake.ledger, self._intake.report
        if (copy := ledger.current_file(file.sha256)) is not None:
            report.see(FORMAT, copy.records)
            report.skip(FORMAT, "duplicate file", copy.records)
            return True
        known = ledger.file(file.sha256)
        if known is None or known.refused or known.reading != self._meaning:
            return False
        report.see(FORMAT, known.records)
        report.skip(FORMAT, ALREADY, known.records)
        return True

    def _suffix(self, file: SourceFile) -> str:
        """What tells the rows of a file from the same rows read with other words or another zone before."""
        known = self._intake.ledger.file(file.sha256)
        return "" if known is None or known.reading == self._meaning else f" ({self._meaning[-6:]})"

    def _reading_digest(self) -> str:
        """A digest of what rows mean beside themselves: the concepts, and the zone of clocks that state none."""
        concepts = [f.sha256 for f in self._model.files if not self._model.is_database and table_name(f) == CONCEPT]
        said = "\n".join([*sorted(concepts), str(self._intake.zone)])
        return f"{FORMAT} {hashlib.sha256(said.encode()).hexdigest()[:12]}"

    def _refuse_file(self, file: SourceFile, refusal: Refusal) -> None:
        self._intake.report.see(FORMAT)
        self._intake.report.refuse(FORMAT, refusal.complaint(file.name, ""), file.path)
