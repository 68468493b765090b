"""Where every number of a tensor came from: file, record, and when the system could know it."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ingest.cohort import Cohort
from ingest.delivery.shown_names import Bearing, ShownName, all_without_persons
from ingest.errors import TelltaleError
from ingest.task import TextStream

_CONTENT = re.compile(r"@[0-9a-f]{12}$")  # the digits of a file's SHA-256 that stand behind its path


@dataclass(frozen=True)
class Source:
    """A record that an element rests on. time: when it was measured; available_time: when it could be known, if that
    is stated; both UTC, None for what has no time."""

    file: str
    record: str
    asset: str = ""
    time: dt.datetime | None = None
    available_time: dt.datetime | None = None


@dataclass(frozen=True)
class TracedElement:
    """One element of a case's stream, or one feature of it where it has several.

    element: the place in T. feature: its name, empty where an element is one thing (an image, a token, a frame).
    value: the number; of an image or a frame the mean. shown: for people. hours: relative to the index time.
    sources: none where it is not observed, and where it is known by absence (`any` and `count` of nothing are 0).
    """

    case_id: str
    stream: str
    element: int
    feature: str
    observed: bool
    value: float
    shown: str
    unit: str
    hours: float
    sources: tuple[Source, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, times as ISO 8601."""
        plain = asdict(self)
        for source in plain["sources"]:
            for name in ("time", "available_time"):
                source[name] = source[name].isoformat() + "Z" if source[name] is not None else None
        return plain


def trace(
    cohort: Cohort, case_id: str, stream: str, element: int | None = None, feature: str | None = None
) -> list[TracedElement]:
    """Every element of a case's stream (or one, or one feature's) with where it came from, in order.

    Empty where the case lacks the stream: `said_of` may say why. Raises TelltaleError where there is no such case,
    stream, element or feature.
    """
    case = case_row(cohort, case_id)
    names = _feature_names(cohort, stream)
    if feature is not None and feature not in names:
        raise TelltaleError(f"stream {stream}, feature {feature!r}: expected one of {', '.join(names) or 'none'}")
    row = int(case[f"{stream}_row"])
    if row < 0:
        return []
    shard = int(case["shard"])
    arrays = cohort.arrays(shard, stream)
    values, observed, hours = (np.asarray(part[row]) for part in (arrays.values, arrays.observed, arrays.hours))
    if element is not None and not 0 <= element < len(values):
        raise TelltaleError(f"stream {stream}, element {element}: expected one of 0 to {len(values) - 1}")
    sources = _sources(cohort, shard, stream, row, len(values))
    tokens = _tokens(cohort, case_id, stream)
    found = []
    for at in range(len(values)) if element is None else [element]:
        for place, name in _features(values, names, at):
            if feature is not None and name != feature:
                continue
            there = observed[at] if observed.ndim == 1 or place < 0 else observed[at, place]
            value = values[at] if values.ndim == 1 or place < 0 else values[at, place]
            is_there = bool(np.any(there))
            number, shown = _said(cohort, stream, name, np.asarray(value), tokens.get(at)) if is_there else (0.0, "")
            found.append(
                TracedElement(
                    case_id, stream, at, name, is_there, number, shown, _unit(cohort, stream, name),
                    round(float(hours[at]), 6), tuple(sources.of(at, place)) if is_there else (),
                )
            )  # fmt: skip
    return found


def without_names(elements: Sequence[TracedElement], bearing: Bearing) -> list[TracedElement]:
    """The same as it may be shown: paths without what is written as people are, or what a patient bears."""
    sources = {source for each in elements for source in each.sources}
    paths = {source: _CONTENT.sub("", source.file) for source in sources}
    shown = all_without_persons({*paths.values(), *(ShownName(source.asset) for source in sources)}, bearing)
    masked = {
        source: replace(source, file=shown[path] + source.file.removeprefix(path), asset=shown[ShownName(source.asset)])
        for source, path in paths.items()
    }
    return [replace(each, sources=tuple(masked[source] for source in each.sources)) for each in elements]


def case_row(cohort: Cohort, case_id: str) -> "pd.Series[Any]":
    """The case's row of the index. Raises TelltaleError where there is none."""
    found = cohort.index[cohort.index["case_id"] == case_id]
    if found.empty:
        raise TelltaleError(f"case {case_id}: no such case in the cohort of {cohort.task.name}")
    return found.iloc[0]


def said_of(cohort: Cohort, case_id: str, stream: str) -> dict[str, str]:
    """`problem` and `note` of a case's stream, where alignment had something to say."""
    case = case_row(cohort, case_id)
    said = {name: case.get(f"{stream}_{name}") for name in ("problem", "note")}
    return {name: str(line) for name, line in said.items() if isinstance(line, str) and line}


@dataclass(frozen=True)
class _Sources:
    """The rows of a case's source table, as arrays."""

    first: np.ndarray
    count: np.ndarray
    feature: np.ndarray
    sources: tuple[Source, ...]

    def of(self, element: int, feature: int) -> Iterator[Source]:
        """What gave something to a feature of an element (-1: to any)."""
        mine = (self.first <= element) & (element < self.first + self.count)
        if feature >= 0:
            mine &= (self.feature == feature) | (self.feature < 0)
        yield from dict.fromkeys(self.sources[at] for at in np.flatnonzero(mine))


def _sources(cohort: Cohort, shard: int, stream: str, row: int, elements: int) -> _Sources:
    path = cohort.shard_folder(shard) / f"{stream}.source.parquet"
    frame = pq.read_table(path, filters=[("row", "=", row)]).to_pandas()
    for name, otherwise in (("element", 0), ("count", elements), ("feature", -1), ("time", None)):
        if name not in frame.columns:  # a cohort that was not aligned by this version
            frame[name] = otherwise
    if "available_time" not in frame.columns:
        frame["available_time"] = None
    sources = tuple(
        Source(_text(file), _text(record), _text(asset), _moment(time), _moment(known))
        for file, record, asset, time, known in zip(
            *(frame[name] for name in ("source_file", "source_record", "asset", "time", "available_time")), strict=True
        )
    )
    first, count, feature = (frame[name].to_numpy(np.int64) for name in ("element", "count", "feature"))
    return _Sources(first, count, feature, sources)


def _features(values: np.ndarray, names: tuple[str, ...], element: int) -> list[tuple[int, str]]:
    """(place in the last axis or -1, name) of what an element is made of."""
    if values.ndim == 2 and len(names) == values.shape[1]:
        return list(enumerate(names))
    return [(-1, names[element] if values.ndim == 1 and len(names) == len(values) else "")]


def _feature_names(cohort: Cohort, stream: str) -> tuple[str, ...]:
    if stream not in cohort.task.streams:
        raise TelltaleError(f"stream {stream}: expected one of {', '.join(cohort.stream_names)}")
    return tuple(cohort.statistics.streams[stream].names)


def _unit(cohort: Cohort, stream: str, feature: str) -> str:
    statistics = cohort.statistics.streams[stream]
    return statistics.units[statistics.names.index(feature)] if feature in statistics.names else ""


def _said(cohort: Cohort, stream: str, feature: str, value: np.ndarray, token: str | None) -> tuple[float, str]:
    """(number, words) for an observed value."""
    levels = cohort.statistics.streams[stream].levels.get(feature)
    scale = 255.0 if value.dtype == np.uint8 else 1.0  # as `Cohort.batch` gives it
    number = float(np.asarray(value, np.float64).mean()) / scale
    if levels:
        return number, levels[int(number)]
    if token is not None:
        return number, token
    if value.ndim:
        return number, f"mean {number:.4g} of {' x '.join(str(size) for size in value.shape)}"
    return number, f"{number:.6g}"


def _tokens(cohort: Cohort, case_id: str, stream: str) -> Mapping[int, str]:
    """Element -> the piece of text that it stands for, of a text stream."""
    from ingest.notes.tokenizer import latest_tokens, load_tokenizer

    spec = cohort.task.streams[stream]
    if not isinstance(spec, TextStream):
        return {}
    text = str(replace(cohort, index=cohort.index[cohort.index["case_id"] == case_id]).texts(stream).iloc[0])
    _, offsets, _ = latest_tokens(load_tokenizer(spec.tokenizer), text, spec.max_tokens)
    return {number: text[start:end] for number, (start, end) in enumerate(offsets)}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: object) -> dt.datetime | None:
    moment = pd.Timestamp(value) if value is not None else pd.NaT
    return None if moment is pd.NaT else moment.to_pydatetime()
