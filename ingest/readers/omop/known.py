"""Which rows of a CDM were ingested before, and whether they changed: by key, in blocks, no object per row.

A CDM is delivered as a whole, again and again, so a row is known by (issuer, table, key) and by a digest of the
observations that it gave. The ledger keeps a block of 4096 keys as one value: keys, digests, and where each was read.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from ingest.account.ledger import Ledger

NEW, KNOWN, CHANGED, TWICE, CONFLICT = range(5)
_KIND = "omop"
_BLOCK_BITS = 12
_NOTHING = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Reading:
    """Where rows are read from: `SourceFile.source`, what their labels end in, and the run."""

    source: str
    suffix: str
    run: str


@dataclass
class _Block:
    """The rows of one block, by key. readings: the places that `place` counts."""

    readings: list[Reading] = field(default_factory=list)
    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    digests: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    place: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))


class KnownRows:
    """The rows of one issuer's CDM as the ledger has them."""

    def __init__(self, ledger: Ledger, issuer: str) -> None:
        self._ledger, self._issuer = ledger, issuer

    def compare(
        self,
        table: str,
        keys: NDArray[np.int64],
        digests: NDArray[np.uint64],
        numbers: NDArray[np.int64],
        reading: Reading,
    ) -> tuple[NDArray[np.int8], list[tuple[Reading, int]]]:
        """(what each row is, the earlier (reading, number) of each CHANGED one). New and changed ones are entered.

        keys (N,) in ascending order; numbers (N,): what labels show. CONFLICT: this run had the key with other content.
        """  # fmt: skip
        verdict = np.full(len(keys), NEW, np.int8)
        same_key = np.zeros(len(keys), bool)
        same_key[1:] = keys[1:] == keys[:-1]
        first = np.maximum.accumulate(np.where(same_key, 0, np.arange(len(keys))))
        verdict[same_key] = np.where(digests[same_key] == digests[first[same_key]], TWICE, CONFLICT)
        retired: list[tuple[Reading, int]] = []
        blocks = keys >> _BLOCK_BITS
        starts = np.flatnonzero(np.diff(blocks, prepend=blocks[:1] - 1)) if len(keys) else np.zeros(0, np.int64)
        names = {int(start): f"{self._issuer}/{table}/{blocks[start]}" for start in starts}
        found = self._ledger.find(_KIND, names.values())
        written: dict[str, str] = {}
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(keys)], strict=True):
            name = names[start]
            block = _decoded(found[name][0]) if name in found else _Block()
            here = slice(start, stop)
            retired += _judge(block, keys[here], digests[here], verdict[here], reading)
            if _enter(block, keys[here], digests[here], numbers[here], verdict[here], reading):
                written[name] = _encoded(block)
        self._ledger.enter_all(_KIND, written)
        return verdict, retired


def digests_of(columns: Sequence[pa.Array]) -> NDArray[np.uint64]:
    """A digest of each row of some columns, the same on every machine and in every version."""
    import pandas as pd

    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        coded = column.dictionary_encode()
        distinct = coded.dictionary
        values = (
            pd.util.hash_array(np.asarray(distinct.to_pylist(), object), categorize=False)
            if pa.types.is_string(distinct.type) or pa.types.is_large_string(distinct.type)
            else pd.util.hash_array(distinct.to_numpy(zero_copy_only=False))
        )
        places = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        total = total * np.uint64(1_000_003) ^ np.append(values, _NOTHING)[places]
    return total


def _judge(
    block: _Block, keys: NDArray[np.int64], digests: NDArray[np.uint64], verdict: NDArray[np.int8], reading: Reading
) -> list[tuple[Reading, int]]:
    """Set the verdict of rows that the block has; the places of those that changed."""
    if not len(block.keys):
        return []
    places = np.minimum(np.searchsorted(block.keys, keys), len(block.keys) - 1)
    has = (block.keys[places] == keys) & (verdict == NEW)
    same = has & (block.digests[places] == digests)
    mine = np.array([each.run == reading.run for each in block.readings])[block.place[places]]
    verdict[same] = np.where(mine[same], TWICE, KNOWN)
    other = has & ~same
    verdict[other] = np.where(mine[other], CONFLICT, CHANGED)
    gone = places[other & ~mine]
    return [(block.readings[block.place[place]], int(block.numbers[place])) for place in gone.tolist()]


def _enter(
    block: _Block,
    keys: NDArray[np.int64],
    digests: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    verdict: NDArray[np.int8],
    reading: Reading,
) -> bool:
    """Put new and changed rows into the block; whether there were any."""  # fmt: skip
    taken = (verdict == NEW) | (verdict == CHANGED)
    if not taken.any():
        return False
    if reading not in block.readings:
        block.readings.append(reading)
    stays = ~np.isin(block.keys, keys[taken])
    order = np.argsort(np.concatenate([block.keys[stays], keys[taken]]))
    place = np.full(int(taken.sum()), block.readings.index(reading), np.int32)
    block.keys, block.digests, block.numbers, block.place = (
        np.concatenate([old[stays], new])[order]
        for old, new in (
            (block.keys, keys[taken]), (block.digests, digests[taken]), (block.numbers, numbers[taken]),
            (block.place, place),
        )
    )  # fmt: skip
    return True


def _encoded(block: _Block) -> str:
    used = np.unique(block.place)  # readings of rows that were all replaced since are let go
    readings = [block.readings[i] for i in used.tolist()]
    arrays = (
        block.keys,
        block.digests,
        block.numbers - block.keys,
        np.searchsorted(used, block.place).astype(np.int32),
    )
    packed = zlib.compress(b"".join(array.tobytes() for array in arrays), 1)
    return orjson.dumps(
        [
            [[each.source, each.suffix, each.run] for each in readings],
            len(block.keys),
            base64.b85encode(packed).decode(),
        ]
    ).decode()


def _decoded(value: str) -> _Block:
    readings, n, text = orjson.loads(value)
    packed = zlib.decompress(base64.b85decode(text))
    keys = np.frombuffer(packed, np.int64, n)
    digests = np.frombuffer(packed, np.uint64, n, 8 * n)
    numbers = np.frombuffer(packed, np.int64, n, 16 * n) + keys
    place = np.frombuffer(packed, np.int32, n, 24 * n)
    return _Block([Reading(*each) for each in readings], keys, digests, numbers, place)
