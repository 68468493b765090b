"""Where alignment takes observations from: some whole subjects at a time, so that memory holds no more than those."""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.align.events import Cases, Events
from ingest.align.prepare import Prepared
from ingest.observations import conform

ROWS_AT_ONCE = 100_000


class ObservationSource(Protocol):
    """Observations of whole subjects, chunk by chunk; `ingest.store.Observations` is one."""

    @property
    def code_counts(self) -> Mapping[str, int]:
        """How many observations each code has."""
        ...

    @property
    def subjects(self) -> int:
        """How many subjects there are."""
        ...

    def chunks(
        self, codes: Collection[str] | None = None, subjects: Collection[int] | None = None, rows: int = ROWS_AT_ONCE
    ) -> Iterator[pa.Table]:
        """The observations of these codes and subjects (all where None), in ascending order of subject.

        Every subject is in one chunk only; a chunk has about so many rows.
        """
        ...


@dataclass(frozen=True)
class TableSource:
    """Observations that are in memory already, in any order. most: rows of a chunk, whatever is asked for."""

    table: pa.Table
    most: int | None = None

    @cached_property
    def code_counts(self) -> dict[str, int]:
        counted = pc.value_counts(self.table["code"].combine_chunks())
        return {str(c["values"]): int(c["counts"]) for c in counted.to_pylist()}

    @cached_property
    def subjects(self) -> int:
        return int(pc.count_distinct(self.table["subject_id"]).as_py())

    def chunks(
        self, codes: Collection[str] | None = None, subjects: Collection[int] | None = None, rows: int = ROWS_AT_ONCE
    ) -> Iterator[pa.Table]:
        table = conform(self.table)
        for name, wanted, kind in (("code", codes, pa.string()), ("subject_id", subjects, pa.int64())):
            if wanted is not None:
                table = table.filter(pc.is_in(table[name], pa.array(sorted(wanted), kind)))
        subject = table["subject_id"].to_numpy()
        order = np.argsort(subject, kind="stable")
        ordered = subject[order]
        start = 0
        while start < len(ordered):
            last = ordered[min(start + (self.most or rows), len(ordered)) - 1]
            end = int(np.searchsorted(ordered, last, "right"))
            yield table.take(pa.array(order[start:end]))
            start = end


def as_source(observations: "pa.Table | ObservationSource") -> ObservationSource:
    """A table as a source; a source as it is."""
    return TableSource(observations) if isinstance(observations, pa.Table) else observations


def ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same tables, the next of which is being read while one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = reader.submit(next, tables, None)
            yield table


def with_cases(chunks: Iterator[Prepared], cases: Cases) -> Iterator[tuple[int, Cases, Prepared]]:
    """Every case once, in order, with the chunk that holds its owner's events: (position of the first, cases, chunk).

    A case of whom there is no event comes with the chunk after, or with one of no events at the end.
    """
    done = 0
    for prepared in chunks:
        if len(prepared.events):
            end = int(np.searchsorted(cases.owner, prepared.events.owner[-1], "right"))
            yield done, cases.take(slice(done, end)), prepared
            done = end
    if done < len(cases):
        yield done, cases.take(slice(done, len(cases))), Prepared(Events.none(), 0)
