"""Cells read: as trimmed texts, as texts with the distinct ones told apart, or as numbers; always whole columns."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$"


@dataclass(frozen=True)
class Coded:
    """A column with its distinct texts: cell i is `texts[index[i]]`, trimmed. There is always an empty text."""

    texts: list[str]
    index: NDArray[np.int64]

    def among(self, allowed: Sequence[str]) -> NDArray[np.bool_]:
        """Which cells have one of these texts."""
        wanted = set(allowed)
        return np.array([text in wanted for text in self.texts], np.bool_)[self.index]

    def each(self, judge: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Which cells' texts pass."""
        return np.array([judge(text) for text in self.texts], np.bool_)[self.index]


@dataclass(frozen=True)
class Numbers:
    """Numbers (N,) float64; `present` where there is one; `wrong` where there is something that is none."""

    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


def coded(cells: pa.Array) -> Coded:
    """Any column by its distinct texts."""
    if not pa.types.is_dictionary(cells.type):
        cells = as_text(cells).dictionary_encode()
    texts = [text.strip() for text in as_text(cells.dictionary).to_pylist()]
    index = pc.fill_null(cells.indices, len(texts)).to_numpy(zero_copy_only=False).astype(np.int64)
    return Coded([*texts, ""], index)


def as_text(cells: pa.Array) -> pa.Array:
    """Any column as trimmed texts, "" where empty."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if not pa.types.is_string(cells.type):
        cells = cells.cast(pa.string())  # 50.0 becomes 50: an identifier kept as a number stays itself
    if cells.null_count:
        cells = pc.fill_null(cells, "")
    return pc.utf8_trim_whitespace(cells)


def as_numbers(cells: pa.Array, null: Sequence[str] = (), decimal: str = ".") -> Numbers:
    """Any column as numbers; `null` cells and empty ones are none. A text null that is a number is compared as one."""
    if pa.types.is_dictionary(cells.type):
        distinct = coded(cells)
        read = as_numbers(pa.array(distinct.texts, pa.string()), null, decimal)
        return Numbers(read.values[distinct.index], read.present[distinct.index], read.wrong[distinct.index])
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        numbers, wrong = _parsed(as_text(cells), null, decimal)
    else:
        numbers, wrong = cells, np.zeros(len(cells), np.bool_)
    # unsafe: a whole number beyond 2**53 is rounded, as every number is in the end
    filled = numbers.cast(pa.float64(), safe=False) if numbers.type != pa.float64() else numbers
    values = filled.to_numpy(zero_copy_only=False)
    present = ~np.isnan(values)
    if int(present.sum()) + filled.null_count < len(values):  # "nan" that somebody wrote
        wrong = wrong | (~present & np.asarray(filled.is_valid()))
    for text in null:
        if (number := _number(text, decimal)) is not None:
            present &= values != number
    if len(values) and not np.abs(values, where=present, out=np.zeros(len(values))).max() <= LARGEST_FLOAT32:
        wrong = wrong | (present & ~(np.abs(values) <= LARGEST_FLOAT32))
        present = present & ~wrong
    return Numbers(values, present, wrong)


def is_number(text: str, decimal: str = ".") -> bool:
    """Whether a cell of this text is a number, as `as_numbers` reads one."""
    if decimal != ".":
        text = text.replace(".", "no point").replace(decimal, ".")
    return re.fullmatch(_FLOAT, text.strip()) is not None


def _number(text: str, decimal: str) -> float | None:
    try:
        return float(text.replace(decimal, ".")) if text.strip() else None
    except ValueError:
        return None


def _parsed(text: pa.Array, null: Sequence[str], decimal: str) -> tuple[pa.Array, NDArray[np.bool_]]:
    """(numbers, null where there is none; what is neither a number nor empty)."""
    missing = pc.is_in(text, pa.array(["", *null], pa.string()))
    present = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    if decimal != ".":
        present = pc.replace_substring(pc.replace_substring(present, ".", "no point"), decimal, ".")
    try:
        return present.cast(pa.float64()), np.zeros(len(text), np.bool_)
    except pa.ArrowInvalid:
        sound = pc.match_substring_regex(present, _FLOAT)
        numbers = pc.if_else(sound, present, pa.scalar(None, pa.string())).cast(pa.float64())
        return numbers, mask(pc.and_(pc.is_valid(present), pc.invert(sound)))


def mask(array: pa.Array) -> NDArray[np.bool_]:
    """A boolean column for numpy; null is False."""
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), np.bool_)
