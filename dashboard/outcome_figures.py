"""Charts of what is predicted beside the risk: values in, Altair charts out."""

from collections.abc import Mapping

import altair as alt
import pandas as pd

from dashboard import words
from dashboard.figures import ACCENT, BAND, INK, PADDING

COLOURS = ["#0F6B7C", "#E07020", "#7A5BA6", "#5B8C3A", "#B23A48", "#8A7A3A"]  # of causes, told apart without hue too
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3]]
_PERCENT = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None, grid=True)


def chances(named: Mapping[str, float], theme: str) -> alt.Chart:
    """A bar for each class or label, on a scale from 0 to 100 %, in the order that the task names them."""
    frame = pd.DataFrame(
        [{"what": name, "chance": value, "said": words.percent(value)} for name, value in named.items()]
    )
    y = alt.Y("what:N", sort=list(named), title=None, axis=alt.Axis(labelFontSize=13, labelLimit=200, ticks=False))
    x = alt.X("chance:Q", scale=alt.Scale(domain=[0, 1.12]), axis=_PERCENT)
    tooltip = [alt.Tooltip("what", title="Outcome"), alt.Tooltip("said", title="Probability")]
    base = alt.Chart(frame).encode(y=y, x=x, tooltip=tooltip)
    bars = base.mark_bar(cornerRadius=3, height={"band": 0.62}, color=ACCENT[theme])
    texts = base.mark_text(align="left", dx=5, color=INK[theme]).encode(text="said:N")
    return _plain(alt.layer(bars, texts).properties(height=30 * len(frame) + 30, width="container"))


def incidence(curves: Mapping[str, tuple[tuple[float, float], ...]], theme: str) -> alt.Chart:
    """The probability that each cause has come by each hour: straight between the ends of intervals."""
    rows = [
        {"Cause": cause, "hours": hours, "chance": value, "said": words.percent(value)}
        for cause, points in curves.items()
        for hours, value in points
    ]
    names = list(curves)
    x = alt.X("hours:Q", title="hours after the index time", axis=alt.Axis(grid=False))
    y = alt.Y("chance:Q", scale=alt.Scale(domain=[0, 1]), axis=_PERCENT)
    colour = alt.Color(
        "Cause:N",
        sort=names,
        scale=alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))]),
        legend=alt.Legend(title=None, orient="top"),
    )
    dash = alt.StrokeDash(
        "Cause:N",
        scale=alt.Scale(domain=names, range=[DASHES[i % len(DASHES)] for i in range(len(names))]),
        legend=None,
    )
    tooltip = [alt.Tooltip("Cause"), alt.Tooltip("hours:Q", title="by hour", format=".4~g")]
    tooltip += [alt.Tooltip("said", title="Probability")]
    base = alt.Chart(pd.DataFrame(rows)).encode(x=x, y=y, tooltip=tooltip)
    half = alt.Chart(pd.DataFrame({"chance": [0.5]})).mark_rule(color=BAND[theme]).encode(y="chance:Q")
    lines = base.mark_line(strokeWidth=2.5).encode(color=colour, strokeDash=dash)
    dots = base.mark_point(filled=True, size=40).encode(color=colour)
    return _plain(alt.layer(half, lines, dots).properties(height=220, width="container"))


def _plain(chart: alt.LayerChart | alt.FacetChart) -> alt.Chart:
    made: alt.Chart = chart.properties(padding=PADDING).configure_view(stroke=None)
    return made
