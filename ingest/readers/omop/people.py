"""The table person: who there is, and what is said of each; the one table that is read row by row, for identity."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal
from ingest.identity.register import Claim
from ingest.intake import ALREADY, Intake
from ingest.observations import BIRTH_CODE, ObservationColumns
from ingest.readers.omop.concepts import Concepts
from ingest.readers.omop.known import CHANGED, CONFLICT, KNOWN, TWICE, KnownRows, Reading, digests_of
from ingest.readers.omop.source import Relation

FORMAT = "OMOP"
_FEMALE, _MALE, _OTHER = 8532, 8507, 8521  # OMOP's standard concepts of the domain Gender
_SEXES = {_FEMALE: ("F", "female"), _MALE: ("M", "male"), _OTHER: ("O", "other")}


@dataclass
class People:
    """Whom a CDM's person numbers mean. `barred`: those who were refused in this delivery; they mean nobody."""

    intake: Intake
    barred: set[int] = field(default_factory=set)

    @property
    def issuer(self) -> str:
        """Who issued person numbers: the CDM itself, which is not who issued the patients' own."""
        return f"{self.intake.issuer}#person"

    def subjects(self, persons: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(subjects (N,), which persons no delivery has named (N,))."""
        distinct, places = np.unique(persons, return_inverse=True)
        known = [
            None if person in self.barred else self.intake.identity.known(self.issuer, str(person))
            for person in distinct.tolist()
        ]
        unknown = np.array([subject is None for subject in known], bool)
        found = np.array([subject or 0 for subject in known], np.int64)
        return found[places], unknown[places]


def read_people(
    batches: Iterator[pa.RecordBatch],
    relation: Relation,
    people: People,
    concepts: Concepts,
    known: KnownRows,
    reading: Reading,
) -> Iterator[tuple[pa.RecordBatch, int, int]]:
    """Register everybody; (observations of birth, gender, race and ethnicity, rows seen, rows refused) by batch."""
    for batch in batches:
        rows = _Rows(batch, relation, people, concepts, known, reading)
        yield rows.observations(), len(batch), rows.refused


@dataclass
class _Rows:
    """Some rows of the table person."""

    batch: pa.RecordBatch
    relation: Relation
    people: People
    concepts: Concepts
    known: KnownRows
    reading: Reading
    refused: int = 0

    def observations(self) -> pa.RecordBatch:
        """Register the persons; the facts of those who are new, or of whom something else is said than before."""
        report = self.people.intake.report
        report.see(FORMAT, len(self.batch))
        facts = {name: self.concepts.coded(self.batch[name]) for name in ("race", "ethnicity")}
        taken = []
        for row, said in enumerate(self.batch.to_pylist()):
            said.update({name: facts[name][row].as_py() for name in facts})
            try:
                said["born"] = _birth(said)
                taken.append((said, self._register(said)))
            except Refusal as refusal:
                if said["id"] is not None:
                    self.people.barred.add(said["id"])
                self._refuse(said, refusal)
        verdicts = self._compare(taken)
        columns = ObservationColumns()
        for (said, subject), verdict in zip(taken, verdicts, strict=True):
            if verdict in (KNOWN, TWICE):
                report.skip(FORMAT, ALREADY if verdict == KNOWN else "duplicate")
            elif verdict == CONFLICT:
                self._refuse(
                    said, Refusal("person_id", "a number of its own", "that of another person of this delivery")
                )
            else:
                report.use(FORMAT)
                self._add(columns, said, subject)
        return columns.batch()

    def _register(self, said: dict[str, Any]) -> int:
        """The subject of one row. Raises Refusal, where something is wrong or contradicts what is known."""
        if said["problem"] is not None:
            name, _, expected = said["problem"].partition("|")
            raise Refusal(name, expected, "something else, or nothing")
        born = said["born"]
        identifiers = [(self.people.issuer, str(said["id"]))]
        if said["identifier"] and said["identifier_is_own"]:
            identifiers.append((self.people.intake.issuer, said["identifier"]))
        sex = _SEXES.get(said["gender"], ("", ""))[0]
        return self.people.intake.identity.register(identifiers, Claim((), born, sex))

    def _compare(self, taken: list[tuple[dict[str, Any], int]]) -> list[int]:
        """What each row is, by the ledger."""
        said = [row for row, _ in taken]
        columns = [pa.array([row[name] for row in said], pa.string()) for name in ("born", "race", "ethnicity")]
        columns += [pa.array([row["gender"] for row in said], pa.int64()), pa.array([s for _, s in taken], pa.int64())]
        keys = np.array([row["id"] for row in said], np.int64)
        numbers = np.array([row["n"] for row in said], np.int64)
        verdict, retired = self.known.compare("person", keys, digests_of(columns), numbers, self.reading)
        for reading, number in retired:
            self.people.intake.retire(reading.source, _label(number, reading), "corrected in a later delivery")
        self.people.intake.report.note(
            "row corrected since an earlier delivery: the new version replaces it", int((verdict == CHANGED).sum())
        )
        return [int(each) for each in verdict]

    def _add(self, columns: ObservationColumns, said: dict[str, Any], subject: int) -> None:
        texts = {
            "GENDER": _SEXES.get(said["gender"], ("", None))[1], "RACE": said["race"], "ETHNICITY": said["ethnicity"],
        }  # fmt: skip
        source, label = self.relation.file.source, _label(said["n"], self.reading)
        if born := said["born"]:
            day = dt.datetime(int(born[:4]), int(born[4:6] or 1), int(born[6:] or 1), tzinfo=dt.UTC)
            columns.add(subject, BIRTH_CODE, time=day, source_file=source, source_record=label)
        for code, text in texts.items():
            if text:
                columns.add(subject, code, text_value=text, source_file=source, source_record=label)

    def _refuse(self, said: dict[str, Any], refusal: Refusal) -> None:
        self.refused += 1
        raw = said["raw"] or orjson.dumps({k: v for k, v in said.items() if v is not None}, default=str).decode()
        complaint = refusal.complaint(self.relation.file.name, _label(said["n"], self.reading))
        self.people.intake.report.refuse(FORMAT, complaint, raw)


def _birth(said: dict[str, Any]) -> str:
    """The digits of a birth date, as far as it is known: the whole day, the month, the year, or nothing."""
    import pandas as pd

    year, month, day = said["year"], said["month"], said["day"]
    if said["birth_at"] is not None and None in (year, month, day):
        return f"{pd.Timestamp(said['birth_at']):%Y%m%d}"
    if year is None:
        return ""
    try:
        dt.date(year, month or 1, (day or 1) if month else 1)
    except (ValueError, OverflowError):
        raise Refusal("year_of_birth", "a year, month and day that there are", "others") from None
    return f"{year:04d}" + (f"{month:02d}" if month else "") + (f"{day:02d}" if month and day else "")


def _label(number: int, reading: Reading) -> str:
    """How a row is called: by its place, since its key is a person's number."""
    return f"person row {number}{reading.suffix}"
