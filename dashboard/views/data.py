"""Where the cases come from: what was ingested, refused and left out. Everything that came in is accounted for."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import session, words
from dashboard.views.parts import data_table, disclaimer, empty


def page() -> None:
    """The deliveries, then the cohort."""
    place = session.current()
    st.title("Data", anchor=False)
    st.markdown("Every record that came in was used, refused or skipped, and the three add up.")
    deliveries = session.ingests(place)
    st.header("What was ingested", anchor=False)
    if deliveries:
        _deliveries(deliveries)
    else:
        empty("No account of an ingest is kept here.", f"telltale ingest SOURCE --workspace {place.workspace.root}")
    st.header("Who became a case", anchor=False)
    report = session.align_report(place)
    if report is None:
        empty(
            f"The task {place.task} has no cohort yet.",
            f"telltale align --workspace {place.workspace.root} --task {place.task}",
        )
    else:
        _cohort(report)
    disclaimer()


def _deliveries(deliveries: list[dict[str, Any]]) -> None:
    latest = deliveries[0]
    with st.container(horizontal=True):
        for name, key, meaning in (
            ("Records in", "in", "Lines, bundle entries, table rows or files of the latest delivery."),
            ("Used", "used", "Records whose content is now in the observation table."),
            ("Refused", "refused", "Records that are wrong; each is kept in quarantine with its reason."),
            ("Skipped", "skipped", "Records left out for a reason that is no fault of theirs."),
            ("Observations", "observations", "Rows of the observation table that came of it."),
        ):
            st.metric(name, f"{int(latest.get(key, 0)):,}", help=meaning, border=True)
    formats = latest.get("by_format", {})
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("By format", anchor=False)
        rows = [{"Format": name, **{k.capitalize(): v for k, v in count.items()}} for name, count in formats.items()]
        data_table(pd.DataFrame(rows), hide_index=True)
    with right:
        st.subheader("Why skipped, and what was noted", anchor=False)
        reasons = [
            {"Count": n, "Why": why} for part in ("skip_reasons", "notes") for why, n in latest.get(part, {}).items()
        ]
        if reasons:
            data_table(pd.DataFrame(reasons), hide_index=True)
        else:
            st.caption("Nothing was skipped.")
    if latest.get("refusals"):
        st.subheader("Refused", anchor=False)
        data_table(pd.DataFrame(latest["refusals"]), hide_index=True)
    if len(deliveries) > 1:
        with st.expander(f"All {len(deliveries)} deliveries"):
            keys = ("run", "in", "used", "refused", "skipped", "observations", "subjects")
            data_table(pd.DataFrame([{k: d.get(k) for k in keys} for d in deliveries]), hide_index=True)


def _cohort(report: dict[str, Any]) -> None:
    with st.container(horizontal=True):
        for name, key, meaning in (
            ("Candidates", "candidates", "Index events found, before any exclusion."),
            ("Cases", "cases", "Candidates that were taken in."),
            ("With the outcome", "events", "Cases in which the outcome came within the horizon."),
        ):
            if key in report:
                st.metric(name, f"{int(report[key]):,}", help=meaning, border=True)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Excluded, by reason", anchor=False)
        if report.get("excluded"):
            rows = [{"Cases": n, "Reason": why} for why, n in report["excluded"].items()]
            data_table(pd.DataFrame(rows), hide_index=True)
        else:
            st.caption("Nobody was excluded.")
    with right:
        splits = report.get("splits", {})
        if splits:
            st.subheader("Parts of the data", anchor=False)
            rows = [{"Part": n, "Cases": c["cases"], "With the outcome": c["events"]} for n, c in splits.items()]
            data_table(pd.DataFrame(rows), hide_index=True)
    streams = report.get("streams", {})
    if not streams:
        return
    st.subheader("Sources", anchor=False, help="Values left out, by reason: above all those that became available "
                 "only after the index time.")  # fmt: skip
    rows = [
        {
            "Source": words.label(name),
            "Cases with it": stream["present"],
            "Values used": stream["used"],
            "Left out": "; ".join(f"{n:,} {why}" for why, n in stream["left_out"].items()) or "none",
            "Of those used": "; ".join(f"{n:,} {what}" for what, n in stream.get("noted", {}).items()) or "none",
        }
        for name, stream in streams.items()
    ]
    shown = pd.DataFrame(rows)
    if not any(stream.get("noted") for stream in streams.values()):
        shown = shown.drop(columns="Of those used")
    data_table(shown, hide_index=True)


page()
