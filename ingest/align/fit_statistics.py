"""Fitting what travels with a model: the centre and scale of each feature, from observed training values only."""

from dataclasses import replace

import numpy as np

from ingest.statistics import StreamStatistics

SMALLEST_STD = 1e-6  # a feature that never varies is centred but not scaled
ROWS_AT_ONCE = 32
BYTES_AT_ONCE = 1 << 26  # of values, where 32 rows would be more


class Moments:
    """Running mean and variance of each feature of one stream, block by block.

    Rows are taken in groups of a fixed size however they come, so that the result does not depend on how a stream was
    cut into blocks, to the last bit. Groups are merged by Chan, Golub & LeVeque (1979), Updating formulae and a
    pairwise algorithm for computing sample variances, equation 2.1b.
    """

    def __init__(self, base: StreamStatistics) -> None:
        self.base = base
        size = {"table": base.elements, "text": 0}.get(base.kind, base.feature_shape[0] if base.feature_shape else 0)
        self.count, self.mean, self.squares = np.zeros(size), np.zeros(size), np.zeros(size)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []  # rows that do not make a group yet

    def add(self, values: np.ndarray, observed: np.ndarray) -> None:
        """Take in a block: values (n, T, *feature), observed (n, T[, *feature])."""
        if not len(self.count) or not len(values):
            return
        group = min(max(BYTES_AT_ONCE // max(values[0].nbytes, 1), 1), ROWS_AT_ONCE)
        start = 0
        if self._waiting:
            start = min(group - sum(len(rows) for rows, _ in self._waiting), len(values))
            self._waiting.append((values[:start], observed[:start]))
            if sum(len(rows) for rows, _ in self._waiting) < group:
                return
            self._flush()
        end = start + (len(values) - start) // group * group
        for first in range(start, end, group):
            self._take(values[first : first + group], observed[first : first + group])
        if end < len(values):
            self._waiting.append((values[end:].copy(), observed[end:].copy()))

    def _flush(self) -> None:
        if self._waiting:
            values, observed = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._take(values, observed)

    def _take(self, values: np.ndarray, observed: np.ndarray) -> None:
        """A group of rows."""
        if self.base.kind == "image":
            self._merge(*_pixel_moments(values[observed]))
        else:
            flat = values.reshape(-1, len(self.count)).astype(np.float64)
            mask = observed if observed.ndim == values.ndim else np.broadcast_to(observed[..., None], values.shape)
            self._merge(*_moments(flat, mask.reshape(flat.shape)))

    def statistics(self) -> StreamStatistics:
        """What was given, with mean and std; categorical and unseen features get 0 and 1, which change nothing."""
        self._flush()
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        std[std < SMALLEST_STD] = 1.0
        mean = self.mean.copy()
        for place, name in enumerate(self.base.names):
            if name in self.base.levels:
                mean[place], std[place] = 0.0, 1.0
        return replace(self.base, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def _merge(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * count / np.maximum(total, 1)
        self.squares = self.squares + squares + delta**2 * self.count * count / np.maximum(total, 1)
        self.count = total


Triple = tuple[np.ndarray, np.ndarray, np.ndarray]  # per feature: count, mean, sum of squares about the mean


def _moments(flat: np.ndarray, mask: np.ndarray) -> Triple:
    """Of flat (rows, features), where mask (rows, features)."""
    count = mask.sum(0)
    mean = np.where(mask, flat, 0).sum(0) / np.maximum(count, 1)
    return count, mean, (np.where(mask, flat - mean, 0) ** 2).sum(0)


def _pixel_moments(images: np.ndarray) -> Triple:
    """Of every pixel of images (n, C, *shape), per channel."""
    planes = np.moveaxis(images, 1, 0).reshape(images.shape[1], -1)
    if images.dtype == np.uint8:  # 256 values: counting them is exact, and ten times as fast
        counts = np.stack([np.bincount(plane, minlength=256) for plane in planes])
        levels = np.arange(256) / 255
        count = counts.sum(1)
        mean = counts @ levels / np.maximum(count, 1)
        return count, mean, (counts * (levels - mean[:, None]) ** 2).sum(1)
    wide = planes.astype(np.float64).T
    return _moments(wide, np.ones(wide.shape, bool))
