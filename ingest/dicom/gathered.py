"""The entries of a delivery's DICOM files, waiting to be compared; in a temporary SQLite file, not in memory."""

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import orjson

from ingest.delivery.sources import SourceFile
from ingest.dicom.entry import Entry
from ingest.identity.register import Claim

_TABLES = """
CREATE TABLE entry (
    number INTEGER PRIMARY KEY, uid TEXT, study TEXT, digest TEXT, subject INTEGER, claim TEXT, file TEXT, body TEXT,
    decoded_bytes INTEGER
);
CREATE TABLE used (subject INTEGER, study TEXT, uid TEXT);
"""
_INDEXES = """
CREATE INDEX by_uid ON entry (uid, digest);
CREATE INDEX by_study ON entry (study, subject);
CREATE INDEX by_subject ON entry (subject, claim);
CREATE INDEX by_digest ON entry (digest);
"""


class Waiting(NamedTuple):
    """An entry and the file that it came from."""

    entry: Entry
    subject: int
    file: SourceFile


class Gathered:
    """Entries in the order in which they were added; `close` forgets them."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file that nobody else can see
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")
        self._number = 0

    def add(self, file: SourceFile, entry: Entry, subject: int) -> None:
        """Keep one more."""
        self._number += 1
        claim = orjson.dumps(asdict(entry.claim)).decode()
        place = orjson.dumps([str(file.path), str(file.root), file.label, file.sha256]).decode()
        row = (self._number, entry.uid, entry.study, entry.digest, subject, claim, place)
        self._database.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, orjson.dumps(asdict(entry)).decode(), entry.decoded_bytes),
        )

    def index(self) -> None:
        """Make the questions below fast; nothing is added after this."""
        self._database.executescript(_INDEXES)

    def __iter__(self) -> Iterator[Waiting]:
        for subject, place, body in self._database.execute("SELECT subject, file, body FROM entry ORDER BY number"):
            values = orjson.loads(body)
            claim = values.pop("claim")
            yield Waiting(Entry(claim=_claim(claim), **values), subject, _file(place))

    def compressed(self) -> Iterator[tuple[int, Path, int]]:
        """(number, path, decoded bytes) of the entries whose pixels are compressed."""
        rows = self._database.execute("SELECT number, file, decoded_bytes FROM entry WHERE decoded_bytes > 0")
        for number, place, size in rows:
            yield number, Path(orjson.loads(place)[0]), size

    def remove(self, number: int) -> SourceFile:
        """Forget an entry; the file that it came from."""
        (place,) = self._database.execute("SELECT file FROM entry WHERE number = ?", (number,)).fetchone()
        self._database.execute("DELETE FROM entry WHERE number = ?", (number,))
        return _file(place)

    def groups(self, scope: str) -> Iterator[tuple[str, list[str]]]:
        """Of each uid its digests, of each study its subjects, of each subject its claims: (key, distinct values)."""
        value = {"uid": "digest", "study": "subject", "subject": "claim"}[scope]
        rows = self._database.execute(
            f"SELECT {scope}, json_group_array(DISTINCT {value}) FROM entry WHERE {scope} != '' GROUP BY {scope}"  # noqa: S608
        )
        for key, values in rows:
            yield str(key), [str(each) for each in orjson.loads(values)]

    def digests(self, scope: str, key: str) -> set[str]:
        """The pixels of all entries of one uid, study or subject."""
        rows = self._database.execute(f"SELECT DISTINCT digest FROM entry WHERE {scope} = ?", (key,))  # noqa: S608
        return {digest for (digest,) in rows}

    def paths(self, uid: str) -> list[Path]:
        """The files of one UID, one for each of its digests."""
        rows = self._database.execute("SELECT min(file) FROM entry WHERE uid = ? GROUP BY digest", (uid,))
        return [Path(orjson.loads(place)[0]) for (place,) in rows]

    def holds_all(self, digests: Collection[str]) -> bool:
        """Whether all of these pixels are in the delivery."""
        (count,) = self._database.execute(
            "SELECT count(DISTINCT digest) FROM entry WHERE digest IN (SELECT value FROM json_each(?))",
            (orjson.dumps(list(digests)).decode(),),
        ).fetchone()
        return bool(count == len(set(digests)))

    def use(self, waiting: Waiting) -> None:
        """An entry was used."""
        key = waiting.entry.study or f"image {waiting.entry.uid}"
        self._database.execute("INSERT INTO used VALUES (?, ?, ?)", (waiting.subject, key, waiting.entry.uid))

    def used(self) -> Iterator[tuple[str, str, list[str]]]:
        """(subject, study, UIDs) of what was used."""
        rows = self._database.execute(
            "SELECT subject, study, json_group_array(uid) FROM used GROUP BY subject, study ORDER BY subject, study"
        )
        for subject, study, uids in rows:
            yield str(subject), study, orjson.loads(uids)

    def close(self) -> None:
        self._database.close()


def claims_of(values: list[str]) -> list[Claim]:
    """The claims that `groups("subject")` gives."""
    return [_claim(orjson.loads(value)) for value in values]


def _file(place: str) -> SourceFile:
    path, root, label, sha256 = orjson.loads(place)
    file = SourceFile(Path(path), Path(root), label=label)
    file.__dict__["sha256"] = sha256  # known already: it is not computed again
    return file


def _claim(values: dict[str, object]) -> Claim:
    return Claim(tuple(values["names"]), str(values["birth_date"]), str(values["sex"]))  # type: ignore[arg-type]  # a list of text
