"""One case: its risk and how sure, what it rests on, everything the model saw, and the reviewer's word."""

import html
from typing import Any

import streamlit as st

from dashboard import explaining, figures, inputs, outcome_figures, session, whatif, words
from dashboard.predicted import predicted
from dashboard.session import Place
from dashboard.views.panels import PANELS
from dashboard.views.parts import disclaimer, empty, theme
from dashboard.views.review import review_panel
from dashboard.worklist import neighbours, streams_of
from explain.explanation import Explanation

SAID_OF = {  # kind of what is predicted -> its heading
    "classes": "which one comes",
    "labels": "which come",
    "curves": "how soon, and what comes first",
}
SAME_LOGIT = 0.02  # beyond this an explanation was made of something other than what was scored


def page() -> None:
    """The case named in the address, else the one last opened, else the first of the worklist."""
    place = session.current()
    scores = session.scores(place)
    if scores.empty:
        command = f"telltale score --workspace {place.workspace.root} --task {place.task}"
        empty(f"The task {place.task} has no scored cases yet.", command)
        return
    case_id = st.query_params.get("case") or st.session_state.get("case") or scores["case_id"].iloc[0]
    found = scores[scores["case_id"] == case_id]
    if found.empty:
        st.warning("No scored case bears the name in the address. Choose one from the worklist.")
        st.page_link("views/worklist.py", label="To the worklist", icon=":material/arrow_back:")
        return
    st.session_state["case"] = case_id
    st.query_params["case"] = case_id
    score = found.iloc[0].to_dict()
    streams = streams_of(scores)
    _steps(scores, case_id)
    _header(place, score, streams)
    made = None if _abstained(score) else _explanation(place, case_id, score)
    if not _abstained(score):
        _predicted(place, score)
    present = [name for name in streams if score[f"has_{name}"]]
    absent = [name for name in streams if not score[f"has_{name}"]]
    if made is not None:
        left, right = st.columns([3, 2], gap="large")
        with left:
            _shares(made, absent)
        with right:
            _what_if(made, absent, float(score["risk"]))
    _inputs(place, case_id, present, absent, made)
    if not _abstained(score):  # else there is nothing to agree with
        review_panel(place, score)
    disclaimer()


def _abstained(score: dict[str, Any]) -> bool:
    """Whether the model gave no risk: an empty one."""
    return bool(score["risk"] != score["risk"])


def _steps(scores: Any, case_id: str) -> None:
    order = st.session_state.get("order")
    listed = list(order) if order is not None and case_id in set(order) else list(scores["case_id"])
    before, after, at = neighbours(listed, case_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Worklist", icon=":material/arrow_back:", type="tertiary"):
            st.switch_page("views/worklist.py")
        for name, other, icon in (
            ("Previous", before, ":material/chevron_left:"),
            ("Next", after, ":material/chevron_right:"),
        ):
            if st.button(name, icon=icon, disabled=other is None):
                st.session_state["case"] = other
                st.query_params["case"] = str(other)
                st.rerun()
        st.caption(f"{at:,} of {len(listed):,} in the worklist's order", width="content")


def _header(place: Place, score: dict[str, Any], streams: list[str]) -> None:
    held = session.cohort(place)
    row = session.positions(place).get(score["case_id"])
    person = inputs.who(held, row) if held is not None and row is not None else ""
    moment = None if score["index_time"] is None or score["index_time"] != score["index_time"] else score["index_time"]
    average = held.statistics.prevalence if held is not None else float(session.scores(place)["risk"].mean())
    risk, low, high = (float(score[part]) for part in ("risk", "risk_low", "risk_high"))
    facts = [person, f"index time {words.when(moment)}" if moment is not None else "", f"model {place.version}"]
    facts += ["the model was fitted on this case"] if score["split"] == "train" else []
    with st.container(border=True):
        left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
        with left:
            st.markdown(f"#### Case {words.plain(str(score['case_id']))}")
            st.caption(words.plain(" · ".join(fact for fact in facts if fact)))
            st.html(
                f'<div class="tt-risk">{html.escape(words.NO_RISK if _abstained(score) else words.percent(risk))}</div>'
            )
            st.caption(words.plain(words.asked(session.task_of(place))))
        with right:
            if _abstained(score):
                why_not = words.plain(_sentence(score.get("reason")))
                st.error(f"The model gives no risk. {why_not}", icon=":material/block:")
                return
            st.markdown(
                f"Risk **{words.percent(risk)}**, likely between **{words.percent(low)}** and "
                f"**{words.percent(high)}**; on average {words.percent(average)} of the cases here have this outcome.",
                help="The range is a 90 % interval: it holds what the model does not know (its members disagree, and "
                "its calibration is estimated). It does not hold the chance of the outcome itself. The average is "
                "that of the cases the model was fitted on.",
            )
            st.altair_chart(figures.risk_range(risk, low, high, average, theme()), key="range")
            if said := _sentence(score.get("warning")):
                st.warning(words.plain(said), icon=":material/warning:")
            if why := session.stale(place).get(score["case_id"]):
                st.caption(f":material/history: This score is stale. {words.plain(why[:1].upper() + why[1:])}.")
            if missing := [name for name in streams if not score[f"has_{name}"]]:
                st.caption(
                    f":material/visibility_off: Absent: {words.plain(words.listed(missing))}. The risk rests on the "
                    "other sources, and the model is less sure without them."
                )


def _predicted(place: Place, score: dict[str, Any]) -> None:
    """All else that the model says of the case, where its task asks for more than one risk."""
    for number, one in enumerate(predicted(session.task_of(place), score)):
        what = f"{words.label(one.title)}: " if one.title else ""
        if one.number is not None:
            mean, spread, unit = one.number
            low, high = (words.number(mean + side * 1.2816 * spread) for side in (-1, 1))
            st.markdown(
                f"{what}expected **{words.number(mean)}** {words.plain(words.unit_text(unit))}, "
                f"in four of five such cases between **{low}** and **{high}**."
            )
            continue
        heading = what + SAID_OF[one.kind]
        st.subheader(words.plain(heading[:1].upper() + heading[1:]), anchor=False)
        if one.curves:
            chart = outcome_figures.incidence(one.curves, theme())
        else:
            chart = outcome_figures.chances(one.chances, theme())
        st.altair_chart(chart, key=f"predicted {number}")


def _sentence(said: object) -> str:
    """What the model says of a case as a sentence; scores of before it did say nothing."""
    return f"{said[:1].upper()}{said[1:]}." if isinstance(said, str) and said else ""


def _explanation(place: Place, case_id: str, score: dict[str, Any]) -> Explanation | None:
    """The explanation, if it may be shown; else why not, and what can be done."""
    made = session.explanation(place, case_id)
    if made is not None and made.withheld:
        st.warning(
            f"The attributions of this case are withheld: they miss the model's own answer by "
            f"{made.additivity_error:.4f} log-odds, more than the tolerance allows, so they would mislead. "
            "The risk itself is not affected.",
            icon=":material/block:",
        )
    elif made is not None and (
        abs(_answered(made) - float(score["logit"])) > SAME_LOGIT
        or (made.inputs and score.get("inputs") and made.inputs != score["inputs"])
    ):
        st.warning(
            f"The explanation kept for this case was made for a risk of {words.percent(whatif.risk_of(made.logit))}, "
            "not for the one shown; it is out of date and not shown.",
            icon=":material/history:",
        )
    elif made is not None:
        return made
    else:
        st.info("This case has not been explained yet: which source moved the risk is not known.")
    if explaining.can_explain(place, case_id) and st.button(
        "Explain this case now", type="primary", icon=":material/insights:", key="explain"
    ):
        with st.spinner(
            "Asking the model with every combination of sources hidden; the first case takes about half a minute…"
        ):
            explaining.explain_now(place, case_id)
        st.rerun()
    return None


def _answered(made: Explanation) -> float:
    return made.logit if made.logit_from_features is None else made.logit_from_features


def _shares(made: Explanation, absent: list[str]) -> None:
    st.subheader(
        "What moves this risk", anchor=False,
        help="Each source's share of the log-odds: its Shapley value, the average change of the model's answer when "
        "the source is shown, over every order of showing them. All shares together lead exactly from the risk with "
        "nothing known to the risk of this case.",
    )  # fmt: skip
    st.altair_chart(figures.contributions(made.streams, absent, theme()), key="shares")
    st.caption(words.summary(made.streams, whatif.risk_of(made.base_logit)))


@st.fragment
def _what_if(made: Explanation, absent: list[str], risk: float) -> None:
    st.subheader(
        "What if a source were missing?", anchor=False,
        help="The model was trained with sources hidden at random, so it can be asked. This is what it would say of "
        "this case with the unticked sources hidden. It does not say what another value in them would do.",
    )  # fmt: skip
    with st.container(horizontal=True):
        kept = [
            name
            for name in made.streams
            if st.checkbox(words.label(name), value=True, key=f"what-if {made.case_id} {name}", width=118)
        ]
        for name in absent:
            st.checkbox(f"{words.label(name)} (absent)", value=False, disabled=True, key=f"what-if absent {name}")
    hidden = [name for name in made.streams if name not in kept]
    then = whatif.risk_with(made, kept) if hidden else risk
    title = f"Risk without {words.listed(hidden)}" if hidden else "Risk with all of its sources"
    change = words.points(then - risk) if hidden else None
    # Grey: less risk with less information is not good news, nor the other way round.
    st.metric(title, words.percent(then), change, delta_color="off", border=True)
    if not kept:
        st.caption("With nothing known, this is the model's answer for any case.")


def _inputs(place: Place, case_id: str, present: list[str], absent: list[str], made: Explanation | None) -> None:
    held = session.cohort(place)
    row = session.positions(place).get(case_id)
    if held is None or row is None:
        st.info("What the model saw of this case is not in this workspace's cohort; only its score is shown.")
        return
    st.divider()
    st.header("What the model saw", anchor=False)
    kinds = list(PANELS)
    present = sorted(present, key=lambda name: kinds.index(held.task.streams[name].kind))
    wide = [name for name in present if held.task.streams[name].kind in ("image", "series")]
    for name in wide:
        _panel(held, row, name, made)
    rest = [name for name in present if name not in wide]
    for start in range(0, len(rest), 2):
        pair = rest[start : start + 2]
        for column, name in zip(st.columns(len(pair), gap="large"), pair, strict=True):
            with column:
                _panel(held, row, name, made)
    if absent:
        st.caption(f"Absent at the index time: {words.plain(words.listed(absent))}.")
    for name in absent:
        _problem(held, row, name)


def _panel(held: Any, row: int, name: str, made: Explanation | None) -> None:
    share = made.streams.get(name) if made is not None else None
    elements = made.elements.get(name, ()) if made is not None else ()
    said = "" if share is None else f"  {words.said_share(share)} :gray[:small[{words.direction(share)}]]"
    st.subheader(f"{words.plain(words.label(name))}{said}", anchor=False)
    _problem(held, row, name)
    PANELS[held.task.streams[name].kind](held, row, name, elements)


def _problem(held: Any, row: int, name: str) -> None:
    """What was there of a stream, but could not be used, or only in part."""
    if said := inputs.problem(held, row, name):
        text = f"{words.label(name)}: {said}. " + ("" if said.startswith("partly") else "The model did not use it.")
        st.warning(words.plain(text.strip()), icon=":material/error:")


page()
