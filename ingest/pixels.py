"""The pixels of an image file as floats in [0, 1], the way a viewer would show them."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataset import Dataset

MAX_PIXELS = 1 << 26  # 67 million in one frame: a chest X-ray has 10 million
IMAGE_FORMATS = ("PNG", "JPEG", "TIFF")

# What pydicom and its decoders, and Pillow, raise on broken files; anything else is a defect of ours.
LIBRARY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, IndexError, KeyError, MemoryError, NotImplementedError,
    OSError, RecursionError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error, Warning,
)  # fmt: skip


def read_image(path: Path) -> NDArray[np.float32]:
    """Pixels (H, W) or (H, W, 3) in [0, 1], of a DICOM, PNG, JPEG or TIFF file.

    DICOM: modality rescale, the stated VOI window (without one: 8-bit images by their full range, deeper ones by
    their own range), MONOCHROME1 inverted once, YBR and palettes to RGB, the first frame of several.
    Others: turned as EXIF says; transparency is dropped. Raises InputError, one line, whatever is wrong.
    """
    if not path.is_file():
        raise InputError(str(path), expected="an image file", got="nothing of that name")
    with path.open("rb") as file:
        head = file.read(132)
    pixels = _read_dicom(path) if head[128:] == b"DICM" or path.suffix.lower() == ".dcm" else _read_picture(path)
    assert pixels.dtype == np.float32
    return pixels


def _read_dicom(path: Path) -> NDArray[np.float32]:
    # Imported here: pictures need no pydicom, and dicom_header uses this module.
    from ingest.dicom_header import dicom_errors, plain_stream, quiet_pydicom, read_header

    header = read_header(path)
    try:
        from pydicom.pixels.utils import pixel_array

        with quiet_pydicom(), path.open("rb") as file:
            stream = plain_stream(path, file)
            stream.seek(0)
            return _displayed(pixel_array(stream, index=0), header)
    except dicom_errors() as error:
        raise InputError(
            str(path),
            field="Pixel Data",
            expected=f"an image of {header.get('Rows')} rows and {header.get('Columns')} columns",
            got=f"data that do not decode ({type(error).__name__})",
        ) from None


def _displayed(frame: NDArray[np.number], header: "Dataset") -> NDArray[np.float32]:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        depth = int(header.RedPaletteColorLookupTableDescriptor[2])
        return _clipped(apply_color_lut(frame, header)[..., :3] / (2.0**depth - 1.0))
    if frame.ndim == 3:
        return _clipped(np.asarray(frame, np.float64) / (2.0 ** int(header.BitsStored) - 1.0))
    values = np.asarray(apply_modality_lut(frame, header), np.float64)
    shown = _windowed(values, frame, header)
    return _clipped(1.0 - shown if photometric == "MONOCHROME1" else shown)


def _windowed(values: NDArray[np.float64], frame: NDArray[np.number], header: "Dataset") -> NDArray[np.float64]:
    """VOI as in DICOM PS3.3 C.11.2: a table, else the first window, else the range of the data; to [0, 1]."""
    from pydicom.pixels.processing import apply_voi

    if tables := header.get("VOILUTSequence"):
        depth = int(tables[0].LUTDescriptor[2])
        return np.asarray(apply_voi(values.astype(np.int64), header), np.float64) / (2.0**depth - 1.0)
    centre, width = (_first_number(header.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 0:
        function = str(header.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
        if function == "SIGMOID":
            return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700, 700))))
        if function == "LINEAR_EXACT":
            return (values - centre) / width + 0.5
        if width > 1:
            return (values - (centre - 0.5)) / (width - 1.0) + 0.5
        return (values > centre - 0.5).astype(np.float64)
    if frame.dtype == np.uint8 and int(header.get("BitsStored", 8)) == 8:
        low, high = 0.0, 255.0
        if values.min() < low or values.max() > high:
            low, high = float(values.min()), float(values.max())
    else:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _first_number(value: object) -> float | None:
    from pydicom.multival import MultiValue

    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value in (None, "") else float(value)  # type: ignore[arg-type]  # a DS, which is a float


@contextmanager
def open_picture(path: Path) -> "Iterator[Image.Image]":
    """A PNG, JPEG or TIFF whose header is sound and whose size is bearable; InputError for whatever goes wrong."""
    from PIL import Image

    expected = "a PNG, JPEG or TIFF image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; a bomb is caught by the limit below
            with Image.open(path, formats=IMAGE_FORMATS) as picture:
                check_size(str(path), *picture.size)
                yield picture
    except Image.DecompressionBombError:
        raise InputError(str(path), field="size", expected=f"1 to {MAX_PIXELS:,} pixels", got="far more") from None
    except LIBRARY_ERRORS as error:
        raise InputError(
            str(path), expected=expected, got=f"data that do not decode ({type(error).__name__})"
        ) from None


def _read_picture(path: Path) -> NDArray[np.float32]:
    from PIL import ImageOps

    with open_picture(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode in {"LA", "La"}:
            picture = picture.convert("L")
        elif picture.mode not in {"1", "L", "RGB", "I", "F"} and not picture.mode.startswith("I;16"):
            picture = picture.convert("RGB")
        values = np.asarray(picture)
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return _clipped(values / 255.0)
    if np.issubdtype(values.dtype, np.integer):  # 16 bits, which Pillow may hand over in 32
        return _clipped(values / 65535.0)
    low, high = float(values.min()), float(values.max())
    return _clipped((values - low) / (high - low) if high > low else np.zeros_like(values))


def check_size(file: str, columns: int, rows: int) -> None:
    """Refuse more pixels than any real image has, before memory is asked for."""
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise InputError(
            file, field="size", expected=f"1 to {MAX_PIXELS:,} pixels", got=f"{rows} rows and {columns} columns"
        )


def _clipped(values: NDArray[np.floating]) -> NDArray[np.float32]:
    clipped: NDArray[np.float32] = np.clip(np.nan_to_num(values), 0.0, 1.0).astype(np.float32)
    return clipped
