"""The workspace's database, as everything that keeps something in it opens it."""

import sqlite3
import time
from pathlib import Path

PATIENCE_SECONDS = 30.0


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection whose writers wait for each other, with `schema` applied. Close it after use."""
    connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS)
    try:
        _write_ahead(connection)
        connection.execute(schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers and one writer at a time. SQLite does not wait by itself where another switches at the same moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
