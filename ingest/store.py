"""The observation table of a workspace, read back: all of it, or some subjects at a time."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.account.ledger import retired_records
from ingest.identity.merges import subject_aliases
from ingest.observations import SCHEMA, conform
from ingest.parts import in_order, is_in_order, spans
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
            counted = pc.value_counts(self._holding(batch, path)["code"].cast(pa.string()).combine_chunks())
            counts.update({each["values"]: each["counts"] for each in counted.to_pylist()})
        return dict(counts)

    @cached_property
    def subjects(self) -> int:
        """How many subjects there are."""
        known = np.zeros(0, np.int64)
        for _, batch in self._batches(["subject_id"]):
            known = np.union1d(known, batch.column(0).unique().to_numpy())
        return len({self._aliases.get(subject, subject) for subject in known.tolist()})

    def table(self, codes: Collection[str] | None = None, subjects: Collection[int] | None = None) -> pa.Table:
        """The observations of these codes and subjects (all where None), by subject, time and code."""
        return in_order(self._read(_ALL, codes, subjects))

    def chunks(
        self,
        codes: Collection[str] | None = None,
        subjects: Collection[int] | None = None,
        rows: int = 100_000,
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

    def _batches(self, columns: list[str]) -> Iterator[tuple[str, pa.Table]]:
        """Row groups of some columns with the part that they are from."""
        for path in self._parts:
            file = pq.ParquetFile(path)
            there = [name for name in columns if name in file.schema_arrow.names]
            for number in range(file.metadata.num_row_groups):
                table = file.read_row_group(number, columns=there)
                for name in columns:
                    if name not in there:  # a plain MEDS file lacks some
                        table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
                yield str(path), table

    def _spans(self, rows: int) -> list[tuple[int, int]]:
        """(after, up to) subjects of each chunk, told from the statistics that Parquet keeps of its row groups."""
        groups = []
        for path in self._parts:
            metadata = pq.ParquetFile(path).metadata
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                held = _subjects_of(group)
                if held is None:
                    return [_ALL]
                groups.append((held[1], group.num_rows))
        return list(spans(groups, rows))

    def _read(self, span: tuple[int, int], codes: Collection[str] | None, subjects: Collection[int] | None) -> pa.Table:
        """Row group by row group, so that no more is held than what is wanted and one group."""
        low, high = span
        others = [other for other, kept in self._aliases.items() if low < kept <= high]
        chosen = None if subjects is None else self._with_others(subjects)
        coded = None if codes is None else pa.array(list(codes), pa.string())
        pieces = [SCHEMA.empty_table()]
        for path in self._parts:
            file = pq.ParquetFile(path)
            for number in range(file.metadata.num_row_groups):
                if not _may_hold(file.metadata.row_group(number), span, others):
                    continue
                table = conform(file.read_row_group(number))
                wanted = self._in_span(table["subject_id"], span, others)
                if coded is not None:
                    wanted = pc.and_(wanted, pc.is_in(table["code"], coded))
                if chosen is not None:
                    wanted = pc.and_(wanted, pc.is_in(table["subject_id"], chosen))
                pieces.append(self._holding(table.filter(wanted), str(path)))
        return self._renamed(pa.concat_tables(pieces))

    def _with_others(self, subjects: Collection[int]) -> pa.Array:
        """These subjects, and whoever is one with one of them."""
        chosen = set(subjects) - self._aliases.keys()
        return pa.array(sorted(chosen | {other for other, kept in self._aliases.items() if kept in chosen}), pa.int64())

    def _in_span(self, subject: pa.ChunkedArray, span: tuple[int, int], others: list[int]) -> pa.ChunkedArray:
        """Subjects of a span: those who are called so, and those who are one with one of them."""
        inside = pc.and_(pc.greater(subject, span[0]), pc.less_equal(subject, span[1]))
        if self._aliases:
            called_otherwise = pc.is_in(subject, pa.array(list(self._aliases), pa.int64()))
            one_with = pc.is_in(subject, pa.array(others, pa.int64()))
            inside = pc.or_(pc.and_(inside, pc.invert(called_otherwise)), one_with)
        return inside

    def _holding(self, table: pa.Table, part: str) -> pa.Table:
        """The rows of a part that were not retired.

        A record that is delivered again after it was retired holds again: only parts up to the retiring one lose it.
        """
        files, records = self._retired
        if not records:
            return table
        suspect = np.flatnonzero(pc.fill_null(pc.is_in(table["source_file"], files), fill_value=False).to_numpy())
        if not len(suspect):
            return table
        some, run = table.take(pa.array(suspect)), Path(part).stem
        names = zip(some["source_file"].to_pylist(), some["source_record"].to_pylist(), strict=True)
        holds = np.ones(len(table), bool)
        holds[suspect] = [run > records.get(name, "") for name in names]
        return table.filter(pa.array(holds))

    def _renamed(self, table: pa.Table) -> pa.Table:
        if not self._aliases:
            return table
        numbers = table["subject_id"].to_numpy().copy()
        for other, kept in self._aliases.items():
            numbers[numbers == other] = kept
        return table.set_column(0, SCHEMA.field("subject_id"), pa.array(numbers))


def _may_hold(group: pq.RowGroupMetaData, span: tuple[int, int], others: Collection[int]) -> bool:
    """Whether a row group can hold subjects of a span, or one of some others."""
    held = _subjects_of(group)
    if held is None:
        return True
    first, last = held
    return (last > span[0] and first <= span[1]) or any(first <= other <= last for other in others)


def _subjects_of(group: pq.RowGroupMetaData) -> tuple[int, int] | None:
    """(first, last) subject of a row group, by what Parquet says of it; None where it says nothing."""
    if not group.num_rows:
        return _ALL[0], _ALL[0]
    place = [group.column(n).path_in_schema for n in range(group.num_columns)].index("subject_id")
    statistics = group.column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max
