"""A volume brought to the orientation, spacing, shape and intensities that a task asks for."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.align.boxes import Box
from ingest.align.resample import Axis, resample_plane, weights
from ingest.align.volume import Slices

TOWARDS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
PERCENTILES = (0.5, 99.5)

Vector = NDArray[np.float64]


def to_grid(
    slices: Slices,
    shape: Sequence[int],
    orientation: str,
    spacing_mm: Sequence[float] | None = None,
    intensity: tuple[float, float] | None = None,
    box: Box | None = None,
) -> NDArray[np.float32]:
    """A volume as (depth, height, width) = shape, in [0, 1]; what lies outside of it or of `box` is 0.

    orientation: where width, height and depth point to, in this order. The middle of the volume (or of its box) comes
    to the middle of the shape. Without `spacing_mm` (depth, height, width) the voxels are cubes, as small as lets all
    of it in. Axes are turned and flipped, never rotated by less than a right angle: an oblique volume stays oblique.
    """
    order, flips = turns(slices.grid.axes, orientation)
    box = box or tuple((0, side) for side in slices.shape)
    extents = np.array([(high - low) for low, high in box]) * slices.grid.spacing_mm  # of the source's axes, mm
    if spacing_mm is None:
        spacing_mm = [max(extents[axis] / size for axis, size in zip(order, shape, strict=True))] * 3
    axes: list[Axis] = [None] * 3  # type: ignore[list-item]  # each is filled below
    for axis, size, step_mm in zip(order, shape, spacing_mm, strict=True):
        start, stop = box[axis]
        step = float(step_mm) / float(slices.grid.spacing_mm[axis])
        axes[axis] = Axis(slices.shape[axis], size, (start + stop - 1) / 2, step, start, stop)
    values = _resampled(slices, axes)
    inside = axes[0].inside[:, None, None] & axes[1].inside[:, None] & axes[2].inside
    low, high = intensity or bounds(slices, values[inside])
    shown = (values - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(shown, 0, 1, out=shown)
    if slices.inverted:
        np.subtract(1, shown, out=shown)
    shown[~inside] = 0
    turned = np.transpose(shown, order)
    return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)])


def turns(axes: Vector, orientation: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """(which source axis becomes depth, height and width; which of these is reversed).

    axes (3, 3): unit vectors to L, P, S of the source's axes. Each letter takes the axis that is nearest to it, all
    three together.
    """
    wanted = np.array([TOWARDS[letter] for letter in reversed(orientation)], np.float64)  # depth, height, width
    cosines = wanted @ axes.T
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[k, p[k]]) for k in range(3)))
    return order, tuple(bool(cosines[k, order[k]] < 0) for k in range(3))


def bounds(slices: Slices, values: NDArray[np.float32]) -> tuple[float, float]:
    """The values that become 0 and 1 where the task names none.

    The VOI window of the middle slice, but of MR, whose windows are made slice by slice; numbers of 8 bits by their
    full range; else the 0.5th and 99.5th percentile of the volume.
    """
    window = slices.window
    if window is not None and slices.modality != "MR":
        if window.function == "LINEAR" and window.width > 1:  # PS3.3 C.11.2.1.2.1
            middle, half = window.centre - 0.5, (window.width - 1) / 2
        else:
            middle, half = window.centre, window.width / 2
        return middle - half, middle + half
    if slices.full_range is not None:
        low, high = slices.full_range
        return low * slices.slopes[0] + slices.intercepts[0], high * slices.slopes[0] + slices.intercepts[0]
    low, high = (float(bound) for bound in np.percentile(values, PERCENTILES)) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low, low + 1.0)


def _resampled(slices: Slices, axes: Sequence[Axis]) -> NDArray[np.float32]:
    """Modality values on the new places, in the source's order of axes: first within slices, then across them."""
    depth, rows, columns = axes
    across = weights(depth)
    used = np.flatnonzero(across.getnnz(0) > 0)
    planes = np.zeros((len(used), rows.size * columns.size), np.float32)
    for plane, number in zip(planes, used.tolist(), strict=True):
        small = resample_plane(slices.planes[number], rows, columns)
        small *= np.float32(slices.slopes[number])
        small += np.float32(slices.intercepts[number])
        plane[:] = small.ravel()
    values = np.asarray(across[:, used] @ planes, np.float32)
    return values.reshape(depth.size, rows.size, columns.size)
