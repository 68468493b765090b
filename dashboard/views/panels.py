"""One panel for each kind of stream: what the model saw of a case, with the share of every element."""

import html
from collections.abc import Callable, Sequence

import streamlit as st

from dashboard import figures, inputs, pictures, words
from dashboard.views.parts import data_table, theme
from explain.explanation import Element
from ingest.cohort import Cohort

Panel = Callable[[Cohort, int, str, Sequence[Element]], None]
SMALL = 240  # the width of one channel's chart: five in a row on a desk, three on a tablet


def _table(cohort: Cohort, row: int, stream: str, shares: Sequence[Element]) -> None:
    frame = inputs.table_rows(cohort, row, stream, shares)
    if not shares:
        frame = frame.drop(columns="share")
    data_table(
        frame,
        hide_index=True,
        height="content",
        column_order=["feature", "value", "share", "measured"],
        column_config={
            "feature": st.column_config.TextColumn("Feature", width=150),
            "value": st.column_config.TextColumn("Value", width=84),
            "measured": st.column_config.TextColumn(
                "When", width=84, help="How long before the index time it was last known; empty for fixed facts."
            ),
            "share": st.column_config.NumberColumn(
                "Share",
                format="%+.2f",
                width=84,
                help="Log-odds: above 0 raises, below 0 lowers the model's risk.",
            ),
        },
    )


def _series(cohort: Cohort, row: int, stream: str, shares: Sequence[Element]) -> None:
    shown = inputs.channels(cohort, row, stream, shares)
    with st.container(horizontal=True, gap="small"):
        for channel in shown:
            with st.container(border=True, width=SMALL, gap="small", key=f"channel {stream} {channel.name}"):
                _channel(stream, channel)
    st.caption("Hours before the index time. The band is what is usual here: mean ± one SD of the training cases.")


def _channel(stream: str, channel: inputs.Channel) -> None:
    st.markdown(f":small[{words.plain(channel.name)}] :small[{words.said_share(channel.share)}]")
    if channel.values.empty:
        st.caption("No value in the window.")
        return
    last = channel.values.iloc[-1]
    st.html(
        f'<div class="tt-value">{html.escape(words.number(float(last["value"])))} '
        f'<span class="tt-unit">{html.escape(channel.unit)} · {html.escape(words.before(float(last["hours"])))}</span>'
        "</div>"
    )
    st.altair_chart(figures.over_time(channel, theme()), key=f"chart {stream} {channel.name}")


@st.fragment
def _image(cohort: Cohort, row: int, stream: str, shares: Sequence[Element]) -> None:
    picture = inputs.picture(cohort, row, stream)
    grid = pictures.share_grid(shares, picture.number)
    left, middle, right = st.columns([2, 2, 1.4], gap="medium")
    taken = words.before(picture.hours)
    with left:
        st.image(pictures.grey(picture.pixels), caption=f"Taken {taken}", width="stretch")
    with right:
        strength = 1.0
        if grid.size:
            st.html(pictures.legend())
            if st.toggle("Show the heat map", value=True, key=f"heat {stream} {row}"):
                strength = st.slider("Strength", 0.1, 1.0, 0.8, key=f"strength {stream} {row}")
            else:
                strength = 0.0
            rows, columns = grid.shape
            st.caption(
                f"The model was asked with each of {rows * columns} fields ({rows} × {columns}) hidden and shown; the "
                "colour is a field's share of the log-odds, smoothed between fields. The strongest field: "
                f"{words.signed(pictures.strongest(grid))}."
            )
        else:
            st.caption("No heat map: this image has not been explained.")
        height, width = picture.seen_size[-2:]
        st.caption(f"The model saw it at {width} × {height} pixels" + (", as shown." if picture.as_seen else "."))
    with middle:
        if grid.size:
            overlay = pictures.heat_map(picture.pixels, grid, strength)
            st.image(overlay, caption="Where its share of the risk lies", width="stretch")


def _text(cohort: Cohort, row: int, stream: str, shares: Sequence[Element]) -> None:
    text = inputs.note(cohort, row, stream)
    st.caption(f"Written {words.before(inputs.note_hours(cohort, row, stream))}.")
    if shares:
        st.html(pictures.legend())
    with st.container(border=True, height=420 if len(text) > 1400 else "content"):
        st.html(pictures.weighted_text(text, shares))  # every character of the note is escaped there


def _audio(cohort: Cohort, row: int, stream: str, shares: Sequence[Element]) -> None:
    sound = inputs.sound(cohort, row, stream)
    shade = "Darker" if theme() == "light" else "Lighter"
    scale = f"All leads on one scale, in {sound.unit}." if sound.leads else f"{shade} is louder."
    st.caption(words.plain(f"Recorded {words.before(sound.hours)}. {scale}"))
    if shares:
        st.html(pictures.legend())
        st.altair_chart(figures.stretch_shares(sound, shares, theme()), key=f"stretches {stream}")
    if sound.leads:
        st.altair_chart(figures.waveform(sound, theme()), key=f"waveform {stream}")
        return
    st.altair_chart(figures.spectrogram(sound, theme()), key=f"spectrogram {stream}")
    if sound.file is not None:
        st.audio(str(sound.file))
    else:
        st.caption("The recording's file cannot be read from here, so it cannot be played.")


# kind -> panel, in the order of the page
PANELS: dict[str, Panel] = {"image": _image, "series": _series, "text": _text, "table": _table, "audio": _audio}
