"""Whether an image has writing in its pixels: what the header says, what kind it is, and what can be seen.

The detector looks for rows of glyphs: thin strokes of one even brightness, brighter or darker than what they lie on,
of similar height and brightness, on one line. It is meant to hold too much back rather than too little; a person
decides on what is held. How much it misses is in docs/privacy.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_SIDE = 1600  # pixels; larger images are looked at reduced too
STROKES = (7, 17)  # pixels: strokes thinner than these stand out from what a filter of that width leaves
GLYPH_HEIGHTS = (5, 64)
GLYPHS_IN_ROW = 4  # letters, by the width of what touches
PARTS_IN_ROW = 3  # of letters, or of letters that touch
WORD = 4  # widths of a letter that touch each other at most
BRIGHTEST = 0.12  # of the image's range, below its brightest
CONTRAST = 0.18  # of the image's range, between a stroke and what it lies on
EDGE = 0.15  # of the image's range, between a stroke and what is two pixels away from it
EVENNESS = 0.10  # of the image's range, between the quartiles of a stroke's pixels
RISKY_MODALITIES = {"US", "OT", "SC", "XC", "ES", "DOC", "SM", "GM", "OP"}  # screens, scans and cameras show text
Gray = NDArray[np.float32]


@dataclass(frozen=True)
class _Glyphs:
    """Strokes (N,): their boxes in pixels, the last ones excluded, and their brightness in [0, 1]."""

    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    level: NDArray[np.float32]

    @property
    def height(self) -> NDArray[np.int64]:
        return self.bottom - self.top


def header_reason(dataset: "Dataset") -> str:
    """Why the header alone asks for a look; empty where it does not (it may still be wrong)."""
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        return "the header says that text is burned in"
    if str(dataset.get("RecognizableVisualFeatures", "")).strip().upper() == "YES":
        return "the header says that a face can be recognised"
    modality, kind = str(dataset.get("Modality", "")).strip(), str(dataset.get("ConversionType", "")).strip()
    if modality in RISKY_MODALITIES or kind in {"SD", "SI", "WSD", "DV", "DF", "SYN", "DRW"}:
        return "an image of a kind that often bears text (ultrasound, screen, scan, camera)"
    if "Secondary Capture" in _class_name(dataset):
        return "an image of a kind that often bears text (secondary capture)"
    return ""


def has_text(frame: NDArray[np.generic]) -> bool:
    """Whether a frame (H, W) or (H, W, 3), of any number type, shows a row of glyphs, as it is or turned a quarter."""
    values = np.asarray(frame, np.float32)
    planes = [values] if values.ndim == 2 else [values[..., :3].mean(2), values[..., :3].max(2)]
    return any(_shows(plane) for plane in planes)


def _shows(gray: Gray) -> bool:
    step = -(-max(gray.shape) // MAX_SIDE)
    sizes = [gray] if step == 1 else [gray[::step, ::step], _shrunk(gray, step)]
    for image in sizes:
        low, high = float(image.min()), float(image.max())
        if not high > low or min(image.shape) < GLYPH_HEIGHTS[0]:
            continue
        scaled = (image - low) / (high - low)
        for side in (scaled, 1 - scaled):
            for mask in _masks(side):
                glyphs = _glyphs(side, mask)
                if _has_row(glyphs) or _has_row(_turned(glyphs)):
                    return True
    return False


def _masks(image: Gray) -> Iterator[NDArray[np.bool_]]:
    """Where an image in [0, 1] is brightest of all, and where it is brighter than what lies around."""
    from scipy import ndimage

    yield image > 1 - BRIGHTEST
    for stroke in STROKES:
        yield image - ndimage.grey_opening(image, size=(stroke, stroke)) > CONTRAST


def _glyphs(image: Gray, mask: NDArray[np.bool_]) -> _Glyphs:
    """The connected parts of a mask that could be letters."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    found = []
    for number, box in enumerate(boxes, 1):
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        if max(height, width) < GLYPH_HEIGHTS[0] or min(height, width) > GLYPH_HEIGHTS[1]:
            continue
        if max(height, width) > WORD * GLYPH_HEIGHTS[1]:
            continue
        stroke = labels[box] == number
        inside = image[box][stroke]
        if not inside.size / (height * width) > 0.12 or inside.size < 5:
            continue
        quarter, middle, most = np.percentile(inside, (25, 60, 85))
        is_even = most - quarter <= EVENNESS + 0.35 * (inside.size < 25)
        if is_even and middle - _around(image, stroke, box) > EDGE:
            found.append((box[0].start, box[0].stop, box[1].start, box[1].stop, middle))
    columns = np.array(found, np.float64).reshape(-1, 5).T
    top, bottom, left, right = (column.astype(np.int64) for column in columns[:4])
    return _Glyphs(top, bottom, left, right, columns[4].astype(np.float32))


def _around(image: Gray, stroke: NDArray[np.bool_], box: tuple[slice, slice]) -> float:
    """The brightness two pixels outside a stroke, in the upper quarter: a soft edge anywhere counts."""
    from scipy import ndimage

    wide = np.pad(stroke, 2)
    once = ndimage.binary_dilation(wide, np.ones((3, 3)))
    ring = ndimage.binary_dilation(once) & ~once
    top, left = box[0].start - 2, box[1].start - 2
    rows, columns = np.nonzero(ring)
    rows, columns = rows + top, columns + left
    kept = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    return float(np.percentile(image[rows[kept], columns[kept]], 75)) if kept.any() else 1.0


def _turned(glyphs: _Glyphs) -> _Glyphs:
    """The same for writing that runs from top to bottom."""
    return _Glyphs(glyphs.left, glyphs.right, glyphs.top, glyphs.bottom, glyphs.level)


def _has_row(glyphs: _Glyphs) -> bool:
    """Whether enough glyphs of one height and brightness follow each other on one line."""
    middle = (glyphs.top + glyphs.bottom) / 2
    width = glyphs.right - glyphs.left
    for number in range(len(middle)):
        height = glyphs.height[number]
        if not GLYPH_HEIGHTS[0] <= height <= GLYPH_HEIGHTS[1]:
            continue
        near = np.abs(middle - middle[number]) <= 0.35 * height
        near &= (glyphs.height >= 0.6 * height) & (glyphs.height <= 1.5 * height) & (width <= WORD * height)
        near &= np.abs(glyphs.level - glyphs.level[number]) <= 0.12
        row = np.flatnonzero(near)
        if len(row) < PARTS_IN_ROW:
            continue
        row = row[np.argsort(glyphs.left[row])]
        letters = np.maximum(1, np.round(width[row] / (0.8 * height))).tolist()  # which may touch each other
        run, parts, end = 0.0, 0, -np.inf
        for place, letter in zip(row.tolist(), letters, strict=True):
            gap = glyphs.left[place] - end
            follows = -0.3 * height <= gap <= 1.2 * height
            run, parts = (run + letter, parts + 1) if follows else (letter, 1)
            end = glyphs.right[place]
            if run >= GLYPHS_IN_ROW and parts >= PARTS_IN_ROW:
                return True
    return False


def _shrunk(gray: Gray, step: int) -> Gray:
    """Means of blocks, in which thin strokes that a stride would miss survive."""
    height, width = (side // step * step for side in gray.shape)
    blocks = gray[:height, :width].reshape(height // step, step, width // step, step)
    return np.asarray(blocks.mean((1, 3)), np.float32)


def _class_name(dataset: "Dataset") -> str:
    from ingest.dicom.kinds import sop_class

    return sop_class(dataset)
