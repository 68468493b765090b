"""How numbers, names and shares are said to people who were told nothing about the model."""

import datetime as dt
import math
import re
from collections.abc import Mapping

from ingest.task import Task

SPACE = "\u00a0"  # keeps a number and its unit on one line
LABELS = {"xray": "X-ray", "ct": "CT", "ecg": "ECG", "eeg": "EEG", "mri": "MRI"}
EVENTS = {
    "ENCOUNTER//IMP//START": "admission",
    "ENCOUNTER//IMP//END": "discharge",
    "ENCOUNTER//EMER//START": "arrival in the emergency department",
}
UNITS = {"a": "years", "Cel": "°C", "mm[Hg]": "mmHg", "10*3/uL": "×10³/µL", "10*9/L": "×10⁹/L", "umol/L": "µmol/L"}
VERDICTS = {"agree": "agreed", "override": "overridden"}
UNREVIEWED = "unreviewed"
NO_RISK = "no risk given"


def percent(risk: float) -> str:
    """A risk from 0 to 1 as text: one decimal below 10 %, never 0 or 100 %."""
    if risk < 0.001:
        return f"<0.1{SPACE}%"
    if risk > 0.995:
        return f">99{SPACE}%"
    return f"{100 * risk:.{1 if risk < 0.0995 else 0}f}{SPACE}%"


def between(low: float, high: float) -> str:
    """An interval of risks, such as "22 to 48 %"."""
    low_text, high_text = percent(low).removesuffix(f"{SPACE}%"), percent(high)
    return f"{low_text} to {high_text}"


def points(change: float) -> str:
    """A change of risk in percentage points, signed."""
    rounded = round(100 * change, 1 if abs(change) < 0.0995 else 0)
    text = f"{abs(rounded):g}"
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{text} points"


def signed(share: float) -> str:
    """A share of the log-odds, such as "+0.42"."""
    return f"{'−' if share < 0 else '+'}{abs(share):.2f}"


def odds(share: float) -> str:
    """What a share of the log-odds does to the odds, such as "odds × 1.5"."""
    return f"odds{SPACE}×{SPACE}{math.exp(share):.2f}"


def direction(share: float) -> str:
    """A share in words, never causal: it is the model's risk that moves."""
    if abs(share) < 0.005:
        return "leaves the model's risk as it is"
    return f"{'raises' if share > 0 else 'lowers'} the model's risk"


def said_share(share: float | None) -> str:
    """A share as a short Markdown text in its colour; nothing where there is none."""
    if share is None:
        return ""
    if abs(share) < 0.005:
        return ":gray[● 0.00]"
    return f":orange[▲ {signed(share)}]" if share > 0 else f":blue[▼ {signed(share)}]"


def label(stream: str) -> str:
    """A stream's name as people would write it."""
    return LABELS.get(stream.lower(), stream.replace("_", " ").replace("-", " ").capitalize())


def listed(streams: list[str]) -> str:
    """Names of streams as a list in a sentence: "X-ray, notes and sound"."""
    names = [inside(stream) for stream in streams]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def inside(stream: str) -> str:
    """A stream's name inside a sentence: no capital unless it always has one."""
    return LABELS.get(stream.lower(), label(stream).lower())


def unit_text(unit: str | None) -> str:
    """A UCUM unit as it is printed on a chart."""
    return UNITS.get(unit or "", unit or "")


def number(value: float) -> str:
    """A measured value with as many digits as a reader can use."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def before(hours: float) -> str:
    """How long before the index time (hours is 0 or negative)."""
    ago = -hours
    if ago < 0.05:
        return "at the index time"
    if ago < 48:
        return f"{ago:.1f} h before" if ago < 10 else f"{ago:.0f} h before"
    return f"{ago / 24:.0f} days before" if ago < 24 * 730 else f"{ago / 24 / 365.25:.0f} years before"


def when(time: dt.datetime | None) -> str:
    """A time to the minute, in UTC; a dash for tasks without times."""
    return "–" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def asked(task: Task) -> str:
    """What the risk is of, and when it is asked."""
    what = task.title if task.target.kind == "binary" else f"{task.target.risk_event} ({task.title})"
    if not task.timed:
        return f"Risk of: {what}."
    event = EVENTS.get(task.index.event or "", task.index.event or "")
    offset = task.index.offset_hours
    moment = f"{abs(offset):g} h {'after' if offset > 0 else 'before'} {event}" if offset else f"at {event}"
    return f"Risk of: {what}, asked {moment} (the index time)."


def summary(streams: Mapping[str, float], base_risk: float) -> str:
    """The shares of the streams in a sentence of Markdown."""
    text = f"With nothing known of a case, the model says {percent(base_risk)}. "
    raising = max(streams, key=lambda name: streams[name], default=None)
    lowering = min(streams, key=lambda name: streams[name], default=None)
    parts = []
    if raising is not None and streams[raising] > 0.005:
        parts.append(f"**{label(raising)}** raises this most ({odds(streams[raising])})")
    if lowering is not None and streams[lowering] < -0.005:
        parts.append(f"**{label(lowering)}** lowers it most ({odds(streams[lowering])})")
    return text + (f"Here, {' and '.join(parts)}." if parts else "Nothing in this case moves it.")


def plain(text: str) -> str:
    """Text from data, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>:$~^&])", r"\\\1", text)
