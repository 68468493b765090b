"""Stacks whose slices are each shifted like the last (a tilted gantry, a sheared affine), put straight."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal
from ingest.align.resample import Axis, resample_plane
from ingest.align.volume_geometry import Grid

SHIFT_PIXELS = 1.0  # by which slices may lie beside the straight stack: positions are rounded

Vector = NDArray[np.float64]


def leaning(positions_mm: Vector, grid: Grid) -> Vector | None:
    """(K, 2) how far each slice, in order, is shifted along rows and columns, in pixels; None of a straight stack.

    positions_mm (K, 3): of the first pixel of each. Raises Refusal where the shift is not the same from slice to slice.
    """
    shift = (positions_mm - grid.origin_mm) @ grid.axes[1:].T / grid.spacing_mm[1:]
    if np.abs(shift).max() <= SHIFT_PIXELS:
        return None
    number = np.arange(len(shift))[:, None]
    slope = shift[-1:] / number[-1]
    beside = np.abs(shift - number * slope).max(1)
    if beside.max() > SHIFT_PIXELS:
        worst = np.abs(np.diff(shift, axis=0) - np.median(np.diff(shift, axis=0), axis=0)).max(1)
        got = f"another shift after slice {int(worst.argmax()) + 1}"
        raise Refusal("", "slices above each other, or each shifted like the last", got)
    return np.asarray(number * slope)


def straightened(
    planes: Sequence[NDArray[np.number]], lean: Vector, grid: Grid, fill: Sequence[float]
) -> tuple[list[NDArray[np.number]], Grid]:
    """Slices (H, W) moved to their places in one larger, straight stack, and its grid.

    fill (K,): the number around each slice. Between pixels values are interpolated linearly.
    """
    height, width = planes[0].shape
    more = np.ceil(np.ptp(lean, axis=0))
    first = (lean.min(0) + lean.max(0) - more) / 2  # the middle stays the middle
    rows, columns = height + int(more[0]), width + int(more[1])
    moved: list[NDArray[np.number]] = []
    for plane, (down, right), outside in zip(planes, lean - first, fill, strict=True):
        axes = (
            Axis(height, rows, (rows - 1) / 2 - float(down), 1.0, 0, height),
            Axis(width, columns, (columns - 1) / 2 - float(right), 1.0, 0, width),
        )
        canvas = resample_plane(plane, *axes)
        canvas[~(axes[0].inside[:, None] & axes[1].inside)] = outside
        moved.append(canvas)
    steps = grid.axes[1:] * grid.spacing_mm[1:, None]
    return moved, replace(grid, origin_mm=grid.origin_mm + first @ steps)
