"""How good the model is: on held-back cases, beside each source alone, by missing sources, and its history."""

import pandas as pd
import streamlit as st

from dashboard import model_figures, session, words
from dashboard.session import Place
from dashboard.views.parts import data_table, disclaimer, empty, theme
from models.evaluate.results import Estimate, Evaluation, SubgroupResult

MEASURES = {
    "auroc": ("AUROC", "How often a case with the outcome gets the higher risk of two. 0.5 is chance, 1 is perfect."),
    "auprc": ("AUPRC", "Precision averaged over sensitivity. Chance is the share of cases with the outcome."),
    "brier": ("Brier score", "Mean squared error of the risk. Lower is better."),
    "calibration_slope": ("Calibration slope", "1: risks are as spread as they should be. Below 1: too extreme."),
    "calibration_error": ("Calibration error", "How far the stated risk is from how often it happens, on average."),
}
PHASES = {"alone": "First, each source by itself", "together": "Then all sources together"}


def page() -> None:
    """Everything known of one version."""
    place = session.current()
    versions = session.model_versions(place)
    if not versions:
        empty(
            f"The task {place.task} has no model yet.",
            f"telltale train --workspace {place.workspace.root} --task {place.task}",
        )
        return
    changes = session.champions(place.workspace, place.task)
    champion = changes[-1].version if changes else None
    st.title("Model", anchor=False)
    if st.session_state.get("filter_version") not in versions:
        st.session_state["filter_version"] = champion if champion in versions else versions[-1]
    version = st.selectbox(
        "Version", versions[::-1], width=320,
        format_func=lambda name: f"{name} (champion: it serves)" if name == champion else name, key="filter_version",
    )  # fmt: skip
    found = session.evaluation(place, version)
    if found is None:
        empty(
            f"Version {version} has not been evaluated yet.",
            f"telltale evaluate --workspace {place.workspace.root} --task {place.task}",
        )
    else:
        _performance(found)
    _history(place, version)
    disclaimer()


def _performance(found: Evaluation) -> None:
    fused = found.model("fused")
    st.markdown(
        f"On the **{found.split}** cases, which took no part in fitting: {found.n:,} cases of {found.subjects:,} "
        f"subjects, {found.events:,} with the outcome ({words.percent(found.prevalence)}). Ranges are 95 % intervals."
    )
    with st.container(horizontal=True):
        for measure, (name, meaning) in MEASURES.items():
            estimate = fused.metrics[measure]
            value = "–" if estimate.value is None else f"{estimate.value:.3f}"
            spread = estimate.reason if estimate.value is None else f"{estimate.low:.3f} to {estimate.high:.3f}"
            st.metric(name, value, spread, delta_color="off", delta_arrow="off", help=meaning, border=True)
    _compared(found)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Do the risks mean what they say?", anchor=False, help="Dots are groups of cases of similar risk; "
                     "the curve is smoothed, with its 95 % band.")  # fmt: skip
        st.altair_chart(model_figures.reliability(fused, theme()), key="reliability")
    with right:
        st.subheader("Found against false alarms", anchor=False, help="The ROC curve of all sources together "
                     "(coloured) and of each source alone (grey; point at one for its name).")  # fmt: skip
        st.altair_chart(model_figures.roc(found, theme()), key="roc")
    _thresholds(found)
    if found.subgroups:
        _subgroups(found)
    left, right = st.columns(2, gap="large")
    with left:
        _patterns(found)
    with right:
        st.subheader("Which risks it gives", anchor=False)
        st.altair_chart(model_figures.risks(fused, theme()), key="risks")


def _compared(found: Evaluation) -> None:
    st.subheader(
        "Is putting the sources together worth it?", anchor=False,
        help="AUROC of the fused model, of networks that see one source alone, and of rivals, on the same cases.",
    )  # fmt: skip
    st.altair_chart(model_figures.forest(found, theme()), key="forest")
    lines = []
    if found.best_single is not None:
        difference = found.difference(found.best_single).estimate
        lines.append(
            f"Over the best single source ({words.inside(found.best_single)}), all together gain "
            f"**{_signed(difference)}** AUROC."
        )
    if found.attained is not None and found.attained.value is not None:
        lines.append(
            f"The outcomes here are simulated, so the best attainable is known: the model reaches "
            f"**{100 * found.attained.value:.1f}{words.SPACE}%** of its AUROC."
        )
    if lines:
        st.markdown(" ".join(lines))


def _thresholds(found: Evaluation) -> None:
    st.subheader("If cases above a risk were flagged", anchor=False)
    data_table(
        pd.DataFrame(
            [
                {
                    "Flag at": words.percent(point.threshold),
                    "Flagged": f"{point.flagged:,} of {found.n:,}",
                    "Found (sensitivity)": _share(point.sensitivity),
                    "Left alone rightly (specificity)": _share(point.specificity),
                    "Right when flagged (PPV)": _share(point.positive_predictive_value),
                }
                for point in found.operating_points
            ]
        ),
        hide_index=True,
    )


def _subgroups(found: Evaluation) -> None:
    st.subheader(
        "For which groups", anchor=False, help="Each group beside all other cases: a difference counts where its range "
        "excludes 0; of twenty, one does so by chance. Found and right: with a tenth of all cases flagged.",
    )  # fmt: skip
    data_table(pd.DataFrame([_group_row(group) for group in found.subgroups]).fillna(""), hide_index=True, height=260)


def _group_row(group: SubgroupResult) -> dict[str, str | int]:
    row: dict[str, str | int] = {
        "Group": f"{group.grouping}: {group.group}",
        "Cases": group.n,
        "With outcome": group.events,
    }
    if not group.metrics:
        return {**row, "AUROC": group.reason}
    return {
        **row,
        "AUROC": str(group.metrics["auroc"]),
        "Less the rest": _signed(group.differences["auroc"]),
        "Found (sensitivity)": _share(group.metrics["sensitivity"]),
        "Right when flagged (PPV)": _share(group.metrics["positive_predictive_value"]),
    }


def _patterns(found: Evaluation) -> None:
    st.subheader(
        "By which sources were there",
        anchor=False,
        help="The fused model among the cases that had exactly these sources.",
    )
    data_table(
        pd.DataFrame(
            [
                {
                    "Sources": ", ".join(words.label(name) for name in pattern.pattern.split(" + ")),
                    "Cases": pattern.n,
                    "With outcome": pattern.events,
                    "AUROC": str(pattern.auroc),
                }
                for pattern in found.patterns
            ]
        ),
        hide_index=True,
        height=260,
    )


def _history(place: Place, version: str) -> None:
    facts = session.training_json(place, version)
    changes = session.champions(place.workspace, place.task)
    st.divider()
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(
            "Training", anchor=False, help="The dot is the best pass. The training loss is taken with sources "
            "hidden at random, so it may lie above the validation loss.",
        )  # fmt: skip
        phases = session.phases(facts)
        for name, history in phases.items():
            st.caption(PHASES.get(name, name))
            st.altair_chart(model_figures.training(history, theme()), key=f"training {name}")
        if not phases:
            st.caption("No training curve was kept.")
    with right:
        st.subheader("Which version served when", anchor=False)
        if changes:
            data_table(
                pd.DataFrame(
                    [
                        {"Since (UTC)": c.changed_at[:16].replace("T", " "), "Champion": c.version, "Why": c.reason}
                        for c in reversed(changes)
                    ]
                ),
                hide_index=True,
            )
        else:
            st.caption("No version has been made champion yet.")
    if card := session.model_card(place, version):
        with st.expander("Model card", icon=":material/description:"):
            st.markdown(card)


def _share(estimate: Estimate) -> str:
    if estimate.value is None:
        return estimate.reason
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.0%} ({estimate.reason})"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _signed(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate.reason
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})".replace("-", "−")


page()
