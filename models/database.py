"""The workspace's database, as everything that keeps something in it opens it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

PATIENCE_SECONDS = 30.0


@contextmanager
def opened(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, with `schema` applied. Those who write wait for each other."""
    with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as connection:
        _write_ahead(connection)
        with connection:
            connection.execute(schema)
            yield connection


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
