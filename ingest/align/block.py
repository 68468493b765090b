"""A run of cases of one stream, aligned and ready to be written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from ingest.align.events import Cases, Events
from ingest.align.report import Tally
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.statistics import StreamStatistics


@dataclass(frozen=True)
class Block:
    """n cases that have the stream.

    case (n,): positions in the cases that were handed in. values (n, T, *feature), observed (n, T[, *feature]),
    hours (n, T) as in `ingest.batch.Stream`. sources: where each element came from, as `events.sources_of` gives it.
    texts: for text streams, what was tokenised. problems: cases (positions as in `case`) whose stream there was but
    could not be used, or only in part, and why: one line without a person's data. notes: how it was made, where there
    was a choice ("series 3 of 4: rule 1, 120 slices").
    """

    case: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    hours: np.ndarray
    sources: pa.Table
    texts: tuple[str, ...] | None = None
    problems: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """What every aligner is built from, beside its part of the task.

    events: those of some whole subjects, or none where only shapes are asked for. levels: the texts of each feature
    that has `levels: auto`, found among the training cases of all subjects. dtype: the type that the stream is kept
    in, where that was decided over all subjects, or by the cohort that grows.
    vocabulary: what codes and units mean. catalogue: what is known of every image and recording, by `asset_sha256`.
    """

    stream: str
    events: Events
    tally: Tally
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dtype: np.dtype | None = None
    vocabulary: Vocabulary = EMPTY
    catalogue: pa.Table | None = None


class Aligner(Protocol):
    """One stream of a task over the observations of some whole subjects: built on them, asked for their cases."""

    @property
    def statistics(self) -> StreamStatistics:
        """What is known before anything is fitted: kind, sizes, names, units, levels. It needs no observations."""
        ...

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """The stream of these cases, in order; cases without it do not appear."""
        ...

    def empty(self) -> Block:
        """A block of no cases, with the shapes and types of the others."""
        ...
