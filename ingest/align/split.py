"""Which part of a cohort a case belongs to: train, validation or test, whole subjects together."""

import hashlib
from collections.abc import Mapping

import numpy as np

from ingest.task import Split

PARTS = ("train", "validation", "test")


def assign_splits(
    split: Split,
    subject: np.ndarray,
    index_time: np.ndarray,
    groups: Mapping[int, str] | None = None,
    *,
    outcome: np.ndarray | None = None,
    settled: Mapping[int, str] | None = None,
    boundaries: tuple[int, int] | None = None,
) -> np.ndarray:
    """The part of each case, (C,) of "train", "validation" or "test".

    subject (C,) int64; index_time (C,) in order (used by `time`); groups: subject -> group, where known; outcome (C,)
    0 or 1 (used by `stratify`); settled: subjects whose part an earlier cohort has decided; boundaries: the first
    index times of its validation and test.
    """
    if not len(subject):
        return np.zeros(0, object)
    distinct, case_subject = np.unique(subject, return_inverse=True)
    if split.by == "time":
        first, second = boundaries or _time_boundaries(split, index_time)
        late = (index_time >= first).astype(np.int64) + (index_time >= second)
        number = np.full(len(distinct), len(PARTS) - 1)
        np.minimum.at(number, case_subject, late)
        parts = [PARTS[n] for n in number]
    else:
        known = groups or {}
        units = [f"group {known[int(s)]}" if int(s) in known else f"subject {int(s)}" for s in distinct]
        if split.stratify and outcome is not None and settled is None:
            positive = {units[at] for at in case_subject[outcome == 1]}
            parts = _stratified(split, units, positive)
        else:
            parts = [hashed_part(split, unit) for unit in units]
    if settled:
        parts = [settled.get(int(s), part) for s, part in zip(distinct, parts, strict=True)]
    return np.array(parts, object)[case_subject]


def hashed_part(split: Split, key: str) -> str:
    """The part that follows from a key and the seed alone, so that it is the same in any company."""
    return _part(split, _fraction(split, key))


def _stratified(split: Split, units: list[str], positive: set[str]) -> list[str]:
    """Each unit's part by its rank among the units of its class, in the order of their hashes."""
    distinct = sorted(set(units), key=lambda unit: _fraction(split, unit))
    parts: dict[str, str] = {}
    for one_class in ([u for u in distinct if u in positive], [u for u in distinct if u not in positive]):
        parts |= {unit: _part(split, (rank + 0.5) / len(one_class)) for rank, unit in enumerate(one_class)}
    return [parts[unit] for unit in units]


def _fraction(split: Split, key: str) -> float:
    digest = hashlib.blake2b(f"{split.seed} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _part(split: Split, fraction: float) -> str:
    if fraction < split.train:
        return "train"
    return "validation" if fraction < split.train + split.validation else "test"


def _time_boundaries(split: Split, index_time: np.ndarray) -> tuple[int, int]:
    ordered = np.sort(index_time)
    first, second = (
        ordered[min(int(np.ceil(part * len(ordered))), len(ordered) - 1)]
        for part in (split.train, split.train + split.validation)
    )
    return int(first), int(second)
