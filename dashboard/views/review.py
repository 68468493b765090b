"""The reviewer's word on a case: agree or override, kept for good, with what was said before."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import session, words
from dashboard.session import Place
from dashboard.views.parts import data_table
from ingest.errors import InputError
from serve.reviews import Review, add_review

AGREE, OVERRIDE = "Agree with the model", "Override"


def review_panel(place: Place, score: dict[str, Any]) -> None:
    """The form and the history."""
    st.divider()
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.header("Your review", anchor=False)
        _form(place, score)
    with right:
        st.header("Reviews so far", anchor=False)
        _history(session.case_reviews(place, str(score["case_id"])))


def _form(place: Place, score: dict[str, Any]) -> None:
    case_id, risk = str(score["case_id"]), float(score["risk"])
    reviewer = st.text_input("Your name", key="filter_reviewer", width=320)
    verdict = st.segmented_control("Your verdict", [AGREE, OVERRIDE], key=f"verdict {case_id}", width="content")
    own: int | None = None
    if verdict == OVERRIDE:
        own = st.slider(
            "Your own estimate of the risk", 0, 100, round(100 * risk), format="%d %%", key=f"own {case_id}", width=420
        )
    comment = st.text_area("Comment", key=f"comment {case_id}", placeholder="What decided it?", height=90)
    if st.button("Save review", type="primary", key="save", disabled=verdict is None):
        if not reviewer.strip():
            st.error("Write your name: a review is kept with who made it.")
            return
        try:
            add_review(
                place.workspace.database,
                task=place.task,
                case_id=case_id,
                model_version=str(place.version),
                reviewer=reviewer.strip(),
                verdict="agree" if verdict == AGREE else "override",
                risk=risk,
                own_risk=None if own is None else own / 100,
                comment=comment,
            )
        except InputError as error:
            st.error(words.plain(str(error)))
            return
        st.toast("Review saved.", icon=":material/check:")
        st.rerun()


def _history(kept: list[Review]) -> None:
    if not kept:
        st.caption("Nobody has reviewed this case yet.")
        return
    data_table(
        pd.DataFrame(
            {
                "When (UTC)": [review.reviewed_at[:16].replace("T", " ") for review in kept],
                "Reviewer": [review.reviewer for review in kept],
                "Verdict": [words.VERDICTS[review.verdict] for review in kept],
                "Own risk": ["" if r.own_risk is None else words.percent(r.own_risk) for r in kept],
                "Comment": [review.comment for review in kept],
                "Model": [f"{r.model_version}: {words.percent(r.risk)}" for r in kept],
            }
        ),
        hide_index=True,
    )
