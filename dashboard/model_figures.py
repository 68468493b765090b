"""Charts of a model's performance: an evaluation in, Altair charts out."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard import words
from dashboard.figures import ACCENT, BAND, FAINT, INK, PADDING
from models.evaluate.curves import Curve
from models.evaluate.results import Evaluation, ModelResult

FUSED = "fused"
NOT_SOURCES = {
    FUSED: "all sources together",
    "gradient boosting": "gradient boosting",
    "best attainable": "best attainable",
}


def forest(evaluation: Evaluation, theme: str) -> alt.Chart:
    """The AUROC of every model with its interval, the best on top, the fused model in colour."""
    rows = []
    for model in evaluation.models:
        found = model.metrics["auroc"]
        if found.value is None:
            continue
        rows.append(
            {
                "Model": model_name(model.name),
                "AUROC": found.value,
                "low": found.low,
                "high": found.high,
                "fused": model.name == FUSED,
                "said": f"{found.value:.3f}",
                "95 % interval": f"{found.low:.3f}–{found.high:.3f}",
                "What it is": model.kind,
            }
        )
    frame = pd.DataFrame(rows).sort_values("AUROC", ascending=False)
    least = min(0.5, float(frame["low"].min()))
    x = alt.X("AUROC:Q", scale=alt.Scale(domain=[least, 1], nice=False), title="AUROC", axis=alt.Axis(tickCount=6))
    x_low = alt.X("low:Q", scale=alt.Scale(domain=[least, 1], nice=False), title="AUROC")
    y = alt.Y("Model:N", sort=list(frame["Model"]), title=None, axis=alt.Axis(labelLimit=190, ticks=False))
    colour = alt.condition(alt.datum.fused, alt.value(ACCENT[theme]), alt.value(FAINT[theme]))
    base = alt.Chart(frame).encode(y=y, tooltip=["Model", "said", "95 % interval", "What it is"], color=colour)
    chance = alt.Chart(pd.DataFrame({"AUROC": [0.5]})).mark_rule(strokeDash=[4, 4], color=FAINT[theme])
    return _plain(
        alt.layer(
            chance.encode(x=x),
            base.mark_rule(strokeWidth=2.5).encode(x=x_low, x2="high:Q"),
            base.mark_point(filled=True, size=110, opacity=1).encode(x=x),
            base.mark_text(dy=-11, fontSize=11).encode(x=x, text="said:N", color=alt.value(INK[theme])),
        ).properties(height=38 * len(frame) + 40, width="container")
    )


def reliability(model: ModelResult, theme: str) -> alt.Chart:
    """How often the outcome came, over the risk that was stated; on the dotted line the two are equal."""
    curve = pd.DataFrame(
        {
            "risk": model.reliability.risk,
            "frequency": model.reliability.frequency,
            "low": model.reliability.low,
            "high": model.reliability.high,
        }
    )
    bins = pd.DataFrame([vars(found) for found in model.reliability.bins])
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("risk:Q", scale=scale, axis=alt.Axis(format="%", tickCount=5), title="risk that the model states")
    y = alt.Y("frequency:Q", scale=scale, axis=alt.Axis(format="%", tickCount=5), title="how often it happened")
    equal = alt.Chart(pd.DataFrame({"risk": [0, 1], "frequency": [0, 1]})).mark_line(
        strokeDash=[4, 4], color=FAINT[theme], strokeWidth=1.2
    )
    band = alt.Chart(curve).mark_area(color=ACCENT[theme], opacity=0.16)
    line = alt.Chart(curve).mark_line(color=ACCENT[theme], strokeWidth=2)
    whiskers = alt.Chart(bins).mark_rule(color=FAINT[theme])
    dots = alt.Chart(bins).mark_point(filled=True, color=INK[theme], size=45, opacity=1)
    tooltip = [
        alt.Tooltip("n:Q", title="cases"),
        alt.Tooltip("events:Q", title="with the outcome"),
        alt.Tooltip("risk:Q", title="mean risk", format=".1%"),
        alt.Tooltip("frequency:Q", title="how often it happened", format=".1%"),
    ]
    return _plain(
        alt.layer(
            equal.encode(x=x, y=y),
            band.encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q"),
            line.encode(x=x, y=y),
            whiskers.encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q"),
            dots.encode(x=x, y=y, tooltip=tooltip),
        ).properties(height=330, width="container")
    )


def roc(evaluation: Evaluation, theme: str) -> alt.Chart:
    """Sensitivity against false alarms for the fused model and each single source."""
    parts = []
    for model in evaluation.models:
        if model.name == FUSED or model.where_available is not None:
            parts.append(_points(model.roc).assign(Model=model_name(model.name), fused=model.name == FUSED))
    frame = pd.concat(parts, ignore_index=True)
    scale = alt.Scale(domain=[0, 1], nice=False)
    percent = alt.Axis(format="%", tickCount=5)
    x = alt.X("x:Q", scale=scale, axis=percent, title="false alarms (of those without the outcome)")
    y = alt.Y("y:Q", scale=scale, axis=percent, title="found (of those with the outcome)")
    lines = alt.Chart(frame).mark_line().encode(
        x=x, y=y, detail="Model:N", order="order:Q", tooltip=["Model"],
        color=alt.condition(alt.datum.fused, alt.value(ACCENT[theme]), alt.value(FAINT[theme])),
        strokeWidth=alt.condition(alt.datum.fused, alt.value(2.6), alt.value(1)),
        opacity=alt.condition(alt.datum.fused, alt.value(1), alt.value(0.55)),
    )  # fmt: skip
    chance = alt.Chart(pd.DataFrame({"x": [0, 1], "y": [0, 1]})).mark_line(strokeDash=[4, 4], color=FAINT[theme])
    return _plain(alt.layer(chance.encode(x=x, y=y), lines).properties(height=330, width="container"))


def risks(model: ModelResult, theme: str) -> alt.Chart:
    """How many cases were given which risk, with and without the outcome."""
    steps = len(model.reliability.histogram_events)
    rows = [
        {"from": i / steps, "to": (i + 1) / steps, "Cases": counted[i], "Outcome": outcome}
        for outcome, counted in (
            ("with the outcome", model.reliability.histogram_events),
            ("without", model.reliability.histogram_others),
        )
        for i in range(steps)
    ]
    colour = alt.Scale(domain=["with the outcome", "without"], range=[ACCENT[theme], BAND[theme]])
    return _plain(
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(stroke=FAINT[theme], strokeWidth=0.4)
        .encode(
            x=alt.X("from:Q", bin="binned", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"), title="risk"),
            x2="to:Q",
            y=alt.Y("Cases:Q", stack=True, title="cases"),
            color=alt.Color("Outcome:N", scale=colour, legend=alt.Legend(orient="top", title=None)),
            tooltip=["Outcome", "Cases"],
        )
        .properties(height=200, width="container")
    )


def training(history: Sequence[Mapping[str, Any]], theme: str) -> alt.Chart:
    """The losses of every pass, with the one whose weights were kept."""
    frame = pd.DataFrame(history)
    long = frame.melt(["number"], ["training_loss", "validation_loss"], "Split", "Loss")
    long["Split"] = long["Split"].str.removesuffix("_loss")
    best = frame[frame["best"]].tail(1)
    colour = alt.Scale(domain=["training", "validation"], range=[FAINT[theme], ACCENT[theme]])
    x = alt.X("number:Q", title="pass over the training cases", axis=alt.Axis(tickMinStep=1, format="d", grid=False))
    y = alt.Y("Loss:Q", scale=alt.Scale(zero=False), title="log-loss")
    lines = alt.Chart(long).mark_line(strokeWidth=2).encode(
        x=x, y=y, color=alt.Color("Split:N", scale=colour, legend=alt.Legend(orient="top", title=None)),
        tooltip=["Split", alt.Tooltip("Loss:Q", format=".4f"), alt.Tooltip("number:Q", title="pass")],
    )  # fmt: skip
    kept = alt.Chart(best).mark_point(filled=True, size=110, color=ACCENT[theme], opacity=1)
    return _plain(
        alt.layer(lines, kept.encode(x=x, y="validation_loss:Q", tooltip=[alt.Tooltip("number:Q", title="kept")]))
        .properties(height=200, width="container")
    )  # fmt: skip


def model_name(name: str) -> str:
    """A model of an evaluation in words."""
    return NOT_SOURCES[name].capitalize() if name in NOT_SOURCES else f"{words.label(name)} alone"


def _points(curve: Curve) -> pd.DataFrame:
    return pd.DataFrame({"x": curve.x, "y": curve.y, "order": range(len(curve.x))})


def _plain(chart: "alt.Chart | alt.LayerChart | alt.FacetChart") -> alt.Chart:
    made: alt.Chart = chart.properties(padding=PADDING).configure_view(stroke=None)
    return made
