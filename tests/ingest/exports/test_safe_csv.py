"""FAULTS 34: no cell of a CSV that we write is a formula in a spreadsheet, and numbers stay numbers."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.exports.safe_csv import neutral, write_csv

DANGEROUS = [
    "=1+1",
    "+CMD|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "=",
    "-",
    '=HYPERLINK("x")',
]
HARMLESS = ["", "plain", "a=b", "-1.5", "+4", "-.5e-3", "3-4", "'=1", "x\ny"]


@pytest.mark.parametrize("cell", DANGEROUS)
def test_a_cell_that_a_spreadsheet_would_run_is_neutralised(tmp_path: Path, cell: str) -> None:
    """FAULTS 34."""
    write_csv(tmp_path / "a.csv", pd.DataFrame({"note": ["first", cell], cell: [1, 2]}))
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        header, first, second = csv.reader(file)
    tame = "'" + cell.replace("\r", "\n")
    assert header == ["note", tame]
    assert (first, second) == (["first", "1"], [tame, "2"])


@pytest.mark.parametrize("cell", HARMLESS)
def test_other_text_and_negative_numbers_stay_as_they_are(tmp_path: Path, cell: str) -> None:
    """FAULTS 34, openemr#2700: negative numbers intact."""
    frame = pd.DataFrame({"note": [cell]})
    assert neutral(frame)["note"].tolist() == [cell]
    write_csv(tmp_path / "a.csv", frame)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["note"], [cell]]


def test_a_carriage_return_within_a_text_begins_no_row(tmp_path: Path) -> None:
    """FAULTS 34: where one did, what follows would stand alone in a cell."""
    write_csv(tmp_path / "a.csv", pd.DataFrame({"note": ["a\r=1+1", "b\r\n=2"]}))
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    assert pd.read_csv(tmp_path / "a.csv")["note"].tolist() == ["a\n=1+1", "b\n=2"]


def test_numbers_times_and_missing_cells_are_read_back_as_they_were(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "whole": np.array([-1, 2], np.int64),
            "part": [-1.5, np.nan],
            "yes": [True, False],
            "at": pd.to_datetime(["2024-01-01", None]),
            "note": [None, "-x"],
            "kind": pd.Categorical(["=a", "b"]),
        }
    )
    write_csv(tmp_path / "a.csv", frame)
    back = pd.read_csv(tmp_path / "a.csv", parse_dates=["at"])
    for column in ("whole", "part", "yes", "at"):
        pd.testing.assert_series_equal(back[column], frame[column], check_dtype=False)
    assert back["note"].isna().tolist() == [True, False]
    assert back["note"][1] == "'-x"
    assert back["kind"].tolist() == ["'=a", "b"]
    assert frame["note"][1] == "-x"  # what was handed in is not changed


def test_parts_that_are_appended_share_one_header(tmp_path: Path) -> None:
    for start in (0, 2):
        write_csv(tmp_path / "a.csv", pd.DataFrame({"=n": range(start, start + 2)}), append=start > 0)
    assert pd.read_csv(tmp_path / "a.csv")["'=n"].tolist() == [0, 1, 2, 3]


@given(st.lists(st.text(st.sampled_from("=+-@\t\r1.e a'"), max_size=5), min_size=1, max_size=6))
def test_no_cell_begins_with_a_formulas_sign_unless_it_is_a_number(cells: list[str]) -> None:
    for before, after in zip(cells, neutral(pd.DataFrame({"x": cells}))["x"], strict=True):
        tame = before.replace("\r", "\n")
        assert after in (tame, f"'{tame}")
        if after and after[0] in "=+-@\t\r":
            float(after)
