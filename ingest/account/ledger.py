"""What was ingested before: files by their content, records by a keyed digest, so that nothing comes in twice.

`ingests/ledger.db` (SQLite). A run's entries count only once the run's part of the observation table is there:
writing that part is the one step that makes a run happen, and entries of runs without one are removed at the next.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

NAME = "ledger.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS entry (
    kind TEXT, key TEXT, run INTEGER, value TEXT NOT NULL, PRIMARY KEY (kind, key, run)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (
    sha256 TEXT, run INTEGER, reading TEXT NOT NULL, records INTEGER NOT NULL, refused TEXT NOT NULL,
    PRIMARY KEY (sha256, run)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired (source_file TEXT, source_record TEXT, why TEXT NOT NULL, run INTEGER NOT NULL);
"""
_LATEST = "SELECT value FROM entry WHERE kind = ? AND key = ? AND run {} ? ORDER BY run DESC LIMIT 1"
_FOUND = """
SELECT wanted.value, entry.value, entry.run
FROM json_each(?) AS wanted JOIN entry ON entry.kind = ? AND entry.key = wanted.value ORDER BY entry.run
"""
_CHANGED = """
SELECT EXISTS (
    SELECT 1 FROM entry AS new WHERE run = ?1 AND value IS NOT (
        SELECT value FROM entry AS old
        WHERE old.kind = new.kind AND old.key = new.key AND old.run < ?1 ORDER BY run DESC LIMIT 1
    )
)
"""
_WRITES_AT_ONCE = 20_000


@dataclass(frozen=True)
class KnownFile:
    """A file ingested before: how many records it has, and which of them were refused and may be tried again."""

    reading: str
    records: int
    refused: frozenset[str]


class Ledger:
    """The entries of all runs that happened, and those of this one, which `save` makes last.

    Kinds of entries, each a reader's own: record (keys and values are digests of a resource's id and content), image,
    study (of a UID, and of pixels or subject), place (a location's reference and its code), and so on.
    """

    def __init__(self, folder: Path, parts: Path) -> None:
        folder.mkdir(exist_ok=True)
        if not (folder / NAME).exists():
            (folder / NAME).touch(mode=0o600)  # it holds identifiers of records
        self._database = sqlite3.connect(folder / NAME, isolation_level=None)
        self._database.execute("PRAGMA cache_size = -4096")  # KiB
        self._database.executescript(_TABLES)
        _forget_unmade(self._database, parts)
        self._database.execute("BEGIN IMMEDIATE")
        self._run = self._database.execute("INSERT INTO run (name) VALUES (NULL)").lastrowid or 0
        kinds = self._database.execute("SELECT DISTINCT kind FROM entry")
        self._earlier_kinds = {str(kind) for (kind,) in kinds}
        self._waiting: dict[tuple[str, str], str] = {}
        self._files: dict[str, KnownFile] = {}
        self._retired = 0

    def file(self, sha256: str) -> KnownFile | None:
        """The file as an earlier run left it."""
        row = self._database.execute(
            "SELECT reading, records, refused FROM file WHERE sha256 = ? AND run < ? ORDER BY run DESC LIMIT 1",
            (sha256, self._run),
        ).fetchone()
        return None if row is None else KnownFile(row[0], row[1], frozenset(orjson.loads(row[2])))

    def current_file(self, sha256: str) -> KnownFile | None:
        """The file as this run has read it."""
        return self._files.get(sha256)

    def earlier(self, kind: str, key: str) -> str | None:
        """The value that the latest earlier run gave to a key."""
        return self._one("<", kind, key) if kind in self._earlier_kinds else None

    def current(self, kind: str, key: str) -> str | None:
        """The value that this run gave to a key."""
        waiting = self._waiting.get((kind, key))
        return self._one("=", kind, key) if waiting is None else waiting

    def either(self, kind: str, key: str) -> str | None:
        """The value of a key, this run's before earlier ones'."""
        waiting = self._waiting.get((kind, key))
        return self._one("<=", kind, key) if waiting is None else waiting

    def find(self, kind: str, keys: Collection[str]) -> dict[str, tuple[str, bool]]:
        """The values of those keys that have one, and whether this run gave it: its own before earlier ones'."""
        self._flush()
        rows = self._database.execute(_FOUND, (orjson.dumps(list(keys)).decode(), kind))
        return {key: (value, run == self._run) for key, value, run in rows}

    def enter(self, kind: str, key: str, value: str) -> None:
        """Give a key its value in this run."""
        self._waiting[kind, key] = value
        if len(self._waiting) >= _WRITES_AT_ONCE:
            self._flush()

    def enter_all(self, kind: str, values: Mapping[str, str]) -> None:
        """Give many keys their values in this run."""
        self._flush()
        self._write((kind, key, value) for key, value in values.items())

    def enter_file(self, sha256: str, reading: str, records: int, refused: frozenset[str] = frozenset()) -> None:
        """A file was read as far as it could be."""
        self._files[sha256] = KnownFile(reading, records, refused)

    def retire(self, source_file: str, source_record: str, why: str) -> None:
        """The observations of a record no longer hold: a corrected version is here, or it was withdrawn."""
        self._database.execute("INSERT INTO retired VALUES (?, ?, ?, ?)", (source_file, source_record, why, self._run))
        self._retired += 1

    @property
    def is_new(self) -> bool:
        """Whether this run entered anything that earlier runs had not."""
        self._flush()
        if self._retired or any(self.file(sha256) != file for sha256, file in self._files.items()):
            return True
        changed = self._database.execute(_CHANGED, (self._run,))
        return bool(changed.fetchone()[0])

    def save(self, run: str) -> None:
        """Write this run's entries under its name."""
        self._flush()
        self._database.executemany(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)",
            (
                (sha256, self._run, known.reading, known.records, orjson.dumps(sorted(known.refused)).decode())
                for sha256, known in self._files.items()
            ),
        )
        self._database.execute("UPDATE run SET name = ? WHERE id = ?", (run, self._run))
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file. What was not saved is forgotten."""
        self._database.close()

    def _one(self, which: str, kind: str, key: str) -> str | None:
        row = self._database.execute(_LATEST.format(which), (kind, key, self._run)).fetchone()
        return None if row is None else str(row[0])

    def _flush(self) -> None:
        if self._waiting:
            self._write((kind, key, value) for (kind, key), value in self._waiting.items())
            self._waiting.clear()

    def _write(self, rows: Iterable[tuple[str, str, str]]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO entry (kind, key, value, run) VALUES (?, ?, ?, ?)",
            ((*row, self._run) for row in rows),
        )


def retired_records(folder: Path, parts: Path) -> list[tuple[str, str, str, str]]:
    """(source file, source record, why, run) of every record whose observations no longer hold."""
    if not (folder / NAME).is_file():
        return []
    database = sqlite3.connect(f"{(folder / NAME).resolve().as_uri()}?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT source_file, source_record, why, name FROM retired JOIN run ON run.id = retired.run"
        ).fetchall()
    finally:
        database.close()
    return [(file, record, why, run) for file, record, why, run in rows if (parts / f"{run}.parquet").is_file()]


def _forget_unmade(database: sqlite3.Connection, parts: Path) -> None:
    """Remove the entries of runs that were killed before their part was written."""
    runs = database.execute("SELECT id, name FROM run").fetchall()
    unmade = [(number,) for number, name in runs if name is None or not (parts / f"{name}.parquet").is_file()]
    for table, column in (("entry", "run"), ("file", "run"), ("retired", "run"), ("run", "id")) if unmade else ():
        database.executemany(f"DELETE FROM {table} WHERE {column} = ?", unmade)  # noqa: S608 - names of our own
