"""Which FHIR records are known: a compact index of them in the ledger, so that telling costs less than parsing.

A row per record, in blocks of thousands. The ledger keeps a block as two texts: its keys, which are all read at the
start of a run (8 bytes a record, and 4 for the number of its block), and its rows, read where a key is met again.
"""

import base64
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ingest.account.ledger import Ledger  # a process that only extracts does without

NOT_STATED = -(2**63)
ROW = np.dtype(
    [
        ("key", "<u8"),  # keyed digest of issuer, type and id; 0: the record has no id
        ("content", "<u8"),  # checksum and length
        ("updated", "<i8"),  # meta.lastUpdated in microseconds since 1970, or NOT_STATED
        ("number", "<i8"),  # meta.versionId where it is a number, or -1
        ("subject", "<u4"),  # part of the subject's number: enough to tell two apart; 0: nobody
        ("line", "<u4"),  # where in its file it is; 0: in no line
        ("entry", "<u4"),  # the entry of a bundle; 0: in none
        ("source", "<u4"),  # digest of its file's name and content
        ("rank", "u1"),  # preliminary, stated, corrected, withdrawn
    ]
)
_COUNT, _KEYS, _ROWS = "fhir-blocks", "fhir-keys", "fhir-rows"  # kinds of the ledger's entries
_BLOCK_ROWS = 20_000
_FEW = 256  # fewer rows wait for others; more are a block of their own, which is quicker
_KEPT_BLOCKS = 8
_MASK = 0xFFFFFFFF


class Row(NamedTuple):
    """A row of the index; see `ROW`."""

    key: int
    content: int
    updated: int
    number: int
    subject: int
    line: int
    entry: int
    source: int
    rank: int


class Known(NamedTuple):
    """A row of the index, and whether this run made it."""

    row: Row
    is_of_this_run: bool


class RecordIndex:
    """What is known of records, of earlier runs and of this one."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self._blocks = self._first_block = int(ledger.either(_COUNT, "n") or 0)
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []  # (keys in order, the block of each), ever smaller
        self._recent: OrderedDict[int, np.ndarray] = OrderedDict()
        self._waiting: dict[int, Row] = {}  # rows that are in no block yet
        self._open: list[np.ndarray] = []  # the rows of the last block, which is not full yet: older ones first
        for block in range(self._blocks):
            text = ledger.earlier(_KEYS, str(block))
            assert text is not None, "the ledger keeps all of a run or nothing"
            self._add_level(np.frombuffer(base64.b64decode(text), "<u8"), block)

    def find(self, keys: np.ndarray) -> dict[int, Known]:
        """Place in `keys` (N,) -> what is known of it; keys that nobody knows, and 0, are left out."""
        order = np.argsort(keys)  # searching in order is several times as quick
        ordered, newest = keys[order], np.full(len(keys), -1, np.int64)
        for level, of_block in self._levels:
            at = np.searchsorted(level, ordered, "right") - 1
            here = (at >= 0) & (level[at] == ordered)
            newest[here] = np.maximum(newest[here], of_block[at[here]])
        blocks = np.empty_like(newest)
        blocks[order] = newest
        found: dict[int, Known] = {}
        for block in np.unique(blocks[blocks >= 0]).tolist():
            rows = self._rows(block)
            places = np.flatnonzero(blocks == block)
            at = np.searchsorted(rows["key"], keys[places], "right") - 1
            is_new = block >= self._first_block
            met = map(Row._make, rows[at].tolist())
            found.update((place, Known(row, is_new)) for place, row in zip(places.tolist(), met, strict=True))
        if self._waiting:
            for place, key in enumerate(keys.tolist()):
                if (row := self._waiting.get(key)) is not None:
                    found[place] = Known(row, is_of_this_run=True)
        return found

    def enter_one(self, row: Row) -> None:
        """What is now known of a record."""
        if row.key:
            self._waiting[row.key] = row

    def enter(self, rows: np.ndarray) -> None:
        """What is now known of these records; rows of one key one after the other count as the last of them."""
        rows = rows[rows["key"] != 0]
        if len(rows) >= _FEW:
            self._keep(rows)
            return
        self._waiting.update((row[0], Row._make(row)) for row in rows.tolist())
        if len(self._waiting) >= _BLOCK_ROWS:
            self._keep_waiting()

    def flush(self) -> None:
        """Hand everything to the ledger."""
        self._keep_waiting()
        if self._open:
            self._close_block()

    def _keep_waiting(self) -> None:
        if self._waiting:
            rows = np.array(list(self._waiting.values()), ROW)
            self._waiting.clear()
            self._keep(rows)

    def _keep(self, rows: np.ndarray) -> None:
        """Add rows to the open block. What waits is older than they are, so it goes first."""
        self._keep_waiting()
        self._open.append(rows)
        self._add_level(np.sort(rows["key"]), self._blocks)
        if sum(map(len, self._open)) >= _BLOCK_ROWS:
            self._close_block()

    def _close_block(self) -> None:
        rows, block = self._rows(self._blocks), self._blocks
        self._open, self._blocks = [], block + 1
        # At once, since what waits in the ledger waits in memory.
        self._ledger.enter_all(_KEYS, {str(block): base64.b64encode(rows["key"].tobytes()).decode()})
        self._ledger.enter_all(_ROWS, {str(block): base64.b64encode(rows.tobytes()).decode()})
        self._ledger.enter_all(_COUNT, {"n": str(self._blocks)})
        self._remember(block, rows)

    def _add_level(self, keys: np.ndarray, block: int) -> None:
        """Add a block's keys. Levels are merged so that each is at least twice as long as the next: few to search."""
        blocks = np.full(len(keys), block, np.uint32)
        while self._levels and len(self._levels[-1][0]) < 2 * len(keys):
            older, older_blocks = self._levels.pop()
            # Merged, not sorted together: that would take as much again. Of one key, the newer block comes last.
            places = np.searchsorted(older, keys, "right") + np.arange(len(keys))
            is_older = np.ones(len(older) + len(keys), np.bool_)
            is_older[places] = False
            keys, blocks = _merged(older, keys, is_older), _merged(older_blocks, blocks, is_older)
        self._levels.append((keys, blocks))

    def _rows(self, block: int) -> np.ndarray:
        if block == self._blocks:
            rows = np.concatenate(self._open)
            self._open = [rows[np.argsort(rows["key"], kind="stable")]]  # of one key, the newer row comes last
            return self._open[0]
        if block not in self._recent:
            text = self._ledger.either(_ROWS, str(block))
            assert text is not None, "keys and rows are entered together"
            self._remember(block, np.frombuffer(base64.b64decode(text), ROW))
        self._recent.move_to_end(block)
        return self._recent[block]

    def _remember(self, block: int, rows: np.ndarray) -> None:
        self._recent[block] = rows
        while len(self._recent) > _KEPT_BLOCKS:
            self._recent.popitem(last=False)


def _merged(older: np.ndarray, newer: np.ndarray, is_older: np.ndarray) -> np.ndarray:
    merged = np.empty(len(is_older), older.dtype)
    merged[is_older], merged[~is_older] = older, newer
    return merged


def subject_tag(subject: int) -> int:
    """What a row keeps of its subject."""
    return subject & _MASK or 1


def row_at(rows: np.ndarray, place: int) -> Row:
    """One row of an array of `ROW`."""
    return Row._make(rows[place].item())


def label_of(row: Row) -> str:
    """A record's place in its file, as complaints and observations name it."""
    return label(row.line, row.entry)


def label(line: int, entry: int) -> str:
    """line 5, line 5, entry 2, entry 2, or resource."""
    parts = ([f"line {line}"] if line else []) + ([f"entry {entry}"] if entry else [])
    return ", ".join(parts) or "resource"
