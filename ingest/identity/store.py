"""The identities of a workspace on disk: looked up one by one, so that memory does not grow with the patients.

`identities/identities.db` (SQLite, 0600). What a run adds is one transaction, made by `save` or never; a register that
is not there yet is made by the first `save`.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ingest.files import publish

NAME = "identities.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS identifier (
    issuer TEXT, identifier TEXT, subject INTEGER NOT NULL, PRIMARY KEY (issuer, identifier)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reference (
    issuer TEXT, reference TEXT, subject INTEGER, PRIMARY KEY (issuer, reference)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claim (
    subject INTEGER PRIMARY KEY, names TEXT NOT NULL, birth_date TEXT NOT NULL, sex TEXT NOT NULL,
    by_image INTEGER NOT NULL
);
"""
_KEPT = 50_000  # lookups remembered

Key = tuple[str, str]
StoredClaim = tuple[tuple[str, ...], str, str, bool]  # names, birth date, sex, whether images alone said it


class IdentityStore:
    """Identifiers, references and claims. A reference that names several subjects has the subject None."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._new = not self._path.is_file()
        # An empty name: a database of our own that SQLite keeps aside and removes.
        self._database = sqlite3.connect("" if self._new else self._path, isolation_level=None)
        self._database.execute("PRAGMA cache_size = -16384")  # KiB
        self._database.executescript(_TABLES)
        self._subjects: dict[Key, int | None] = {}
        self._writing = False

    def subject(self, issuer: str, identifier: str) -> int | None:
        """Whom an identifier names; None where nobody is known by it."""
        key = (issuer, identifier)
        if key not in self._subjects:
            found = self._one("SELECT subject FROM identifier WHERE issuer = ? AND identifier = ?", key)
            self._remember(key, None if found is None else found[0])
        return self._subjects[key]

    def enter_subject(self, issuer: str, identifier: str, subject: int) -> None:
        """An identifier names a subject, unless it named one before."""
        if self.subject(issuer, identifier) is None:
            self._write("INSERT INTO identifier VALUES (?, ?, ?)", (issuer, identifier, subject))
            self._remember((issuer, identifier), subject)

    def reference(self, issuer: str, reference: str) -> tuple[int | None] | None:
        """(whom a reference means), the subject being None where it means several; None where it is not known."""
        found = self._one("SELECT subject FROM reference WHERE issuer = ? AND reference = ?", (issuer, reference))
        return None if found is None else (found[0],)

    def enter_reference(self, issuer: str, reference: str, subject: int | None) -> None:
        """A reference means a subject, or several."""
        self._write("INSERT OR REPLACE INTO reference VALUES (?, ?, ?)", (issuer, reference, subject))

    def claim(self, subject: int) -> StoredClaim | None:
        """What is said of a subject."""
        row = self._one("SELECT names, birth_date, sex, by_image FROM claim WHERE subject = ?", (subject,))
        return None if row is None else (tuple(orjson.loads(row[0])), row[1], row[2], bool(row[3]))

    def enter_claim(self, subject: int, claim: StoredClaim) -> None:
        """Say something of a subject, in the place of what was said before."""
        names, birth_date, sex, by_image = claim
        row = (subject, orjson.dumps(names).decode(), birth_date, sex, int(by_image))
        self._write("INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?)", row)

    def forget_claim(self, subject: int) -> None:
        """Take back what was said of a subject."""
        self._write("DELETE FROM claim WHERE subject = ?", (subject,))

    def identifiers(self) -> Iterator[tuple[str, str, int]]:
        """(issuer, identifier, subject) of all that are known."""
        yield from self._database.execute("SELECT issuer, identifier, subject FROM identifier")

    def claims(self) -> Iterator[tuple[int, tuple[str, ...], str]]:
        """(subject, names, birth date) of all of whom something is said."""
        for subject, names, birth_date in self._database.execute("SELECT subject, names, birth_date FROM claim"):
            yield subject, tuple(orjson.loads(names)), birth_date

    def save(self) -> None:
        """Keep what was entered."""
        if self._writing:
            self._database.execute("COMMIT")
            self._writing = False
        if self._new:
            with tempfile.TemporaryDirectory(dir=self._path.parent, prefix=".new.") as scratch:
                made = Path(scratch) / NAME
                made.touch(mode=0o600)
                copy = sqlite3.connect(made)
                self._database.backup(copy)
                copy.close()
                publish(made, self._path)
            self._path.chmod(0o600)
            self._database.close()
            self._database = sqlite3.connect(self._path, isolation_level=None)
            self._new = False

    def close(self) -> None:
        """Let go of the file. What was not saved is forgotten."""
        self._database.close()

    def _one(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
        return row

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        if not self._writing:
            self._database.execute("BEGIN IMMEDIATE")
            self._writing = True
        self._database.execute(statement, values)

    def _remember(self, key: Key, subject: int | None) -> None:
        if len(self._subjects) >= _KEPT:
            self._subjects.clear()
        self._subjects[key] = subject
