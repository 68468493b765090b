"""What of a path a patient bears, asked of a workspace's register from outside an ingest."""

import sqlite3
from collections.abc import Set
from pathlib import Path

from ingest.delivery.shown_names import Bearing
from ingest.identity.store import NAME, borne

_WAIT_S = 2.0


def bearing_of(folder: Path) -> Bearing:
    """What tells names and identifiers of a register (`Workspace.identities`); it is opened when asked, and only read.

    Where it cannot be read, since an ingest is writing it, every word counts as borne.
    """

    def bearing(words: Set[str]) -> set[str]:
        path = (folder / NAME).resolve()
        if not words or not path.is_file():
            return set()
        try:
            database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)
            try:
                return borne(database, words)
            finally:
                database.close()
        except sqlite3.OperationalError:
            return set(words)

    return bearing
