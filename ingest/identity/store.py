"""The identities of a workspace on disk: looked up one by one, so that memory does not grow with the patients.

`identities/identities.db` (SQLite, 0600). What a run adds is one transaction, made by `save` or never; a register that
is not there yet is made by the first `save`.
"""

import re
import sqlite3
import tempfile
from collections.abc import Set
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
CREATE TABLE IF NOT EXISTS mention (identifier TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_MENTIONED = "SELECT identifier FROM mention WHERE identifier IN (SELECT value FROM json_each(?))"
_KEPT = 20_000  # lookups remembered
_CACHE = "PRAGMA cache_size = -4096"  # KiB

Key = tuple[str, str]
StoredClaim = tuple[tuple[str, ...], str, str, bool]  # names, birth date, sex, whether images alone said it


class IdentityStore:
    """Identifiers, references and claims. A reference that names several subjects has the subject None."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._new = not self._path.is_file()
        # An empty name: a database of our own that SQLite keeps aside and removes.
        self._database = sqlite3.connect("" if self._new else self._path, isolation_level=None)
        self._database.execute(_CACHE)
        self._database.executescript(_TABLES)
        self._subjects: dict[Key, int | None] = {}
        self._issuers: set[str] | None = None
        self._mentioned: set[str] = set()
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
            if self._issuers is not None:
                self._issuers.add(issuer)

    def issuers(self) -> frozenset[str]:
        """All who gave identifiers that are known."""
        if self._issuers is None:
            self._issuers = {issuer for (issuer,) in self._database.execute("SELECT DISTINCT issuer FROM identifier")}
        return frozenset(self._issuers)

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

    def mention(self, identifier: str) -> None:
        """An identifier that a source states of somebody whom no record introduces: kept in lower case, by itself."""
        self._mentioned.add(identifier.casefold())
        if len(self._mentioned) >= _KEPT:
            self._enter_mentioned()

    def bearing(self, words: Set[str]) -> set[str]:
        """Of some words in lower case, those that are part of somebody's name or are an identifier."""
        self._enter_mentioned()
        return borne(self._database, words)

    def save(self) -> None:
        """Keep what was entered."""
        self._enter_mentioned()
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
        self._begin()
        self._database.execute(statement, values)

    def _enter_mentioned(self) -> None:
        if self._mentioned:
            self._begin()
            rows = [(each,) for each in sorted(self._mentioned)]  # in order, pages are filled one after the other
            self._database.executemany("INSERT OR IGNORE INTO mention VALUES (?)", rows)
            self._mentioned.clear()

    def _begin(self) -> None:
        if not self._writing:
            self._database.execute("BEGIN IMMEDIATE")
            self._writing = True

    def _remember(self, key: Key, subject: int | None) -> None:
        if len(self._subjects) >= _KEPT:
            self._subjects.clear()
        self._subjects[key] = subject


def borne(database: sqlite3.Connection, words: Set[str]) -> set[str]:
    """Of some words in lower case, those that are part of somebody's name or are an identifier, in a register."""
    wanted = (orjson.dumps(list(words)).decode(),)
    found = {text for (text,) in database.execute(_MENTIONED, wanted)} if _has_mentions(database) else set()
    for (identifier,) in database.execute("SELECT identifier FROM identifier"):
        if (text := identifier.casefold()) in words:
            found.add(text)
    for (names,) in database.execute("SELECT DISTINCT names FROM claim"):
        found |= words & {word for name in orjson.loads(names) for word in re.findall(r"[^\W\d_]{3,}", name.casefold())}
    return found


def _has_mentions(database: sqlite3.Connection) -> bool:
    """Whether a register is of a version that keeps them."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'mention'").fetchone() is not None


class Meanings:
    """What references mean within one delivery: kept aside on disk where there are many, until `close`."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._waiting: dict[str, int] = {}

    def get(self, reference: str) -> int | None:
        """The subject that a reference means; None where it is not known."""
        subject = self._waiting.get(reference)
        if subject is not None or self._database is None:
            return subject
        found = self._database.execute("SELECT subject FROM meaning WHERE reference = ?", (reference,)).fetchone()
        return None if found is None else int(found[0])

    def enter(self, reference: str, subject: int) -> None:
        """A reference means a subject from now on."""
        self._waiting[reference] = subject
        if len(self._waiting) >= _KEPT:
            if self._database is None:
                self._database = sqlite3.connect("", isolation_level=None)
                self._database.execute(_CACHE)
                self._database.execute("PRAGMA journal_mode = OFF")
                self._database.execute(
                    "CREATE TABLE meaning (reference TEXT PRIMARY KEY, subject INTEGER NOT NULL) WITHOUT ROWID"
                )
            self._database.execute("BEGIN")
            rows = sorted(self._waiting.items())  # in order, pages are filled one after the other
            self._database.executemany("INSERT OR REPLACE INTO meaning VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
            self._waiting.clear()

    def close(self) -> None:
        """Forget them all."""
        self._waiting.clear()
        if self._database is not None:
            self._database.close()
