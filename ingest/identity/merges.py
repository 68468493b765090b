"""Subjects that turned out to be one person: kept beside the identities, applied whenever observations are read.

What was read stays under the number that it came with, so that a merge can be undone without loss.

identities/merges.parquet    a row per merge: other, kept, why, at, undone_at (null while it holds)
"""

import datetime as dt
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.files import write_parquet

NAME = "merges.parquet"
BY_SOURCE, BY_HAND = "Patient.link", "by hand"  # why: a delivery said so, or a person
_TIME = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        pa.field("other", pa.int64(), nullable=False),  # the subject whose history is now read as that of `kept`
        pa.field("kept", pa.int64(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
        pa.field("at", _TIME, nullable=False),
        pa.field("undone_at", _TIME),
    ]
)


def subject_aliases(folder: Path) -> dict[int, int]:
    """Subject -> the subject that it is one with, as far as merges lead; empty where nobody was merged."""
    return Merges(folder).aliases


@dataclass(frozen=True)
class Merge:
    """That two subjects are one: `other` is read as `kept` from `at` on, until `undone_at`."""

    other: int
    kept: int
    why: str
    at: dt.datetime
    undone_at: dt.datetime | None = None


class Merges:
    """The merges of a workspace, in memory; `save` writes them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.history: list[Merge] = []
        self._changed = False
        self._aliases: dict[int, int] | None = None
        if self._path.is_file():
            self.history = [Merge(**row) for row in pq.read_table(self._path, schema=_SCHEMA).to_pylist()]

    @property
    def aliases(self) -> dict[int, int]:
        """Subject -> the subject that it is one with, through all merges that hold."""
        if self._aliases is None:
            next_of = {merge.other: merge.kept for merge in self.history if merge.undone_at is None}
            self._aliases = {other: _last(other, next_of) for other in next_of}
        return self._aliases

    def merge(self, kept: int, other: int, why: str) -> bool:
        """From now on `other` is read as `kept`. False where they are one already, or a person has parted them.

        A merge that was undone by hand is not made again by a delivery, only by hand.
        """
        aliases = self.aliases
        kept, other = aliases.get(kept, kept), aliases.get(other, other)
        parted = any({merge.kept, merge.other} == {kept, other} and merge.undone_at for merge in self.history)
        if kept == other or (parted and why == BY_SOURCE):
            return False
        self.history.append(Merge(other, kept, why, dt.datetime.now(dt.UTC)))
        self._changed, self._aliases = True, None
        return True

    def unmerge(self, other: int) -> bool:
        """Read `other` by itself again. False where it is not merged into another subject."""
        for place, merge in enumerate(self.history):
            if merge.other == other and merge.undone_at is None:
                self.history[place] = replace(merge, undone_at=dt.datetime.now(dt.UTC))
                self._changed, self._aliases = True, None
                return True
        return False

    def save(self) -> None:
        """Write what changed, readable by its owner only."""
        if not self._changed:
            return
        write_parquet(self._path, pa.Table.from_pylist([vars(merge) for merge in self.history], schema=_SCHEMA))
        os.chmod(self._path, 0o600)  # noqa: PTH101
        self._changed = False


def _last(subject: int, next_of: dict[int, int]) -> int:
    while subject in next_of:
        subject = next_of[subject]
    return subject
