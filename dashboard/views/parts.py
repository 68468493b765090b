"""Small parts that several pages share."""

from typing import Any

import pandas as pd
import streamlit as st

from ingest.exports.safe_csv import neutral

DISCLAIMER = (
    "Decision support for people who review its reasons. It does not decide, and it is not validated for clinical use. "
    "Shares say what moves the model's risk, not what makes a patient ill."
)


def empty(sentence: str, command: str) -> None:
    """What is missing, and the command that makes it."""
    with st.container(border=True, width=760):
        st.text(sentence)
        st.caption("Run this, then reload the page:")
        st.code(command, language=None)


def data_table(frame: pd.DataFrame, **options: Any) -> Any:
    """A table as `st.dataframe` shows it, whose own download as CSV no spreadsheet takes for formulas. (FAULTS 34)

    What somebody wrote in a comment, or a source in a code, is downloaded as it is shown: with an apostrophe before it
    where it would be a formula. Whole numbers stand with separators, as they do in the text around.
    """
    whole = [name for name, column in frame.items() if pd.api.types.is_integer_dtype(column)]
    counts = {str(name): st.column_config.NumberColumn(format="localized") for name in whole}
    options["column_config"] = {**counts, **options.get("column_config", {})}
    return st.dataframe(neutral(frame), **options)


def disclaimer() -> None:
    """What the dashboard is not, at the foot of a page."""
    st.caption(DISCLAIMER)


def theme() -> str:
    """light or dark, as the reader sees the page."""
    return "dark" if st.context.theme.type == "dark" else "light"
