"""Aliases of model versions, such as *champion*, in the workspace's database, with every change they ever had."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import ModelError
from models.database import opened

SCHEMA = """
CREATE TABLE IF NOT EXISTS alias_changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    alias TEXT NOT NULL,
    version TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class AliasChange:
    """At `changed_at` (UTC) the alias came to mean `version`."""

    version: str
    reason: str
    changed_at: str


def set_alias(database: Path, task: str, version: str, reason: str, *, alias: str = "champion") -> None:
    """Let the alias mean this version from now on; what it meant before stays in its history."""
    with opened(database, SCHEMA) as connection:
        connection.execute(
            "INSERT INTO alias_changes (task, alias, version, reason, changed_at) VALUES (?, ?, ?, ?, ?)",
            (task, alias, version, reason, dt.datetime.now(dt.UTC).isoformat(timespec="seconds")),
        )


def history(database: Path, task: str, *, alias: str = "champion") -> list[AliasChange]:
    """What the alias has meant, oldest first."""
    if not database.is_file():
        return []
    with opened(database, SCHEMA) as connection:
        rows = connection.execute(
            "SELECT version, reason, changed_at FROM alias_changes WHERE task = ? AND alias = ? ORDER BY id",
            (task, alias),
        ).fetchall()
    return [AliasChange(*row) for row in rows]


def champion(database: Path, task: str) -> str:
    """The version that serves. Raises ModelError where the task has none."""
    changes = history(database, task)
    if not changes:
        raise ModelError(f"task {task}: expected a champion, found none; run `telltale train --task {task}` first")
    return changes[-1].version


def rollback(database: Path, task: str, reason: str = "rolled back") -> str:
    """Give the champion's place back to the version before it; return that version.

    Rolling back twice goes back twice: what was rolled away from is not counted as "before".
    """
    line: list[str] = []
    for change in history(database, task):
        if len(line) > 1 and change.version == line[-2] and change.reason.startswith("rolled back"):
            line.pop()
        elif not line or change.version != line[-1]:
            line.append(change.version)
    if len(line) < 2:
        raise ModelError(f"task {task}: expected an earlier champion to go back to, found none")
    set_alias(database, task, line[-2], reason if reason.startswith("rolled back") else f"rolled back: {reason}")
    return line[-2]
