"""What an audit looks at: the cases whose outcome is known, a sample of them where they are many, and their arrays."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ingest.cohort import Cohort, StreamArrays
from models.flat.features import flat_features
from models.leakage.separation import LEAST_OF_A_CLASS

MOST_CASES = 5_000
BYTES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class Scope:
    """Cases of a cohort that outcomes are asked of, at most MOST_CASES. Built by `scope_of`.

    rows (n,): their positions in the cohort. notes: what was left out to stay within bounds, added by the checks.
    """

    cohort: Cohort
    rows: np.ndarray
    seed: int
    notes: list[str] = field(default_factory=list)

    @cached_property
    def target(self) -> np.ndarray:
        """(n,) int, 0 or 1."""
        return np.asarray(self.cohort.target[self.rows], int)

    @cached_property
    def subjects(self) -> np.ndarray:
        """(n,) int64."""
        return np.asarray(self.cohort.index["subject_id"].to_numpy(np.int64)[self.rows])

    @cached_property
    def columns(self) -> tuple[np.ndarray, list[str]]:
        """The flat features of the cases (n, P), NaN where missing, and their names, "stream: what"."""
        return flat_features(self.cohort, self.rows, self.seed)

    @cached_property
    def weight(self) -> np.ndarray:
        """(2,) how many cases of the cohort each case without and with the outcome stands for."""
        of = [(self.cohort.target == label).sum() / max((self.target == label).sum(), 1) for label in (0, 1)]
        return np.array(of, float)

    def note(self, line: str) -> None:
        """Say, once, that something was left out."""
        if line not in self.notes:
            self.notes.append(line)

    @property
    def comparable(self) -> bool:
        """Whether both outcomes occur often enough to be compared."""
        return min(len(np.unique(self.subjects[self.target == label])) for label in (0, 1)) >= LEAST_OF_A_CLASS

    @property
    def generator(self) -> np.random.Generator:
        """The same draws in whatever order the checks are made."""
        return np.random.default_rng(self.seed)


def scope_of(cohort: Cohort, seed: int, most: int = MOST_CASES) -> Scope:
    """The cases whose outcome is known; of many, a sample in which the rarer outcome is kept as far as there is room.

    The share of the outcome in a sample is then not that of the cohort; every figure of the audit allows for that.
    """
    known = np.flatnonzero(np.isin(cohort.target, (0, 1)))
    if len(known) <= most:
        return Scope(cohort, known, seed)
    rng = np.random.default_rng(seed)
    classes = sorted((known[cohort.target[known] == label] for label in (0, 1)), key=len)
    fewer = rng.permutation(classes[0])[: most // 2]
    more = rng.permutation(classes[1])[: most - len(fewer)]
    note = (
        f"outcomes were compared in a sample of {most:,} of {len(known):,} cases, {len(fewer):,} of the rarer outcome"
    )
    return Scope(cohort, np.sort(np.concatenate([fewer, more])), seed, [note])


def blocks(cohort: Cohort, rows: np.ndarray, stream: str) -> Iterator[tuple[np.ndarray, StreamArrays]]:
    """Places among `rows` of cases that have the stream, and their arrays, a bounded number of bytes at a time."""
    chosen = cohort.index.iloc[rows]
    shards, held = chosen["shard"].to_numpy(), chosen[f"{stream}_row"].to_numpy()
    for shard in np.unique(shards):
        mapped = cohort.arrays(int(shard), stream)
        here = np.flatnonzero((shards == shard) & (held >= 0))
        at_once = max(BYTES_AT_ONCE // max(mapped.values[:1].nbytes, 1), 1)
        for start in range(0, len(here), at_once):
            at = here[start : start + at_once]
            yield (
                at,
                StreamArrays(*(np.asarray(part[held[at]]) for part in (mapped.values, mapped.observed, mapped.hours))),
            )


def streams_of(cohort: Cohort, kind: str) -> list[str]:
    """The streams of a kind."""
    return [name for name, spec in cohort.task.streams.items() if spec.kind == kind]
