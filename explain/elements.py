"""The elements of a stream that an explanation speaks of: features, channels, patches, words, stretches of sound."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch

from explain.explanation import Element
from explain.wording import number, quantity, when
from explain.words import split_words
from ingest.align.spectrum import HOP_S, WINDOW_S
from ingest.batch import Stream
from ingest.errors import TelltaleError
from ingest.notes.tokenizer import latest_tokens, load_tokenizer
from ingest.statistics import StreamStatistics
from ingest.task import AudioStream, StreamSpec, TableStream, TextStream

STRETCH_S = 0.4
MAX_STRETCHES = 24


@dataclass(frozen=True)
class Players:
    """The elements of one stream of one case, their values still 0.

    label (T, *dims) long: which element each place of the stream belongs to, len(elements) where none.
    groups (E,): which elements belong together (the words of a sentence); 0 ... E - 1 where none do.
    """

    elements: tuple[Element, ...]
    label: torch.Tensor
    groups: np.ndarray

    def keep(self, chosen: np.ndarray) -> torch.Tensor:
        """Masks (n, T, *dims) for `Stream.masked` from coalitions (n, E)."""
        nobody = np.zeros((len(chosen), 1), bool)
        return torch.as_tensor(np.concatenate([chosen, nobody], 1), device=self.label.device)[:, self.label]


@dataclass(frozen=True)
class Facts:
    """What is known of a stream beside its values: its task's words, its statistics, its text, the grid asked for."""

    spec: StreamSpec
    statistics: StreamStatistics
    text: str
    grid: tuple[int, int]


def stream_players(stream: Stream, facts: Facts) -> Players:
    """The elements of a stream of one case (B = 1) that is present."""
    return PLAYERS[facts.statistics.kind](stream, facts)


def _table(stream: Stream, facts: Facts) -> Players:
    observed = stream.observed[0]
    places = observed.nonzero()[:, 0].tolist()
    elements = []
    for f in places:
        value, hours = float(stream.values[0, f]), float(stream.hours[0, f])
        elements.append(Element(facts.statistics.names[f], 0.0, shown=_fact(value, hours, f, facts), number=value))
    label = torch.full_like(observed, len(places), dtype=torch.long)
    label[observed] = torch.arange(len(places), device=label.device)
    return Players(tuple(elements), label, np.arange(len(places)))


def _fact(value: float, hours: float, place: int, facts: Facts) -> str:
    """A table's value in words, such as "female", "yes at −21 days" or "67 years"."""
    assert isinstance(facts.spec, TableStream)
    name = facts.statistics.names[place]
    reduce = next((f.reduce for f in facts.spec.features if f.name == name), "last")
    if reduce == "any":
        return f"yes{when(hours)}" if value else "no"
    return _value(value, place, facts) + when(hours)


def _value(value: float, place: int, facts: Facts) -> str:
    levels = facts.statistics.levels.get(facts.statistics.names[place], ())
    if levels:
        return levels[int(value)]
    return quantity(value, facts.statistics.units[place])


def _series(stream: Stream, facts: Facts) -> Players:
    """One element per observed channel: all of its times together."""
    observed = stream.observed[0]
    channels = observed.any(0).nonzero()[:, 0].tolist()
    label = torch.full_like(observed, len(channels), dtype=torch.long)
    elements = []
    for position, channel in enumerate(channels):
        label[:, channel] = position
        times = observed[:, channel].nonzero()[:, 0]
        last = times[stream.hours[0, times].argmax()]
        value = float(stream.values[0, last, channel])
        shown = _value(value, channel, facts) + when(float(stream.hours[0, last]))
        many = f" (last of {len(times)})" if len(times) > 1 else ""
        elements.append(Element(facts.statistics.names[channel], 0.0, shown=shown + many, number=value))
    return Players(tuple(elements), label, np.arange(len(channels)))


def _image(stream: Stream, facts: Facts) -> Players:
    """A grid of patches over each image; over several images the grid is coarser, so that their number stays."""
    there = stream.observed_times[0].nonzero()[:, 0].tolist()
    *depth, height, width = stream.values.shape[3:]
    coarser = ceil(len(there) ** 0.5)
    rows, columns = (min(max(g // coarser, 1), side) for g, side in zip(facts.grid, (height, width), strict=True))
    patch = (torch.arange(height) * rows // height)[:, None] * columns + torch.arange(width) * columns // width
    count = rows * columns
    times = stream.values.shape[1]
    label = torch.full((times, 1, *depth, height, width), count * len(there))
    elements = []
    for nth, image in enumerate(there):
        label[image] = patch + nth * count
        for index in range(count):
            row, column = divmod(index, columns)
            mean = float(stream.values[0, image][..., (patch == index).to(stream.values.device)].mean())
            name = f"row {row + 1}, column {column + 1}"
            place: tuple[float, ...] = (row, column, rows, columns)
            if len(there) > 1:
                name, place = f"image {nth + 1} of {len(there)}, {name}", (*place, image)
            elements.append(Element(name, 0.0, shown=f"mean {number(round(mean, 2))}", position=place, number=mean))
    return Players(tuple(elements), label.to(stream.values.device), np.arange(len(elements)))


def _audio(stream: Stream, facts: Facts) -> Players:
    """Stretches of about STRETCH_S, at most MAX_STRETCHES of equal length; of a waveform all leads together."""
    frames = stream.observed_times[0].nonzero()[:, 0]
    first, last = int(frames[0]), int(frames[-1]) + 1
    hop_s, window_s = _frame_seconds(facts.spec)
    count = int(np.clip(round((last - first) * hop_s / STRETCH_S), 1, min(MAX_STRETCHES, last - first)))
    label = torch.full((stream.values.shape[1],), count, device=stream.values.device)
    span = torch.arange(first, last, device=label.device)
    label[first:last] = (span - first) * count // (last - first)
    elements = []
    for index in range(count):
        mine = (label == index).nonzero()[:, 0]
        start_s, end_s = int(mine[0]) * hop_s, int(mine[-1]) * hop_s + window_s
        level, shown = _loudness(stream, mine, facts)
        name = f"{start_s:.1f}–{end_s:.1f} s"
        elements.append(Element(name, 0.0, shown=shown, position=(round(start_s, 3), round(end_s, 3)), number=level))
    seen = [index for index in range(count) if bool(stream.observed_times[0, label == index].any())]
    if len(seen) < count:  # a gap in every lead: nothing to speak of
        renumbered = torch.full((count + 1,), len(seen), device=label.device)
        renumbered[seen] = torch.arange(len(seen), device=label.device)
        label, elements = renumbered[label], [elements[index] for index in seen]
    return Players(tuple(elements), label, np.arange(len(elements)))


def _frame_seconds(spec: StreamSpec) -> tuple[float, float]:
    """(from the start of a frame to that of the next, its length)."""
    if isinstance(spec, AudioStream) and spec.form == "waveform":
        return 1 / spec.sample_rate_hz, 1 / spec.sample_rate_hz
    return HOP_S, WINDOW_S


def _loudness(stream: Stream, places: torch.Tensor, facts: Facts) -> tuple[float, str]:
    """The mean level of a stretch of sound; of a waveform the median of its leads' ranges."""
    values = stream.values[0, places]
    if not facts.statistics.names:
        level = float(values.mean())
        return level, f"{number(round(level))} dB"
    observed = stream.observed[0, places]
    low = values.masked_fill(~observed, torch.inf).amin(0)
    high = values.masked_fill(~observed, -torch.inf).amax(0)
    ranges = (high - low)[observed.any(0)]
    level = float(ranges.median()) if len(ranges) else 0.0
    return level, f"range {quantity(level, facts.statistics.units[0])}"


def _text(stream: Stream, facts: Facts) -> Players:
    """Words, which belong to their sentences."""
    assert isinstance(facts.spec, TextStream)
    places = stream.observed[0].nonzero()[:, 0]
    _, offsets, _ = latest_tokens(load_tokenizer(facts.spec.tokenizer), facts.text, stream.values.shape[1])
    if len(offsets) != len(places):
        raise TelltaleError(
            f"a note has {len(places)} tokens in the cohort and {len(offsets)} by tokenizer {facts.spec.tokenizer!r}; "
            "align the cohort again"
        )
    words = split_words(facts.text, offsets)
    label = torch.full((stream.values.shape[1],), len(words), device=stream.values.device)
    elements = []
    for index, word in enumerate(words):
        mine = places[word.first : word.last]
        label[mine] = index
        shown = when(float(stream.hours[0, mine[0]])).strip()
        elements.append(Element(facts.text[word.start : word.end], 0.0, shown=shown, position=(word.start, word.end)))
    return Players(tuple(elements), label, np.array([word.sentence for word in words], np.int64))


PLAYERS: dict[str, Callable[[Stream, Facts], Players]] = {
    "table": _table,
    "series": _series,
    "image": _image,
    "text": _text,
    "audio": _audio,
}
