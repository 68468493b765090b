"""The observation table of a workspace, read back: all of it, or some subjects at a time."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ingest.ledger import retired_records
from ingest.merges import subject_aliases
from ingest.observations import SCHEMA
from ingest.parts import in_order, is_in_order
from ingest.workspace import Workspace

_ALL = (-(2**63), 2**63 - 1)


def read_observations(
    workspace: Workspace, codes: Collection[str] | None = None, subjects: Collection[int] | None = None
) -> pa.Table:
    """The observations of all deliveries, or only those of some codes and subjects; by subject and time, static first.

    An empty workspace gives an empty table of the same schema.
    """
    return Observations(workspace).table(codes, subjects)


@dataclass(frozen=True)
class Observations:
    """The observations of a workspace that hold: of all its deliveries, less what was corrected or withdrawn since,
    and with subjects that were found to be one person under one number."""

    workspace: Workspace

    @cached_property
    def code_counts(self) -> dict[str, int]:
        """How many observations each code has."""
        counts: Counter[str] = Counter()
        for path, batch in self._batches(["code", *(["source_file", "source_record"] if self._retired[1] else [])]):
            counted = pc.value_counts(self._holding(pa.Table.from_batches([batch]), path)["code"].combine_chunks())
            counts.update({each["values"]: each["counts"] for each in counted.to_pylist()})
        return dict(counts)

    @cached_property
    def subjects(self) -> int:
        """How many subjects there are."""
        known = np.zeros(0, np.int64)
        for _, batch in self._batches(["subject_id"]):
            known = np.union1d(known, batch.column(0).unique().to_numpy(zero_copy_only=False))
        return len({self._aliases.get(subject, subject) for subject in known.tolist()})

    def table(self, codes: Collection[str] | None = None, subjects: Collection[int] | None = None) -> pa.Table:
        """The observations of these codes and subjects (all where None), by subject, time and code."""
        return in_order(self._read(_ALL, codes, subjects))

    def chunks(
        self,
        codes: Collection[str] | None = None,
        subjects: Collection[int] | None = None,
        rows: int = 250_000,
    ) -> Iterator[pa.Table]:
        """The same by subject and time, in runs of whole subjects: about so many rows each, before codes are chosen."""
        for span in self._spans(rows):
            chunk = self._read(span, codes, subjects)
            if len(chunk):
                yield chunk if is_in_order(chunk) else in_order(chunk)

    @cached_property
    def _parts(self) -> list[Path]:
        return sorted(self.workspace.observations.glob("[!.]*.parquet"))

    @cached_property
    def _retired(self) -> tuple[pa.Array, dict[tuple[str, str], str]]:
        """(files that have retired records, file and record of each -> the last part from which it is taken back)."""
        records: dict[tuple[str, str], str] = {}
        for file, record, _, run in retired_records(self.workspace.ingests, self.workspace.observations):
            records[file, record] = max(run, records.get((file, record), ""))
        return pa.array(sorted({file for file, _ in records}), pa.string()), records

    @cached_property
    def _aliases(self) -> dict[int, int]:
        return subject_aliases(self.workspace.identities)

    def _batches(self, columns: list[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Batches of some columns with the part that they are from."""
        for path in self._parts:
            dataset = ds.dataset(str(path), schema=SCHEMA)  # a plain MEDS file lacks some columns: they are null
            for batch in dataset.to_batches(columns=columns, batch_readahead=1, fragment_readahead=1):
                yield str(path), batch

    def _spans(self, rows: int) -> list[tuple[int, int]]:
        """(after, up to) subjects of each chunk, told from the statistics that Parquet keeps of its row groups."""
        groups = []
        for path in self._parts:
            metadata = pq.ParquetFile(path).metadata
            place = metadata.schema.to_arrow_schema().names.index("subject_id")
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                statistics = group.column(place).statistics
                if statistics is None or not statistics.has_min_max:
                    return [_ALL]
                groups.append((statistics.max, group.num_rows))
        spans, low, held = [], _ALL[0], 0
        for last, count in sorted(groups):
            held += count
            if held >= rows and last > low:
                spans.append((low, last))
                low, held = last, 0
        return [*spans, (low, _ALL[1])]

    def _read(self, span: tuple[int, int], codes: Collection[str] | None, subjects: Collection[int] | None) -> pa.Table:
        if not self._parts:
            return SCHEMA.empty_table()
        wanted = self._in_span(span)
        if codes is not None:
            wanted &= ds.field("code").isin(pa.array(list(codes), pa.string()))
        if subjects is not None:
            chosen = set(subjects) - self._aliases.keys()
            chosen |= {other for other, kept in self._aliases.items() if kept in chosen}
            wanted &= ds.field("subject_id").isin(pa.array(sorted(chosen), pa.int64()))
        columns = [*SCHEMA.names, *(["__filename"] if self._retired[1] else [])]
        table = ds.dataset([str(path) for path in self._parts], schema=SCHEMA).to_table(columns, filter=wanted)
        return self._renamed(self._holding(table).select(SCHEMA.names))

    def _in_span(self, span: tuple[int, int]) -> ds.Expression:
        """Subjects of a span: those who are called so, and those who are one with one of them."""
        low, high = span
        field = ds.field("subject_id")
        inside = (field > low) & (field <= high)
        if self._aliases:
            here = [other for other, kept in self._aliases.items() if low < kept <= high]
            inside = (inside & ~field.isin(pa.array(list(self._aliases), pa.int64()))) | field.isin(
                pa.array(here, pa.int64())
            )
        return inside

    def _holding(self, table: pa.Table, part: str | None = None) -> pa.Table:
        """The rows that were not retired; `part`, or the column `__filename`, says which part they are from.

        A record that is delivered again after it was retired holds again: only parts up to the retiring one lose it.
        """
        files, records = self._retired
        if not records:
            return table
        suspect = np.flatnonzero(pc.fill_null(pc.is_in(table["source_file"], files), fill_value=False).to_numpy())
        if not len(suspect):
            return table
        some = table.take(pa.array(suspect))
        parts = some["__filename"].to_pylist() if part is None else [part] * len(some)
        names = zip(some["source_file"].to_pylist(), some["source_record"].to_pylist(), parts, strict=True)
        holds = np.ones(len(table), bool)
        holds[suspect] = [Path(path).stem > records.get((file, record), "") for file, record, path in names]
        return table.filter(pa.array(holds))

    def _renamed(self, table: pa.Table) -> pa.Table:
        if not self._aliases:
            return table
        numbers = table["subject_id"].to_numpy().copy()
        for other, kept in self._aliases.items():
            numbers[numbers == other] = kept
        return table.set_column(0, SCHEMA.field("subject_id"), pa.array(numbers))
