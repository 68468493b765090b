"""The worklist: scored cases by risk, highest first, with filters; a click on a row opens the case."""

import streamlit as st

from dashboard import session, words
from dashboard.session import Place
from dashboard.views.parts import data_table, disclaimer, empty
from dashboard.worklist import ANY, Filters, Listed, counts, listed, streams_of
from ingest.task import Task

MOST_ROWS = 1000  # shown at once; the filters reach all the others


def page() -> None:
    """Counts, filters and the table."""
    place = session.current()
    scores = session.scores(place)
    if scores.empty:
        empty(
            f"The task {place.task} has no scored cases yet.",
            f"telltale score --workspace {place.workspace.root} --task {place.task}",
        )
        return
    task = session.task_of(place)
    st.title("Worklist", anchor=False)
    st.markdown(f"{words.plain(words.asked(task))} Model version **{place.version}**.")
    reviewed = session.latest_reviews(place)
    totals = st.container(horizontal=True)
    filters = _filters(streams_of(scores), sorted(scores["split"].unique()))
    shown = listed(scores, reviewed, filters, session.stale(place))
    threshold = filters.least_risk or 0.5
    with totals:
        for name, value, meaning in counts(scores, reviewed, threshold):
            st.metric(name, value, help=meaning, border=True)
    _table(place, task, shown)
    disclaimer()


def _filters(streams: list[str], splits: list[str]) -> Filters:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input("Case", key="filter_search", placeholder="Search by case id", width=210)
        least = st.number_input(
            "Risk at least (%)", 0, 100, step=5, key="filter_risk", width=170,
            help="Only cases whose risk is at least this.",
        )  # fmt: skip
        st.session_state.setdefault("filter_state", ANY)
        states = [ANY, words.UNREVIEWED, *words.VERDICTS.values()]
        state = st.segmented_control("Review", states, key="filter_state", width="content")
        chosen = len(st.session_state.get("filter_with", [])) + len(st.session_state.get("filter_without", []))
        with st.popover(f"More filters{f' ({chosen})' if chosen else ''}", icon=":material/tune:"):
            with_all = st.multiselect("Has", streams, key="filter_with", format_func=words.label)
            without = st.multiselect("Lacks", streams, key="filter_without", format_func=words.label)
            split = st.selectbox(
                "Part of the data", [ANY, *splits], key="filter_split",
                help="The model was fitted on the training part: it looks better there than it is.",
            )  # fmt: skip
    return Filters(search or "", least / 100, state or ANY, tuple(with_all), tuple(without), split or ANY)


def _table(place: Place, task: Task, shown: Listed) -> None:
    st.session_state["order"] = shown.frame["case_id"]
    if shown.frame.empty:
        st.info("No case fits these filters.")
        return
    some = shown.frame.head(MOST_ROWS)
    fits = f"{len(shown.frame):,} of {shown.of:,} cases"
    cut = f"; the {MOST_ROWS:,} with the highest risk are shown" if len(shown.frame) > MOST_ROWS else ""
    st.caption(f"{fits}, highest risk first{cut}. Click a row to open the case.")
    drivers = session.top_drivers(place, list(some["case_id"]))
    frame = shown.rows(some, drivers)
    streams = streams_of(some)
    event = data_table(
        frame,
        hide_index=True,
        height=min(36 * (len(frame) + 1) + 3, 640),
        column_config={
            "case_id": st.column_config.TextColumn("Case", width=150, pinned=True),
            "index_time": st.column_config.DatetimeColumn("Index time", format="YYYY-MM-DD HH:mm", width=140,
                                                          help="The moment at which the risk is asked, UTC."),
            "risk": st.column_config.ProgressColumn("Risk", format="%.1f %%", min_value=0, max_value=100, width=150,
                                                    help=f"The model's risk of: {task.title}."),
            "interval": st.column_config.TextColumn("90 % interval", width=104,
                                                    help="The risk is likely between these two."),
            "driver": st.column_config.TextColumn("Most telling", width=150,
                                                  help="The source with the largest share in the log-odds: ▲ raises, "
                                                  "▼ lowers the model's risk. Empty where it was not explained yet."),
            "state": st.column_config.TextColumn("Review", width=105),
            "stale": st.column_config.TextColumn("Stale", width=68,
                                                 help="The score rests on a result that has been corrected since: "
                                                 "align and score again."),
            **{f"has_{name}": st.column_config.TextColumn(words.label(name), width=68, alignment="center",
                                                          help="✓ there, · absent")
               for name in streams},
        },
        on_select="rerun",
        selection_mode=["single-row", "single-cell"],
        key="cases",
    )  # fmt: skip
    picked = event.selection.rows[:1] or [cell[0] for cell in event.selection.cells[:1]]
    if picked:
        st.session_state["case"] = str(some["case_id"].iloc[picked[0]])
        st.switch_page("views/case.py", query_params={"case": st.session_state["case"]})


page()
