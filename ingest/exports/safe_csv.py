"""CSV for people: what a spreadsheet opens, in which no cell is a formula."""

import re
from pathlib import Path

import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

# SOURCE: OWASP, "CSV Injection": what a spreadsheet takes for the start of a formula, in East Asian full width too.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def write_csv(path: Path, frame: pd.DataFrame, *, append: bool = False) -> None:
    """Write a table as CSV that a spreadsheet may open, with a header unless it is appended to what is there."""
    mode = "a" if append else "w"
    neutral(frame).to_csv(path, mode=mode, header=not append, index=False, lineterminator="\n", encoding="utf-8")


def neutral(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text and column name that a spreadsheet would take for a formula.

    Numbers stay as they are, and so does a text that is a number: -1.5. Line breaks within a text become \\n, which is
    written in quotes: a bare \\r would begin a new row, and its first cell might be a formula.
    """
    texts = {
        name: column.astype(object).map(_tamed)
        for name, column in frame.items()
        if not (is_numeric_dtype(column) or is_datetime64_any_dtype(column))
    }
    return frame.assign(**texts).rename(columns=_tamed)


def _tamed(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
