"""Resampling along one axis after another: linear, and averaging where it shrinks, so that nothing fine turns false."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ROWS_AT_ONCE = 256  # of a large image: what a core's cache holds
EDGE = 1e-6  # of a pixel: an output on the border of the source is within it

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """Where `size` outputs lie on an axis of `source` pixels, all lengths in source pixels, 0 the middle of the first.

    Output m is at centre + (m - (size - 1) / 2) * step. Only pixels low ... high - 1 count; an output that is outside
    of [low - 1/2, high - 1/2] is 0.
    """

    source: int
    size: int
    centre: float
    step: float
    low: int
    high: int

    @classmethod
    def whole(cls, source: int, size: int) -> "Axis":
        """All of the source on `size` outputs, border to border."""
        return cls(source, size, (source - 1) / 2, source / size, 0, source)

    @property
    def positions(self) -> NDArray[np.float64]:
        """(size,) in source pixels."""
        return np.asarray(self.centre + (np.arange(self.size) - (self.size - 1) / 2) * self.step, np.float64)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(size,) which outputs lie within the source."""
        return (self.positions >= self.low - 0.5 - EDGE) & (self.positions <= self.high - 0.5 + EDGE)


@lru_cache(maxsize=256)
def weights(axis: Axis) -> "csr_matrix":
    """(size, source) float32: a triangle as wide as the larger of the two pixels, each row of sum 1, or 0 outside.

    The triangle of one source pixel is linear interpolation; the wider one is, but for at most 0.06 pixels, the filter
    of Pillow's BILINEAR resize.
    """
    from scipy.sparse import csr_matrix

    support = max(axis.step, 1.0)
    positions = axis.positions
    first = np.maximum(np.floor(positions - support).astype(np.int64), axis.low)
    last = np.minimum(np.ceil(positions + support).astype(np.int64), axis.high - 1)
    counts = np.where(axis.inside, np.maximum(last - first + 1, 0), 0)
    row = np.repeat(np.arange(axis.size), counts)
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    weight = np.maximum(1 - np.abs(column - positions[row]) / support, 0)
    total = np.bincount(row, weight, axis.size)
    weight /= np.where(total > 0, total, 1)[row]
    # The wider triangle, sampled, leans by up to 0.06 pixels. A tilt puts its middle right, so that slopes stay exact;
    # not at the border, where half of it is missing.
    away = column - positions[row]
    lean, spread = np.bincount(row, weight * away, axis.size), np.bincount(row, weight * away**2, axis.size)
    complete = (positions - support >= axis.low - 1) & (positions + support <= axis.high) & (spread > EDGE)
    tilt = np.where(complete, -lean / np.where(complete, spread - lean**2, 1), 0)
    weight *= 1 + tilt[row] * (away - lean[row])
    matrix = csr_matrix((weight.astype(np.float32), (row, column)), shape=(axis.size, axis.source))
    matrix.eliminate_zeros()
    return matrix


def resample_plane(
    plane: NDArray[np.number], rows: Axis, columns: Axis, clip: tuple[float, float] | None = None
) -> Float:
    """An image (H, W) of numbers as (rows.size, columns.size); `clip` limits its values before they are averaged."""
    width = plane.shape[1]
    narrow = np.zeros((rows.size, width), np.float32)
    buffer = np.empty((min(ROWS_AT_ONCE, len(plane)), width), np.float32)
    for start, stop, first, last, part in _bands(rows):
        band = buffer[: stop - start]
        np.copyto(band, plane[start:stop], casting="unsafe")
        if clip is not None:
            np.clip(band, *clip, out=band)
        narrow[first:last] += part @ band
    return np.ascontiguousarray((weights(columns) @ narrow.T).T)


@lru_cache(maxsize=64)
def _bands(axis: Axis) -> "tuple[tuple[int, int, int, int, csr_matrix], ...]":
    """Runs of source rows: start, stop, the outputs first ... last - 1 that they give to, and with which weights."""
    matrix = weights(axis)
    bands = []
    for start in range(0, axis.source, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, axis.source)
        part = matrix[:, start:stop]
        rows = np.flatnonzero(np.diff(part.indptr))
        if len(rows):
            first, last = int(rows[0]), int(rows[-1]) + 1
            bands.append((start, stop, first, last, part[first:last]))
    return tuple(bands)
