"""Charts of one case: values in, Altair charts out. Nothing is read here."""

from collections.abc import Mapping, Sequence
from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from dashboard import words
from dashboard.inputs import Channel, Sound
from explain.explanation import Element

RAISES, LOWERS = "#E07020", "#2F7DCC"
ACCENT = {"light": "#0F6B7C", "dark": "#4FB6C6"}
INK = {"light": "#1D2A30", "dark": "#E4ECEF"}
FAINT = {"light": "#8A999F", "dark": "#7F9098"}
BAND = {"light": "#E3EAED", "dark": "#263339"}
PADDING = {"left": 0, "right": 4, "top": 4, "bottom": 2}
MOST_COLUMNS = 120  # of a spectrogram on a page
MOST_POINTS = 4800  # of the lines of a waveform, all leads together
_SECONDS = alt.Axis(title="seconds", grid=False, tickCount=6, format="~g")


def risk_range(risk: float, low: float, high: float, average: float, theme: str) -> alt.Chart:
    """The risk and its 90 % interval on a scale from 0 to 100 %, with the average case marked."""
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None, grid=False, domain=False, tickSize=0)
    x = alt.X("low:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    frame = pd.DataFrame(
        {
            "low": [low],
            "high": [high],
            "risk": [risk],
            "average": [average],
            "Risk": [words.percent(risk)],
            "Likely between": [words.between(low, high)],
            "Average case": [words.percent(average)],
        }
    )
    tooltip = ["Risk", "Likely between", "Average case"]
    track = alt.Chart(pd.DataFrame({"low": [0], "high": [1]})).mark_bar(height=14, cornerRadius=7, color=BAND[theme])
    bar = alt.Chart(frame).mark_bar(height=14, cornerRadius=7, color=ACCENT[theme], opacity=0.5)
    rule = alt.Chart(frame).mark_tick(thickness=2, size=34, color=FAINT[theme])
    name = alt.Chart(frame).mark_text(dy=-24, color=FAINT[theme], fontSize=12, align=_side(average))
    dot = alt.Chart(frame).mark_point(filled=True, size=210, color=ACCENT[theme], opacity=1)
    return _plain(
        alt.layer(
            track.encode(x=x, x2="high:Q"),
            bar.encode(x=x, x2="high:Q", tooltip=tooltip),
            rule.encode(x="average:Q", tooltip=tooltip),
            name.encode(x="average:Q", text=alt.value(f"average case {words.percent(average)}")),
            dot.encode(x="risk:Q", tooltip=tooltip),
        ).properties(height=104, width="container")
    )


def contributions(streams: Mapping[str, float], absent: Sequence[str], theme: str) -> alt.Chart:
    """Each stream's share of the log-odds as a diverging bar, the largest first; absent streams are named."""
    present = sorted(streams, key=lambda name: -abs(streams[name]))
    frame = pd.DataFrame(
        [
            {
                "source": words.label(name),
                "share": streams[name],
                "said": words.signed(streams[name]),
                "Meaning": words.direction(streams[name]),
                "Odds": words.odds(streams[name]),
            }
            for name in present
        ]
        + [
            {"source": words.label(n), "share": 0.0, "said": "absent", "Meaning": "this source was absent", "Odds": ""}
            for n in absent
        ]
    )
    furthest = 1.3 * max([abs(value) for value in streams.values()] or [0], default=0) or 1.0
    order = list(frame["source"])
    y = alt.Y("source:N", sort=order, title=None, axis=alt.Axis(labelFontSize=13, labelLimit=160, ticks=False))
    x = alt.X(
        "share:Q",
        scale=alt.Scale(domain=[-furthest, furthest]),
        title="◀ lowers the model's risk\u2003·\u2003log-odds\u2003·\u2003raises the model's risk ▶",
        axis=alt.Axis(tickCount=5, grid=True),
    )
    tooltip = [alt.Tooltip("source", title="Source"), alt.Tooltip("said", title="Share (log-odds)")]
    tooltip += [alt.Tooltip("Odds"), alt.Tooltip("Meaning")]
    base = alt.Chart(frame).encode(y=y, x=x, tooltip=tooltip)
    bars = base.mark_bar(cornerRadius=3, height={"band": 0.62}).encode(
        color=alt.condition(alt.datum.share > 0, alt.value(RAISES), alt.value(LOWERS))
    )
    zero = alt.Chart(pd.DataFrame({"share": [0.0]})).mark_rule(color=FAINT[theme]).encode(x="share:Q")
    right = base.transform_filter((alt.datum.share >= 0) & (alt.datum.said != "absent")).mark_text(align="left", dx=5)
    left = base.transform_filter(alt.datum.share < 0).mark_text(align="right", dx=-5)
    nothing = base.transform_filter(alt.datum.said == "absent").mark_text(align="left", dx=6, fontStyle="italic")
    return _plain(
        alt.layer(
            zero,
            bars,
            right.encode(text="said:N", color=alt.value(INK[theme])),
            left.encode(text="said:N", color=alt.value(INK[theme])),
            nothing.encode(text="said:N", color=alt.value(FAINT[theme])),
        ).properties(height=34 * len(frame) + 44, width="container")
    )


def over_time(channel: Channel, theme: str) -> alt.Chart:
    """One channel over the hours before the index time, on a band of what is usual among the training cases."""
    start = -(channel.window_hours or max(-channel.values["hours"].min(), 1.0))
    lowest = min(channel.values["value"].min(), channel.usual_low)
    highest = max(channel.values["value"].max(), channel.usual_high)
    room = 0.08 * (highest - lowest or 1.0)
    x = alt.X("hours:Q", scale=alt.Scale(domain=[start, 0], nice=False), axis=_hours_axis(start))
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=[lowest - room, highest + room], nice=False, zero=False),
        axis=alt.Axis(title=None, tickCount=3, grid=False, labelFontSize=10, domain=False, ticks=False),
    )
    band = alt.Chart(
        pd.DataFrame({"hours": [start], "end": [0.0], "value": [channel.usual_low], "top": [channel.usual_high]})
    ).mark_rect(color=BAND[theme])
    shown = channel.values.assign(
        Time=[words.before(hours) for hours in channel.values["hours"]],
        Value=[f"{words.number(value)} {channel.unit}".strip() for value in channel.values["value"]],
    )
    base = alt.Chart(shown).encode(x=x, y=y, tooltip=["Value", "Time"])
    return _plain(
        alt.layer(
            band.encode(x=x, x2="end:Q", y=y, y2="top:Q"),
            base.mark_line(color=ACCENT[theme], strokeWidth=1.6, interpolate="linear"),
            base.mark_point(color=ACCENT[theme], filled=True, size=22, opacity=1),
        ).properties(height=104, width="container")
    )


def spectrogram(sound: Sound, theme: str) -> alt.Chart:
    """The recording's levels over seconds and pitch."""
    step = max(1, -(-len(sound.levels) // MOST_COLUMNS))
    rows = [
        (start * sound.seconds_per_frame, (start + step) * sound.seconds_per_frame, band, float(level))
        for start in range(0, len(sound.levels), step)
        for band, level in enumerate(sound.levels[start : start + step].mean(0))
    ]
    frame = pd.DataFrame(rows, columns=["start", "end", "band", "level"])
    frame["above"] = frame["band"] + 1
    low, high = float(frame["level"].quantile(0.02)), float(frame["level"].quantile(0.995))
    pitch = alt.Axis(title="pitch ▶", labels=False, ticks=False, grid=False, domain=False)
    shade = alt.Scale(scheme="greys", reverse=theme == "dark", domain=[low, max(high, low + 1e-6)], clamp=True)
    return _plain(
        alt.Chart(frame)
        .mark_rect(clip=True)
        .encode(
            x=alt.X("start:Q", scale=_seconds_scale(sound), axis=_SECONDS),
            x2="end:Q",
            y=alt.Y("band:Q", axis=pitch, scale=alt.Scale(domain=[0, int(frame["above"].max())], nice=False)),
            y2="above:Q",
            color=alt.Color("level:Q", scale=shade, legend=None),
            tooltip=[
                alt.Tooltip("start:Q", title="second", format=".1f"),
                alt.Tooltip("level:Q", title="level (dB)", format=".0f"),
            ],
        )
        .properties(height=170, width="container")
    )


def waveform(sound: Sound, theme: str) -> alt.Chart:
    """The leads of a recording, one below the other on one scale, over seconds."""
    step = float(
        np.nanmax([np.ptp(lead[np.isfinite(lead)]) if np.isfinite(lead).any() else 0 for lead in sound.levels.T])
    )
    step = step or 1.0
    most = MOST_POINTS // (2 * len(sound.leads))
    rows = []
    for place, (name, lead) in enumerate(zip(sound.leads, sound.levels.T, strict=True)):
        centre = float(np.nanmedian(lead)) if np.isfinite(lead).any() else 0.0
        for at in _extremes(lead, most):
            value = float(lead[at])
            height = (value - centre) / step - place
            rows.append((name, at * sound.seconds_per_frame, None if np.isnan(value) else height, value))
    frame = pd.DataFrame(rows, columns=["lead", "second", "height", "value"])
    names = pd.DataFrame({"lead": list(sound.leads), "height": [0.3 - place for place in range(len(sound.leads))]})
    heights = alt.Scale(domain=[0.6 - len(sound.leads), 0.8], nice=False)
    y = alt.Y("height:Q", scale=heights, axis=None)
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=1, color=ACCENT[theme])
        .encode(
            x=alt.X("second:Q", scale=_seconds_scale(sound), axis=_SECONDS),
            y=y,
            detail="lead:N",
            tooltip=[
                alt.Tooltip("lead:N", title="lead"),
                alt.Tooltip("second:Q", title="second", format=".2f"),
                alt.Tooltip("value:Q", title=sound.unit or "value", format=".3g"),
            ],
        )
    )
    labels = alt.Chart(names).mark_text(align="left", dx=2, color=FAINT[theme], fontSize=11)
    labels = labels.encode(x=alt.value(0), y=y, text="lead:N")
    height = max(34 * len(sound.leads), 120)
    return _plain(alt.layer(lines, labels).properties(height=height, width="container"))


def _extremes(lead: np.ndarray, buckets: int) -> list[int]:
    """Places that keep a line's look: the least and the greatest of each bucket, in order; all where they are few."""
    if len(lead) <= 2 * buckets:
        return list(range(len(lead)))
    places = []
    for part in np.array_split(np.arange(len(lead)), buckets):
        values = np.nan_to_num(lead[part])
        places += sorted({int(part[values.argmin()]), int(part[values.argmax()])})
    return places


def stretch_shares(sound: Sound, stretches: Sequence[Element], theme: str) -> alt.Chart:
    """Each stretch's share of the log-odds, on the same seconds as the spectrogram."""
    length = len(sound.levels) * sound.seconds_per_frame
    frame = pd.DataFrame(
        [
            (e.position[0], min(e.position[1], length), e.value, words.signed(e.value), words.direction(e.value))
            for e in stretches
            if len(e.position) == 2
        ],
        columns=["start", "end", "share", "Share", "Meaning"],
    )
    furthest = max(float(frame["share"].abs().max()), 1e-9) if len(frame) else 1.0
    share = alt.Axis(title="share", labels=False, ticks=False, grid=False, domain=False)
    return _plain(
        alt.Chart(frame)
        .mark_bar(stroke=BAND[theme], strokeWidth=0.5)
        .encode(
            x=alt.X("start:Q", scale=_seconds_scale(sound), axis=None),
            x2="end:Q",
            y=alt.Y("share:Q", axis=share, scale=alt.Scale(domain=[-furthest, furthest])),
            y2=alt.datum(0),
            color=alt.condition(alt.datum.share > 0, alt.value(RAISES), alt.value(LOWERS)),
            tooltip=["Share", "Meaning", alt.Tooltip("start:Q", title="from second", format=".1f")],
        )
        .properties(height=60, width="container")
    )


def _seconds_scale(sound: Sound) -> alt.Scale:
    return alt.Scale(domain=[0, len(sound.levels) * sound.seconds_per_frame], nice=False)


def _hours_axis(start: float) -> alt.Axis:
    return alt.Axis(
        title=None,
        values=[start, start / 2, 0],
        labelExpr="datum.value == 0 ? 'index' : datum.value + ' h'",
        labelFlush=True,
        labelFontSize=10,
        grid=False,
        tickSize=3,
    )


def _side(place: float) -> Literal["left", "center", "right"]:
    return "left" if place < 0.12 else "right" if place > 0.88 else "center"


def _plain(chart: "alt.Chart | alt.LayerChart | alt.FacetChart") -> alt.Chart:
    """No frame and little padding: what all charts share."""
    made: alt.Chart = chart.properties(padding=PADDING).configure_view(stroke=None)
    return made
