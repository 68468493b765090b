"""Many who open the same database at the same moment all get in."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from models import database
from models.database import opened

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT)"


def test_whoever_comes_first_many_open_a_new_database(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with opened(tmp_path / f"{number // 8}.db", SCHEMA) as connection:
            connection.execute("INSERT INTO things VALUES (?)", (f"{number}",))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(160)))
    for number in range(20):
        with opened(tmp_path / f"{number}.db", SCHEMA) as connection:
            assert connection.execute("SELECT count(*) FROM things").fetchone() == (8,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_that_stays_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.05)
    with closing(sqlite3.connect(tmp_path / "app.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"), opened(tmp_path / "app.db", SCHEMA):
            pass
