"""What an image or a volume is cropped to before anything else: the body, or what a mask marks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal
from ingest.align.volume_geometry import Grid

COARSE = 96  # the most samples along an axis on which the body is looked for
MARGIN = 0.05  # of a mask's box, on each side
BINS = 256

Box = tuple[tuple[int, int], ...]  # per axis: the first pixel, and the one after the last


def body_box(image: NDArray[np.number], *, inverted: bool = False) -> Box:
    """The box of the largest connected region above air, in 2 or 3 axes; all of the image where there is none.

    Air and body are told apart by Otsu's threshold (1979, A threshold selection method from gray-level histograms);
    thin bridges, as to a table, are cut by an opening of one sample.
    """
    from scipy import ndimage

    steps = [max(-(-side // COARSE), 1) for side in image.shape]
    coarse = image[tuple(slice(step // 2, None, step) for step in steps)].astype(np.float32)
    threshold = otsu(coarse)
    body = coarse < threshold if inverted else coarse > threshold
    opened = ndimage.binary_opening(body) if min(body.shape) >= 3 else body
    labels, count = ndimage.label(opened if opened.any() else body)
    whole = tuple((0, side) for side in image.shape)
    if count == 0:
        return whole
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    found = ndimage.find_objects(labels, largest)[largest - 1]
    return tuple(
        (max((part.start - 1) * step, 0), min((part.stop + 1) * step, side))
        for part, step, side in zip(found, steps, image.shape, strict=True)
    )


def otsu(values: NDArray[np.floating]) -> float:
    """The threshold that parts values into the two classes farthest from each other (Otsu 1979, eq. 18)."""
    low, high = (float(bound) for bound in np.percentile(values, (0.5, 99.5)))
    if high <= low:
        return float(values.max())
    counts, edges = np.histogram(values, BINS, (low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    total, weighted = below[-1], np.cumsum(counts * middles)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between[:-1]))])


def marked_box(mask: NDArray[np.number]) -> Box:
    """The box of what is above 0. Raises Refusal where nothing is."""
    box = []
    for axis in range(mask.ndim):
        there = np.flatnonzero((mask > 0).any(tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(there):
            raise Refusal("mask", "something above 0 in it", "nothing")
        box.append((int(there[0]), int(there[-1]) + 1))
    return tuple(box)


def scaled_box(box: Box, mask_shape: Sequence[int], shape: Sequence[int]) -> Box:
    """The box of a mask on an image of another size, with the margin around."""
    scales = [side / of for side, of in zip(shape, mask_shape, strict=True)]
    return _clipped([(low * k, high * k) for (low, high), k in zip(box, scales, strict=True)], shape)


def moved_box(box: Box, mask: Grid, image: Grid, shape: Sequence[int]) -> Box:
    """The box of a mask's voxels as a box of the image's, with the margin around. Raises Refusal where it is beside."""
    corners = np.array(np.meshgrid(*[(low - 0.5, high - 0.5) for low, high in box], indexing="ij")).reshape(3, -1).T
    moved = image.voxels(mask.points(corners)) + 0.5
    if (moved.max(0) <= 0).any() or (moved.min(0) >= shape).any():
        raise Refusal("mask", "a mask that lies on the image", "one beside it")
    return _clipped(list(zip(moved.min(0), moved.max(0), strict=True)), shape)


def _clipped(box: Sequence[tuple[float, float]], shape: Sequence[int]) -> Box:
    found = []
    for (low, high), side in zip(box, shape, strict=True):
        margin = MARGIN * (high - low)
        start = min(max(int(np.floor(low - margin + 1e-6)), 0), side - 1)
        found.append((start, max(min(int(np.ceil(high + margin - 1e-6)), side), start + 1)))
    return tuple(found)
