"""PNG, JPEG and TIFF files: their headers checked, their pages read."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.delivery.bounds import LIBRARY_ERRORS, MAX_PIXELS, check_decoded, check_size
from ingest.dicom.quiet import quiet_warnings
from ingest.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = ("PNG", "JPEG", "TIFF")
MAX_PAGES = 10_000


@contextmanager
def open_picture(path: Path, content: bytes | None = None) -> "Iterator[Image.Image]":
    """A PNG, JPEG or TIFF whose header is sound and whose size is bearable; InputError for whatever goes wrong."""
    from PIL import Image

    expected = "a PNG, JPEG or TIFF image"
    quiet_warnings()
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=IMAGE_FORMATS) as picture:
            check_size(str(path), *picture.size)
            yield picture
    except Image.DecompressionBombError:
        raise InputError(str(path), field="size", expected=f"1 to {MAX_PIXELS:,} pixels", got="far more") from None
    except LIBRARY_ERRORS as error:
        raise InputError(
            str(path), expected=expected, got=f"data that do not decode ({type(error).__name__})"
        ) from None


def count_pages(path: Path, content: bytes | None = None) -> int:
    """How many pages a TIFF has; 1 of other pictures. Raises InputError."""
    with open_picture(path, content) as picture:
        return _pages(path, picture)


def displayed_picture(path: Path, page: int, content: bytes | None = None) -> NDArray[np.float32]:
    """A page (H, W) or (H, W, 3) in [0, 1]."""
    from PIL import ImageOps

    with open_picture(path, content) as opened:
        _turn_to(path, opened, page)
        picture = ImageOps.exif_transpose(opened)
        if picture.mode in {"LA", "La"}:
            picture = picture.convert("L")
        elif picture.mode not in {"1", "L", "RGB", "I", "F"} and not picture.mode.startswith("I;16"):
            picture = picture.convert("RGB")
        values = np.asarray(picture)
        is_deep = picture.mode in {"I", "F"} and opened.format == "TIFF"  # of a PNG, I may be 16 bits
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    shown = values.astype(np.float32)
    if not is_deep:
        shown *= np.float32(1 / (255 if values.dtype == np.uint8 else 65535))
        return np.clip(shown, 0, 1, out=shown)
    np.nan_to_num(shown, copy=False, posinf=0, neginf=0)
    low, high = float(shown.min()), float(shown.max())
    if high > low:
        shown -= low
        shown /= high - low
        return np.clip(shown, 0, 1, out=shown)
    return np.zeros_like(shown)


def stored_picture(path: Path, frames: Sequence[int] | None, content: bytes | None = None) -> NDArray[Any]:
    """The numbers as stored: (H, W[, channels]), with a leading axis where `frames` is given or there are more."""
    with open_picture(path, content) as picture:
        pages = range(_pages(path, picture)) if frames is None else frames
        stack = []
        for page in pages:
            _turn_to(path, picture, page)
            check_decoded(str(path), len(pages) * picture.width * picture.height * len(picture.getbands()))
            stack.append(np.array(picture))
        return stack[0] if frames is None and len(stack) == 1 else np.stack(stack)


def picture_values(path: Path, frames: Sequence[int] | None, content: bytes | None = None) -> NDArray[np.float32]:
    """The numbers of a grey picture as float32 (pages, H, W). Raises InputError for colour."""
    values = stored_picture(path, frames, content)
    if frames is None and count_pages(path, content) == 1:
        values = values[None]
    if values.ndim != 3:
        raise InputError(str(path), expected="a grey image", got="colours")
    return values.astype(np.float32)


def _pages(path: Path, picture: "Image.Image") -> int:
    pages = int(getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
    if pages > MAX_PAGES:
        raise InputError(str(path), expected=f"at most {MAX_PAGES:,} pages", got=f"{pages:,}")
    return pages


def _turn_to(path: Path, picture: "Image.Image", page: int) -> None:
    if not 0 <= page < (pages := _pages(path, picture)):
        raise InputError(str(path), field="frame", expected=f"0 to {pages - 1}", got=str(page))
    if picture.format == "TIFF":
        picture.seek(page)
        check_size(str(path), *picture.size)
