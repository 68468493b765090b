"""A flat image brought to the shape, spacing and intensities that a task asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.align.boxes import Box
from ingest.align.dicom_frame import Dicom, grey_frame, parse_dicom
from ingest.align.resample import Axis, resample_plane
from ingest.errors import InputError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, section 2.5.1

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """What is shown of an image: planes (C of (H, W)) of numbers of which low becomes 0 and high becomes 1.

    inverted: the other way round. spacing_mm: between rows and columns; None where the file does not state it.
    """

    planes: Sequence[NDArray[np.number]]
    low: float = 0.0
    high: float = 1.0
    inverted: bool = False
    spacing_mm: tuple[float, ...] | None = None


def read_shown(
    path: Path, content: bytes, frame: int = 0, intensity: tuple[float, float] | None = None, *, spacing: bool = False
) -> Shown:
    """One frame of an image file; with its `spacing` where that is wanted. Raises InputError.

    `intensity`: the modality values, or numbers of a picture, that become 0 and 1; else as `read_image`.
    """
    dicom = parse_dicom(path, content) if content[128:132] == b"DICM" else None
    spacing_mm = spacing_of(dicom, path, frame) if spacing else None
    if dicom is not None and (found := _plain(dicom, frame, intensity)) is not None:
        pixels, low, high = found
        return Shown([pixels], low, high, dicom.inverted, spacing_mm)
    from ingest.pictures.pixels import read_image, read_values

    if intensity is not None:
        inverted = dicom is not None and dicom.inverted
        return Shown(list(read_values(path, frames=[frame], content=content)), *intensity, inverted, spacing_mm)
    image = read_image(path, frame, content=content)
    return Shown([image] if image.ndim == 2 else list(np.moveaxis(image, 2, 0)), spacing_mm=spacing_mm)


def fitted(shown: Shown, shape: Sequence[int], channels: int, box: Box | None = None) -> Float:
    """The image, or its box, as large as fits into `shape`, proportions kept, black around: (channels, *shape)."""
    planes = _channels(shown, channels)
    height, width = planes.planes[0].shape
    (top, bottom), (left, right) = box or ((0, height), (0, width))
    scale = min(shape[0] / (bottom - top), shape[1] / (right - left))
    rows, columns = (max(round((bottom - top) * scale), 1), max(round((right - left) * scale), 1))
    axes = (
        Axis(height, rows, (top + bottom - 1) / 2, (bottom - top) / rows, top, bottom),
        Axis(width, columns, (left + right - 1) / 2, (right - left) / columns, left, right),
    )
    out = np.zeros((len(planes.planes), *shape), np.float32)
    above, before = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    for plane, target in zip(planes.planes, out, strict=True):
        target[above : above + rows, before : before + columns] = _scaled(planes, plane, axes)
    return np.repeat(out, channels, 0) if len(out) < channels else out


def spaced(
    shown: Shown, shape: Sequence[int], channels: int, spacing_mm: Sequence[float], box: Box | None = None
) -> Float:
    """The image, or its box, at `spacing_mm`, its middle in the middle of `shape`, cropped or black around.

    Raises InputError where the file does not state its own spacing.
    """
    assert shown.spacing_mm is not None
    planes = _channels(shown, channels)
    sides = planes.planes[0].shape
    rows, columns = (
        Axis(side, size, (low + high - 1) / 2, float(wanted) / stated, low, high)
        for side, size, wanted, stated, (low, high) in zip(
            sides, shape, spacing_mm, shown.spacing_mm, box or tuple((0, side) for side in sides), strict=True
        )
    )
    out = np.stack([_scaled(planes, plane, (rows, columns)) for plane in planes.planes])
    out *= rows.inside[:, None] & columns.inside
    return np.repeat(out, channels, 0) if len(out) < channels else out


def spacing_of(dicom: Dicom | None, path: Path, frame: int = 0) -> tuple[float, ...]:
    """mm between rows and between columns: in the patient, else at the detector. Raises InputError."""
    found: tuple[float, ...] | None = None
    if dicom is not None:
        from ingest.dicom.frames import geometry
        from ingest.dicom.header import dicom_errors

        try:
            found = geometry(dicom.header, frame + 1)[frame].spacing_mm or dicom.numbers("NominalScannedPixelSpacing")
        except dicom_errors():
            found = None
    if not found or len(found) != 2 or min(found) <= 0:
        raise InputError(
            str(path),
            field="Pixel Spacing",
            expected="Pixel Spacing or Imager Pixel Spacing, for spacing_mm",
            got="none",
        )
    return found


def _plain(
    dicom: Dicom, frame: int, intensity: tuple[float, float] | None
) -> tuple[NDArray[np.number], float, float] | None:
    """(stored pixels, which of their values become 0 and 1), where these are in a line; None where they are not."""
    from ingest.dicom.frames import rescales, window
    from ingest.dicom.header import dicom_errors

    header = dicom.header
    if "ModalityLUTSequence" in header or (intensity is None and "VOILUTSequence" in header):
        return None
    try:
        (factors,), voi = rescales(header, [frame]), window(header, frame)
    except dicom_errors():
        return None
    slope, intercept = factors or (1.0, 0.0)
    if slope <= 0 or (voi is None and intensity is None and "PixelPaddingValue" in header):
        return None
    if intensity is None and voi is not None and (voi.function == "SIGMOID" or voi.width <= 1):
        return None
    if (pixels := grey_frame(dicom, frame)) is None:
        return None
    if intensity is not None:
        low, high = intensity
    elif voi is not None:  # PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2
        exact = voi.function == "LINEAR_EXACT"
        middle, half = (voi.centre, voi.width / 2) if exact else (voi.centre - 0.5, (voi.width - 1) / 2)
        low, high = middle - half, middle + half
    else:
        low, high = (float(pixels.min()) * slope + intercept, float(pixels.max()) * slope + intercept)
        if pixels.dtype == np.uint8 and dicom.number("BitsStored", 8) == 8 and low >= 0 and high <= 255:
            low, high = 0.0, 255.0
        if high <= low:
            return None
    return pixels, (low - intercept) / slope, (high - intercept) / slope


def _channels(shown: Shown, channels: int) -> Shown:
    """Grey instead of colours, where one channel is wanted."""
    if channels > 1 or len(shown.planes) == 1:
        return shown
    grey = np.tensordot(np.array(LUMA, np.float32), np.stack(shown.planes), 1)
    return Shown([grey], shown.low, shown.high, shown.inverted, shown.spacing_mm)


def _scaled(shown: Shown, plane: NDArray[np.number], axes: tuple[Axis, Axis]) -> Float:
    """Clipped, then averaged, then in [0, 1]."""
    small = resample_plane(plane, *axes, clip=(shown.low, shown.high))
    small -= np.float32(shown.low)
    small *= np.float32(1 / (shown.high - shown.low))
    np.clip(small, 0, 1, out=small)
    return np.subtract(1, small, out=small) if shown.inverted else small
