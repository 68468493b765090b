"""One feature of a table or channel of a series: which of its observations count, and how several become one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ingest.align.events import Cases, Events, Seen, seen
from ingest.align.report import Tally
from ingest.errors import TaskError
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.task import Feature

# Why an observation does not count, by position; 0: it does.
REASONS = ("", "wrong unit", "not a number", "not a text", "implausible")


@dataclass(frozen=True)
class Column:
    """A feature with its observations. value (E,): the number, or the position in `texts`; reason (E,): of REASONS.

    converted (E,): which numbers came in another unit than the feature's.
    """

    feature: Feature
    events: Events
    value: np.ndarray
    reason: np.ndarray
    texts: tuple[str, ...] = ()
    converted: np.ndarray | None = None

    @property
    def categorical(self) -> bool:
        return self.feature.levels is not None


def build_column(feature: Feature, events: Events, vocabulary: Vocabulary = EMPTY) -> Column:
    """Judge every observation of a feature once. Presence features (any, count) take any observation of their codes.

    What states another unit than the feature's is converted by the vocabulary where it can be, and else does not
    count. What states none is taken.
    """
    events = events.select(feature.codes)
    reason = np.zeros(len(events), np.int8)
    if feature.reduce in ("any", "count"):
        return Column(feature, events, np.ones(len(events)), reason)
    if feature.levels is not None:
        texts = events.texts()
        reason[texts.isna().to_numpy()] = REASONS.index("not a text")
        distinct = sorted(set(texts.dropna()))
        place = {text: i for i, text in enumerate(distinct)}
        return Column(feature, events, texts.map(place).fillna(0).to_numpy(np.float64), reason, tuple(distinct))
    value, converted, wrong = _in_unit(feature, events, vocabulary)
    if feature.plausible is not None:
        low, high = feature.plausible
        reason[~((value >= low) & (value <= high))] = REASONS.index("implausible")
    reason[~np.isfinite(value)] = REASONS.index("not a number")
    reason[wrong] = REASONS.index("wrong unit")
    return Column(feature, events, np.where(reason == 0, value, 0.0), reason, converted=converted)


def _in_unit(
    feature: Feature, events: Events, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """(the numbers in the feature's unit (E,), which were converted, which are in a unit that does not convert)."""
    value, wrong = events.numbers(), np.zeros(len(events), bool)
    if feature.unit is None or not len(events):
        return value, None, wrong
    units = events.column("unit")
    encoded = (units.combine_chunks() if isinstance(units, pa.ChunkedArray) else units).dictionary_encode()
    stated = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    converted = np.zeros(len(events), bool)
    for number, unit in enumerate(encoded.dictionary.to_pylist()):
        if unit == feature.unit:
            continue
        for code in np.unique(events.code[stated == number]).tolist():
            here = (stated == number) & (events.code == code)
            found = vocabulary.conversion(events.held.codes[code], unit, feature.unit)
            if found is None:
                wrong |= here
            else:
                value = np.where(here, value * found[0] + found[1], value)
                converted |= here
    return value, converted, wrong


def usable(column: Column, cases: Cases, window_hours: float | None, tally: Tally) -> Seen:
    """The pairs of a case and an observation that counts; the others are counted by reason."""
    pairs = seen(column.events, cases, window_hours, tally)
    reason = column.reason[pairs.event]
    for number, name in enumerate(REASONS):
        if number:
            tally.add(name, reason == number)
    if column.converted is not None:
        tally.note("converted", column.converted[pairs.event] & (reason == 0))
    return pairs.where(reason == 0)


def reduce_runs(how: str, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """One number for each run of `values`, which begin at `starts` and are in order of time."""
    ends = np.append(starts[1:], len(values))
    if not len(starts):
        return np.zeros(0)
    if how == "last":
        return np.asarray(values[ends - 1])
    if how == "first":
        return np.asarray(values[starts])
    if how in ("min", "max"):
        return np.asarray((np.minimum if how == "min" else np.maximum).reduceat(values, starts))
    if how == "any":
        return np.ones(len(starts))
    total: np.ndarray = np.add.reduceat(values, starts)
    return total if how == "count" else total / (ends - starts)


def run_starts(*keys: np.ndarray) -> np.ndarray:
    """Where a new run of equal keys begins. keys: (P,) each, already in order."""
    new = np.zeros(len(keys[0]), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def to_levels(
    column: Column, levels: tuple[str, ...], value: np.ndarray, tally: Tally
) -> tuple[np.ndarray, np.ndarray]:
    """(value as positions in `levels`, whether it is one of them); the others are counted."""
    place = np.array([levels.index(text) if text in levels else -1 for text in column.texts] or [-1])
    position = place[value.astype(np.int64)]
    tally.add("unknown level", position < 0)
    return np.maximum(position, 0).astype(np.float64), position >= 0


def common_levels(column: Column, value: np.ndarray) -> tuple[str, ...]:
    """The texts behind `value` (positions in column.texts), the most frequent first, then by name."""
    counts = Counter(column.texts[int(v)] for v in value)
    return tuple(sorted(counts, key=lambda text: (-counts[text], text)))


def check_features(stream: str, features: tuple[Feature, ...]) -> None:
    """Refuse what has no meaning: levels of an average, a derived feature with codes, two of one name."""
    names = [feature.name for feature in features]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise TaskError(f"stream {stream}: expected features of different names, got {sorted(repeated)} more than once")
    for feature in features:
        where = f"stream {stream}, feature {feature.name}"
        if feature.levels is not None and feature.reduce not in ("last", "first", "all"):
            raise TaskError(f"{where}: expected reduce last or first beside levels, got {feature.reduce}")
        if feature.derive is not None and (feature.codes or feature.levels is not None):
            raise TaskError(f"{where}: expected derive alone, got it beside codes or levels")


def fixed_levels(features: tuple[Feature, ...], known: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The levels that are decided already: stated in the task, or fitted earlier."""
    levels = {f.name: f.levels for f in features if isinstance(f.levels, tuple)}
    return levels | dict(known)
