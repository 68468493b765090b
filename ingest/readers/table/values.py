"""One column of a mapping, read: for every row its code, value and unit, ready to become observations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.mapping.mapping import Column
from ingest.mapping.table import CodeCell, Meaning, UnitCell, part_of
from ingest.readers.table.cells import Coded, Numbers, as_numbers, as_text, coded
from ingest.readers.table.rows import Rows

Mask = NDArray[np.bool_]
_REMEMBERED = 100_000  # distinct texts of a code column, so that many rows cost one look-up each


@dataclass(frozen=True)
class Labels:
    """A text for every row: the same for all (`index` None), or `texts[index]`. None stands for no text."""

    texts: tuple[str | None, ...]
    index: NDArray[np.int64] | None = None

    def take(self, rows: NDArray[np.int64] | None) -> pa.Array:
        """The texts of some rows, or of all. Not for what is the same for all."""
        assert self.index is not None, "the caller repeats a constant"
        return pa.array(self.texts, pa.string()).take(pa.array(self.index if rows is None else self.index[rows]))


@dataclass(frozen=True)
class Values:
    """A column read. applies (N,): rows that it is about at all; present (N,): those of them that have a value.

    One of `numbers` (N,) float64, `texts` or `assets` (paths, digests) holds it, or none: the row itself is the fact.
    """

    column: Column
    codes: Labels
    applies: Mask
    present: Mask
    units: Labels | None = None
    numbers: NDArray[np.float64] | None = None
    wrong: Mask | None = None
    texts: pa.Array | None = None
    assets: tuple[pa.Array, pa.Array] | None = None


@dataclass
class Codes:
    """What the texts of a code column stand for, remembered from batch to batch."""

    cell: CodeCell
    unit: str | None
    _known: dict[str, Meaning | None] = field(default_factory=dict)

    def meanings(self, texts: Sequence[str]) -> list[Meaning | None]:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        known = self._known
        for text in texts:
            if text not in known:
                known[text] = self.cell.meaning(text)
        return [known[text] for text in texts]


def read_values(column: Column, codes: Codes | None, rows: Rows, texts: Mapping[str, Coded], decimal: str) -> Values:
    """The values of a column that is no asset. texts: the columns that were looked up by text already."""
    applies = np.ones(len(rows), np.bool_)
    for name, allowed in column.where.items():
        applies &= texts[name].among(allowed)
    meant: list[Meaning | None] = []
    labels, units = Labels((str(column.code),)), _constant_unit(column)
    cell: Coded | None = None
    if codes is not None:
        cell = texts[codes.cell.column]
        meant = codes.meanings(cell.texts)
        labels = Labels(tuple(each.code if each else None for each in meant), cell.index)
        applies &= np.array([each is not None for each in meant], np.bool_)[cell.index]
        if any(each and each.unit for each in meant):
            units = Labels(tuple((each.unit or codes.unit) if each else None for each in meant), cell.index)
    if isinstance(column.unit, UnitCell):
        named = texts[column.unit.column]
        units = Labels(tuple(column.unit.map.get(text, text) or None for text in named.texts), named.index)
    if column.kind == "flag":
        return Values(column, labels, applies, applies)
    own_null = _own_nulls(meant, cell)
    if column.kind == "numeric":
        found = _numbers(column, rows, decimal)
        present = found.present & applies
        for null, where in own_null:
            present &= ~(where & (found.values == null if isinstance(null, float) else False))
        return Values(column, labels, applies, present, units, found.values, found.wrong & applies)
    text, present = _texts(column, rows)
    for null, where in own_null:
        present &= ~(where & np.asarray(pc.equal(text, str(null)).to_numpy(zero_copy_only=False), np.bool_))
    return Values(column, labels, applies, present & applies, texts=text)


def _constant_unit(column: Column) -> Labels | None:
    return Labels((column.unit,)) if isinstance(column.unit, str) else None


def _own_nulls(meant: Sequence[Meaning | None], cell: Coded | None) -> list[tuple[float | str, Mask]]:
    """(a cell that means "no value", the rows of whose code it does)."""
    if cell is None:
        return []
    by_null: dict[str, list[int]] = {}
    for place, each in enumerate(meant):
        for null in each.null if each else ():
            by_null.setdefault(null, []).append(place)
    found: list[tuple[float | str, Mask]] = []
    for null, places in by_null.items():
        mine = np.zeros(len(meant), np.bool_)
        mine[places] = True
        number = as_numbers(pa.array([null]))
        found.append((float(number.values[0]) if number.present[0] else null, mine[cell.index]))
    return found


def _numbers(column: Column, rows: Rows, decimal: str) -> Numbers:
    cells = rows[str(column.column)]
    if column.replace or column.pattern:
        rewritten = _rewritten(column, coded(cells))
        found = as_numbers(pa.array(rewritten.texts, pa.string()), column.null, decimal)
        index = rewritten.index
        return Numbers(found.values[index], found.present[index], found.wrong[index])
    return as_numbers(cells, column.null, decimal)


def _texts(column: Column, rows: Rows) -> tuple[pa.Array, Mask]:
    """(the texts, which of them are there)."""
    cells = rows[str(column.column)]
    if column.replace or column.pattern:
        rewritten = _rewritten(column, coded(cells))
        text = pa.array(rewritten.texts, pa.string()).take(pa.array(rewritten.index))
    else:
        text = as_text(cells)
    empty = pc.is_in(text, pa.array(["", *column.null], pa.string()))
    return text, ~np.asarray(empty.to_numpy(zero_copy_only=False), np.bool_)


def _rewritten(column: Column, cells: Coded) -> Coded:
    """The cells after `pattern` and `replace`, a look at each distinct text. Where the pattern is not found: none."""
    found = [part_of(column.pattern, text) if text else "" for text in cells.texts]
    return Coded([column.replace.get(text or "", text or "") for text in found], cells.index)
