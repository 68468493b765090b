"""Small parts that several pages share."""

import streamlit as st

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


def disclaimer() -> None:
    """What the dashboard is not, at the foot of a page."""
    st.caption(DISCLAIMER)


def theme() -> str:
    """light or dark, as the reader sees the page."""
    return "dark" if st.context.theme.type == "dark" else "light"
