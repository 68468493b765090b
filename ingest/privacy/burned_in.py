"""Whether an image has writing in its pixels: what the header says, what kind it is, and what can be seen.

The detector looks for rows of glyphs: small connected strokes of one even, extreme brightness with a hard edge, of
similar height, on one line. It is meant to hold too much back rather than too little; a person decides on what is held.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_SIDE = 1600  # pixels; larger images are looked at reduced, in which text of a readable size survives
GLYPH_HEIGHTS = (5, 80)
GLYPHS_IN_ROW = 4
EDGE = 0.25  # of the image's range, between a glyph and what surrounds it
RISKY_MODALITIES = {"US", "OT", "SC", "XC", "ES", "DOC", "SM", "GM", "OP"}  # screens, scans and cameras show text


@dataclass(frozen=True)
class _Glyphs:
    """Boxes of strokes: top, bottom, left, right (N,), in pixels, the last ones excluded."""

    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]

    @property
    def height(self) -> NDArray[np.int64]:
        return self.bottom - self.top


def header_reason(dataset: "Dataset") -> str:
    """Why the header alone asks for a look; empty where it does not (it may still be wrong)."""
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        return "the header says that text is burned in"
    if str(dataset.get("RecognizableVisualFeatures", "")).upper() == "YES":
        return "the header says that a face can be recognised"
    modality, kind = str(dataset.get("Modality", "")), str(dataset.get("ConversionType", ""))
    if modality in RISKY_MODALITIES or kind in {"SD", "SI", "WSD", "DV", "DF", "SYN"}:
        return f"an image of a kind that often bears text ({modality or kind})"
    return ""


def has_text(frame: NDArray[np.generic]) -> bool:
    """Whether a frame (H, W) or (H, W, 3), of any number type, shows a row of glyphs."""
    values = np.asarray(frame, np.float32)
    gray = values.mean(2) if values.ndim == 3 else values
    step = -(-max(gray.shape) // MAX_SIDE)
    gray = gray[::step, ::step]
    low, high = float(gray.min()), float(gray.max())
    if not high > low:
        return False
    scaled = (gray - low) / (high - low)
    return any(_has_row(_glyphs(side)) for side in (scaled, 1 - scaled))


def _glyphs(image: NDArray[np.float32]) -> _Glyphs:
    """Strokes at the bright end of an image in [0, 1]."""
    from scipy import ndimage

    bright = image > 1 - 0.12
    labels, count = ndimage.label(bright, structure=np.ones((3, 3)))
    if not count:
        return _Glyphs(*(np.zeros(0, np.int64) for _ in range(4)))
    boxes = ndimage.find_objects(labels)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    ring = ndimage.grey_dilation(labels, size=(5, 5)) * ~ndimage.binary_dilation(bright, iterations=1)
    around = ndimage.mean(image, ring, np.arange(1, count + 1))
    top, bottom = (np.array([getattr(box[0], end) for box in boxes]) for end in ("start", "stop"))
    left, right = (np.array([getattr(box[1], end) for box in boxes]) for end in ("start", "stop"))
    height, width = bottom - top, right - left
    fits = (height >= GLYPH_HEIGHTS[0]) & (height <= GLYPH_HEIGHTS[1]) & (width <= 2 * height)
    fill = sizes / np.maximum(height * width, 1)
    fits &= (fill > 0.12) & (fill <= 1.0) & (1 - np.nan_to_num(around, nan=1.0) > EDGE)
    return _Glyphs(top[fits], bottom[fits], left[fits], right[fits])


def _has_row(glyphs: _Glyphs) -> bool:
    """Whether enough glyphs of one height follow each other on one line."""
    order = np.argsort(glyphs.left, kind="stable")
    middle = (glyphs.top + glyphs.bottom) / 2
    for number in order.tolist():
        height = glyphs.height[number]
        near = np.abs(middle - middle[number]) <= 0.5 * height
        near &= (glyphs.height >= 0.5 * height) & (glyphs.height <= 2 * height)
        row = np.flatnonzero(near)
        if len(row) < GLYPHS_IN_ROW:
            continue
        row = row[np.argsort(glyphs.left[row])]
        gaps = glyphs.left[row][1:] - glyphs.right[row][:-1]
        run = 1
        for gap in gaps.tolist():
            run = run + 1 if -0.3 * height <= gap <= 2.0 * height else 1
            if run >= GLYPHS_IN_ROW:
                return True
    return False
