"""Fitting what travels with a model: the centre and scale of each feature, from observed training values only."""

from dataclasses import replace

import numpy as np

from ingest.statistics import StreamStatistics

SMALLEST_STD = 1e-6  # a feature that never varies is centred but not scaled
ROWS_AT_ONCE = 32


class Moments:
    """Running mean and variance of each feature of one stream, block by block.

    Blocks are merged by Chan, Golub & LeVeque (1979), Updating formulae and a pairwise algorithm for computing
    sample variances, equation 2.1b.
    """

    def __init__(self, base: StreamStatistics) -> None:
        self.base = base
        size = {"table": base.elements, "text": 0}.get(base.kind, base.feature_shape[0] if base.feature_shape else 0)
        self.count, self.mean, self.squares = np.zeros(size), np.zeros(size), np.zeros(size)

    def add(self, values: np.ndarray, observed: np.ndarray) -> None:
        """Take in a block: values (n, T, *feature), observed (n, T[, *feature])."""
        if not len(self.count):
            return
        for start in range(0, len(values), ROWS_AT_ONCE):
            some, there = values[start : start + ROWS_AT_ONCE], observed[start : start + ROWS_AT_ONCE]
            if self.base.kind == "image":
                self._merge(*_pixel_moments(some[there]))
            else:
                flat = some.reshape(-1, len(self.count)).astype(np.float64)
                mask = there if there.ndim == some.ndim else np.broadcast_to(there[..., None], some.shape)
                self._merge(*_moments(flat, mask.reshape(flat.shape)))

    def statistics(self) -> StreamStatistics:
        """What was given, with mean and std; categorical and unseen features get 0 and 1, which change nothing."""
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
