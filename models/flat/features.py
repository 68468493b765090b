"""Flat features of a cohort: every stream summed up in columns, for models that take a table.

A missing stream or value is NaN. Tables give their values; series give, per channel, last, mean, min, max, slope per
hour, count and hours since the last; images an 8 x 8 (4 x 8 x 8) reduction with mean and standard deviation; sound the
mean and standard deviation of each mel band or lead; text a hashed bag of tokens and pairs, reduced by a truncated SVD.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ingest.cohort import Cohort, StreamArrays
from ingest.statistics import StreamStatistics

CASES_AT_ONCE = 256
POOLED = {2: (8, 8), 3: (4, 8, 8)}
BAG_SIZE = 4096
TEXT_COMPONENTS = 24
SERIES_PARTS = ("last", "mean", "min", "max", "slope per hour", "count", "hours since last")


@dataclass(frozen=True)
class TextReduction:
    """A truncated SVD of a weighted bag: weights (BAG_SIZE,), components (BAG_SIZE, C); C is 0 without any text."""

    weights: np.ndarray
    components: np.ndarray

    def apply(self, bag: sparse.csr_matrix) -> np.ndarray:
        """(n, C) float32, each row scaled to its words' mean."""
        return np.asarray(_weighted(bag, self.weights) @ self.components, np.float32)


@dataclass(frozen=True)
class FlatFeatures:
    """What turns cases into columns; the text reductions were fitted on the cases given to `fit_flat`."""

    text: dict[str, TextReduction]

    def columns(self, cohort: Cohort, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """X (n, P) float32 with NaN where missing, and the P names."""
        blocks, names = [], []
        for stream, statistics in cohort.statistics.streams.items():
            if statistics.kind == "text":
                block = self._text(cohort, rows, stream)
                labels = [f"component {i + 1}" for i in range(block.shape[1])]
            else:
                block, labels = _plain(cohort, rows, stream, statistics)
            blocks.append(block)
            names += [f"{stream}: {label}" for label in labels]
        return np.concatenate(blocks, 1), names

    def _text(self, cohort: Cohort, rows: np.ndarray, stream: str) -> np.ndarray:
        reduction = self.text[stream]
        out = np.full((len(rows), reduction.components.shape[1]), np.nan, np.float32)
        for at, arrays in _blocks(cohort, rows, stream):
            out[at] = reduction.apply(bag_of_tokens(arrays.values, arrays.observed))
        return out


def fit_flat(cohort: Cohort, rows: np.ndarray, seed: int) -> FlatFeatures:
    """Fit the text reductions on these cases."""
    texts = [name for name, statistics in cohort.statistics.streams.items() if statistics.kind == "text"]
    return FlatFeatures({name: _fit_text(cohort, rows, name, seed) for name in texts})


def flat_features(cohort: Cohort, rows: np.ndarray, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """The columns of these cases, with the text reductions fitted on them too."""
    return fit_flat(cohort, rows, seed).columns(cohort, rows)


def _plain(cohort: Cohort, rows: np.ndarray, stream: str, statistics: StreamStatistics) -> tuple[np.ndarray, list[str]]:
    """The columns of a stream that needs no fit."""
    labels = LABELS[statistics.kind](statistics)
    out = np.full((len(rows), len(labels)), np.nan, np.float32)
    for at, arrays in _blocks(cohort, rows, stream):
        out[at] = COLUMNS[statistics.kind](arrays)
    return out, labels


def _blocks(cohort: Cohort, rows: np.ndarray, stream: str) -> Iterator[tuple[np.ndarray, StreamArrays]]:
    """Positions among `rows` of cases that have the stream, and their arrays, some cases at a time."""
    chosen = cohort.index.iloc[rows]
    shards, held = chosen["shard"].to_numpy(), chosen[f"{stream}_row"].to_numpy()
    for shard in np.unique(shards):
        mapped = cohort.arrays(int(shard), stream)
        here = np.flatnonzero((shards == shard) & (held >= 0))
        for start in range(0, len(here), CASES_AT_ONCE):
            at = here[start : start + CASES_AT_ONCE]
            parts = (np.asarray(part[held[at]]) for part in (mapped.values, mapped.observed, mapped.hours))
            yield at, StreamArrays(*parts)


def _table(arrays: StreamArrays) -> np.ndarray:
    return np.where(arrays.observed, arrays.values, np.nan)


def _series(arrays: StreamArrays) -> np.ndarray:
    """(n, 7 F), the parts of a channel side by side."""
    seen = arrays.observed
    values = arrays.values.astype(float)
    hours = np.broadcast_to(arrays.hours.astype(float)[:, :, None], values.shape)
    count = seen.sum(1)
    some = count > 0
    divisor = np.maximum(count, 1)
    latest = np.where(seen, hours, -np.inf).argmax(1)[:, None]

    def at_latest(of: np.ndarray) -> np.ndarray:
        return np.asarray(np.take_along_axis(of, latest, 1)[:, 0])

    mean = (values * seen).sum(1) / divisor
    centred = (hours - ((hours * seen).sum(1) / divisor)[:, None]) * seen
    spread = (centred**2).sum(1)
    sloped = (count > 1) & (spread > 1e-6)
    slope = (centred * (values - mean[:, None])).sum(1) / np.where(sloped, spread, 1)
    parts = [
        np.where(some, at_latest(values), np.nan),
        np.where(some, mean, np.nan),
        np.where(some, np.where(seen, values, np.inf).min(1), np.nan),
        np.where(some, np.where(seen, values, -np.inf).max(1), np.nan),
        np.where(sloped, slope, np.nan),
        count.astype(float),
        np.where(some, -at_latest(hours), np.nan),
    ]
    return np.stack(parts, 2).reshape(len(values), -1)


def _image(arrays: StreamArrays) -> np.ndarray:
    """The latest image: pooled intensities of every channel, then each channel's mean and standard deviation."""
    latest = np.where(arrays.observed, arrays.hours, -np.inf).argmax(1)
    image = arrays.values[np.arange(len(latest)), latest].astype(np.float32)
    pooled = image
    for axis, parts in enumerate(_pooled_shape(image.shape[2:]), start=2):
        size = image.shape[axis]
        starts = np.linspace(0, size, parts, endpoint=False).astype(int)
        widths = np.diff(np.append(starts, size))
        shape = [1] * image.ndim
        shape[axis] = parts
        pooled = np.add.reduceat(pooled, starts, axis) / widths.reshape(shape)
    every = tuple(range(2, image.ndim))
    return np.concatenate([pooled.reshape(len(image), -1), image.mean(every), image.std(every)], 1)


def _audio(arrays: StreamArrays) -> np.ndarray:
    """The mean and the standard deviation of each band or lead over its observed frames; NaN where it has none."""
    seen = arrays.observed if arrays.observed.ndim == 3 else arrays.observed[:, :, None]
    values = arrays.values.astype(np.float32)
    divisor = np.maximum(seen.sum(1), 1)
    mean = (values * seen).sum(1) / divisor
    variance = (((values - mean[:, None]) ** 2) * seen).sum(1) / divisor
    some = np.broadcast_to(seen.any(1), mean.shape)
    return np.concatenate([np.where(some, mean, np.nan), np.where(some, np.sqrt(variance), np.nan)], 1)


def bag_of_tokens(tokens: np.ndarray, observed: np.ndarray) -> sparse.csr_matrix:
    """Counts (n, BAG_SIZE) of observed tokens and of neighbouring pairs, hashed. tokens (n, T) int64."""
    cases = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
    pair = observed[:, :-1] & observed[:, 1:]
    mixed = tokens[:, :-1] * 1_000_003 + tokens[:, 1:]
    row = np.concatenate([cases[observed], cases[:, 1:][pair]])
    column = np.concatenate([_hashed(tokens[observed]), _hashed(mixed[pair])])
    ones = np.ones(len(row), np.float32)
    return sparse.coo_matrix((ones, (row, column)), shape=(len(tokens), BAG_SIZE)).tocsr()


def _hashed(keys: np.ndarray) -> np.ndarray:
    """A place in the bag for each key, by Fibonacci hashing."""
    product = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (product >> np.uint64(32)).astype(np.int64) % BAG_SIZE


def _fit_text(cohort: Cohort, rows: np.ndarray, stream: str, seed: int) -> TextReduction:
    from sklearn.decomposition import TruncatedSVD

    bags = [bag_of_tokens(arrays.values, arrays.observed) for _, arrays in _blocks(cohort, rows, stream)]
    if not bags:
        return TextReduction(np.ones(BAG_SIZE, np.float32), np.zeros((BAG_SIZE, 0), np.float32))
    bag = sparse.vstack(bags, format="csr")
    frequency = np.asarray((bag > 0).sum(0), float).ravel()
    weights = (np.log((1 + bag.shape[0]) / (1 + frequency)) + 1).astype(np.float32)
    components = min(TEXT_COMPONENTS, bag.shape[0] - 1, int((frequency > 0).sum()) - 1)
    if components < 1:
        return TextReduction(weights, np.zeros((BAG_SIZE, 0), np.float32))
    fitted = TruncatedSVD(components, random_state=seed).fit(_weighted(bag, weights))
    return TextReduction(weights, fitted.components_.T.astype(np.float32))


def _weighted(bag: sparse.csr_matrix, weights: np.ndarray) -> Any:  # scipy's sparse types carry no stubs here
    """Inverse-frequency weighted logarithmic counts, each row of length 1."""
    scaled = bag.copy()
    scaled.data = (1 + np.log(scaled.data)) * weights[scaled.indices]
    length = np.sqrt(np.asarray(scaled.multiply(scaled).sum(1)).ravel())
    return sparse.diags(1 / np.maximum(length, 1e-12)) @ scaled


def _pooled_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(size, parts) for size, parts in zip(shape, POOLED[len(shape)], strict=True))


def _series_labels(statistics: StreamStatistics) -> list[str]:
    return [f"{name}, {part}" for name in statistics.names for part in SERIES_PARTS]


def _image_labels(statistics: StreamStatistics) -> list[str]:
    channels, *shape = statistics.feature_shape
    places = list(np.ndindex(channels, *_pooled_shape(tuple(shape))))
    pooled = [f"channel {channel} at {', '.join(map(str, place))}" for channel, *place in places]
    return pooled + [f"channel {c}, {part}" for part in ("mean", "standard deviation") for c in range(channels)]


def _audio_labels(statistics: StreamStatistics) -> list[str]:
    bands = [f"lead {name}" for name in statistics.names]  # of a waveform
    bands = bands or [f"mel band {band}" for band in range(statistics.feature_shape[0])]
    return [f"{band}, {part}" for part in ("mean", "standard deviation") for band in bands]


COLUMNS: dict[str, Callable[[StreamArrays], np.ndarray]] = {
    "table": _table,
    "series": _series,
    "image": _image,
    "audio": _audio,
}
LABELS: dict[str, Callable[[StreamStatistics], list[str]]] = {
    "table": lambda statistics: list(statistics.names),
    "series": _series_labels,
    "image": _image_labels,
    "audio": _audio_labels,
}
