"""A run of cases of one stream, aligned and ready to be written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from ingest.align.events import Cases, Events
from ingest.align.report import Tally
from ingest.statistics import StreamStatistics


@dataclass(frozen=True)
class Block:
    """n cases that have the stream.

    case (n,): positions in the cases that were handed in. values (n, T, *feature), observed (n, T[, *feature]),
    hours (n, T) as in `ingest.batch.Stream`. sources: row (0 ... n - 1), source_file, source_record, asset.
    texts: for text streams, what was tokenised.
    """

    case: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    hours: np.ndarray
    sources: pa.Table
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Given:
    """What every aligner is built from, beside its part of the task.

    levels, dtype: where a cohort grows, the levels that it has by feature, and the type that it keeps the stream in.
    """

    stream: str
    events: Events
    tally: Tally
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dtype: np.dtype | None = None


class Aligner(Protocol):
    """One stream of a task over the observations: built once, asked for chunks of cases."""

    @property
    def statistics(self) -> StreamStatistics:
        """What is known before anything is fitted: kind, sizes, names, units, levels."""
        ...

    def fit(self, training: Cases) -> None:
        """Learn what the training cases alone may decide (levels of categorical features)."""
        ...

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """The stream of these cases, in order; cases without it do not appear."""
        ...

    def empty(self) -> Block:
        """A block of no cases, with the shapes and types of the others."""
        ...
