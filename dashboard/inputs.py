"""What a model saw of one case, as values that a page can show. Reads single rows; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from dashboard import words
from explain.explanation import Element
from ingest.cohort import Cohort
from ingest.errors import InputError
from ingest.task import AudioStream, Feature, ImageStream, SeriesStream, TableStream

SHOWN_PIXELS = 640  # the longer side of an image on a page
SAME_PICTURE = 0.03  # mean difference of intensities (0 to 1) up to which a file is the image that the model saw
SHORT_TEXT_FEATURES = ("age", "sex", "gender")

Shares = Sequence[Element]


@dataclass(frozen=True)
class Channel:
    """One channel of a series: its values over hours (0 or less), and what is usual among the training cases."""

    name: str
    unit: str
    values: pd.DataFrame  # hours, value
    usual_low: float
    usual_high: float
    window_hours: float | None
    share: float | None


@dataclass(frozen=True)
class Picture:
    """The latest image of a case: pixels (H, W) or (H, W, 3) in [0, 1]; as_seen: the model's own, not the file's."""

    pixels: np.ndarray
    hours: float
    as_seen: bool
    seen_size: tuple[int, ...]
    number: int  # its place among the case's images


@dataclass(frozen=True)
class Sound:
    """The recording that was used: log-mel levels (T, mels) in dB, or a waveform's samples (T, leads), NaN where none.

    leads, unit: of a waveform. file: where it can be played from here.
    """

    levels: np.ndarray
    seconds_per_frame: float
    hours: float
    file: Path | None = field(default=None)
    leads: tuple[str, ...] = ()
    unit: str = ""


def table_rows(cohort: Cohort, row: int, stream: str, shares: Shares) -> pd.DataFrame:
    """Feature, value, age of the value, and share (NaN where not explained), one row per feature."""
    spec = cohort.task.streams[stream]
    assert isinstance(spec, TableStream)
    values, observed, hours = _arrays(cohort, row, stream)
    by_name = _by_name(shares)
    levels = cohort.statistics.streams[stream].levels
    return pd.DataFrame(
        {
            "feature": [feature.name for feature in spec.features],
            "value": [
                _said(feature, float(values[i]), levels.get(feature.name)) if observed[i] else "not known"
                for i, feature in enumerate(spec.features)
            ],
            "measured": [
                _age(feature, float(hours[i])) if observed[i] else "" for i, feature in enumerate(spec.features)
            ],
            "share": [by_name.get(feature.name, np.nan) for feature in spec.features],
        }
    )


def who(cohort: Cohort, row: int) -> str:
    """Age and sex from the record, such as "67 years, female"; empty where neither is there."""
    parts = []
    for stream, spec in cohort.task.streams.items():
        if not isinstance(spec, TableStream) or not has(cohort, row, stream):
            continue
        shown = table_rows(cohort, row, stream, ())
        for feature, value in zip(shown["feature"], shown["value"], strict=True):
            if feature.lower() in SHORT_TEXT_FEATURES and value != "not known":
                parts.append(str(value))
    return ", ".join(parts)


def channels(cohort: Cohort, row: int, stream: str, shares: Shares) -> list[Channel]:
    """Every channel of a series, in the task's order; those without values have an empty frame."""
    spec = cohort.task.streams[stream]
    assert isinstance(spec, SeriesStream)
    values, observed, hours = _arrays(cohort, row, stream)
    statistics = cohort.statistics.streams[stream]
    by_name = _by_name(shares)
    found = []
    for i, channel in enumerate(spec.channels):
        seen = observed[:, i] if observed.ndim > 1 else observed
        frame = pd.DataFrame({"hours": hours[seen].astype(float), "value": values[seen, i].astype(float)})
        mean, std = statistics.mean[i], statistics.std[i]
        unit = words.unit_text(channel.unit)
        found.append(
            Channel(
                channel.name,
                unit,
                frame.sort_values("hours"),
                mean - std,
                mean + std,
                spec.window_hours,
                by_name.get(channel.name),
            )
        )
    return found


def picture(cohort: Cohort, row: int, stream: str) -> Picture:
    """The latest image, from its file where that is still the image that the model saw, else from the cohort."""
    spec = cohort.task.streams[stream]
    assert isinstance(spec, ImageStream)
    values, observed, hours = _arrays(cohort, row, stream)
    last = int(np.flatnonzero(observed)[-1])
    seen = values[last].astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
    if seen.ndim == 4:  # a volume: its middle slice
        seen = seen[:, seen.shape[1] // 2]
    sharp = _from_file(cohort, row, stream, last, seen, spec)
    pixels = seen if sharp is None else sharp
    shown = np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]
    return Picture(np.clip(shown, 0, 1), float(hours[last]), sharp is None, seen.shape[1:], last)


def sound(cohort: Cohort, row: int, stream: str) -> Sound:
    """The recording that was used."""
    from ingest.align.spectrum import HOP_S

    spec = cohort.task.streams[stream]
    assert isinstance(spec, AudioStream)
    values, observed, hours = _arrays(cohort, row, stream)
    frames = observed if observed.ndim == 1 else observed.any(1)
    file = next((path for path in _assets(cohort, row, stream) if _is_sound(path)), None)
    until = int(np.flatnonzero(frames)[-1]) + 1
    levels, taken = values[:until].astype(np.float32), float(hours[frames].min())
    if spec.form == "waveform":
        levels[~observed[:until]] = np.nan
        return Sound(levels, 1 / spec.sample_rate_hz, taken, file, spec.leads, words.unit_text(spec.unit))
    return Sound(levels, HOP_S, taken, file)


def problem(cohort: Cohort, row: int, stream: str) -> str:
    """Why the stream could not be used, or only in part; empty where there is nothing to say."""
    column = f"{stream}_problem"
    said = cohort.index[column].iat[row] if column in cohort.index else None
    return said if isinstance(said, str) else ""


def note(cohort: Cohort, row: int, stream: str) -> str:
    """The text as it was tokenised."""
    held = _beside(cohort, row, stream, "text")
    return str(held["text"].iloc[0]) if len(held) else ""


def note_hours(cohort: Cohort, row: int, stream: str) -> float:
    """When the latest of the notes was written, in hours (0 or less)."""
    _, observed, hours = _arrays(cohort, row, stream)
    return float(hours[observed].max())


def has(cohort: Cohort, row: int, stream: str) -> bool:
    """Whether the case has this stream."""
    return bool(cohort.index[f"{stream}_row"].iat[row] >= 0)


def _arrays(cohort: Cohort, row: int, stream: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    arrays = cohort.arrays(int(cohort.index["shard"].iat[row]), stream)
    at = int(cohort.index[f"{stream}_row"].iat[row])
    return np.asarray(arrays.values[at]), np.asarray(arrays.observed[at]), np.asarray(arrays.hours[at])


def _beside(cohort: Cohort, row: int, stream: str, what: str) -> pd.DataFrame:
    shard = int(cohort.index["shard"].iat[row])
    path = cohort.shard_folder(shard) / f"{stream}.{what}.parquet"
    at = int(cohort.index[f"{stream}_row"].iat[row])
    return pq.read_table(path, filters=[("row", "==", at)]).to_pandas() if path.is_file() else pd.DataFrame()


def _assets(cohort: Cohort, row: int, stream: str) -> list[Path]:
    held = _beside(cohort, row, stream, "source")
    return [Path(asset) for asset in held["asset"] if asset] if len(held) else []


def _from_file(
    cohort: Cohort, row: int, stream: str, last: int, seen: np.ndarray, spec: ImageStream
) -> np.ndarray | None:
    """The file's pixels at a size for people, where brought to the model's size they are what the model saw."""
    from ingest.align.image import fit_image
    from ingest.pictures.pixels import read_image

    assets = _assets(cohort, row, stream)
    if last >= len(assets) or len(spec.shape) != 2:
        return None
    try:
        whole = read_image(assets[last])
    except InputError:
        return None
    if float(np.abs(fit_image(whole, spec.shape, spec.channels) - seen).mean()) > SAME_PICTURE:
        return None
    factor = max(1, SHOWN_PIXELS // max(spec.shape))
    return fit_image(whole, tuple(side * factor for side in spec.shape), spec.channels)


def _is_sound(path: Path) -> bool:
    from ingest.signals.sound import check_sound

    try:
        check_sound(path)
    except InputError:
        return False
    return True


def _by_name(shares: Shares) -> dict[str, float]:
    """Elements of the same name are parts of one channel: their shares add up."""
    total: dict[str, float] = {}
    for element in shares:
        total[element.name] = total.get(element.name, 0.0) + element.value
    return total


def _said(feature: Feature, value: float, levels: tuple[str, ...] | None) -> str:
    if levels is not None:
        return levels[int(value)] if 0 <= int(value) < len(levels) else "other"
    if feature.reduce == "any":
        return "yes" if value > 0.5 else "no"
    if feature.derive == "age":
        return f"{int(value)}{words.SPACE}years"
    return f"{words.number(value)}{words.SPACE}{words.unit_text(feature.unit)}".strip()


def _age(feature: Feature, hours: float) -> str:
    return "" if feature.derive is not None or hours == 0 else words.before(hours)
