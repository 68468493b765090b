"""A DICOM frame as a viewer would show it: modality rescale, VOI, palette, inversion; in [0, 1]."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.dicom.frames import Window, rescales, window
from ingest.dicom.header import dicom_errors, open_dicom
from ingest.dicom.pixels import decoded
from ingest.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Values = NDArray[np.float32]


def displayed_frame(path: Path, frame: int, content: bytes | None = None) -> Values:
    """As `pixels.read_image`."""
    with open_dicom(path, content) as opened:
        stored = decoded(opened, [frame])[0]
        try:
            return _displayed(stored, opened.dataset, frame)
        except dicom_errors() as error:
            raise InputError(
                str(path),
                field="Pixel Data",
                expected="values that can be shown",
                got=f"a lookup table, window or rescale that cannot be used ({type(error).__name__})",
            ) from None


def _displayed(stored: NDArray[Any], header: "Dataset", frame: int) -> Values:
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2")).strip()
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        depth = int(header.RedPaletteColorLookupTableDescriptor[2])
        return _scaled(apply_color_lut(stored, header)[..., :3], 2.0**depth - 1.0)
    if stored.ndim == 3:
        return _scaled(stored, 2.0 ** int(header.BitsStored) - 1.0)
    if not np.isfinite(stored).all() if stored.dtype.kind == "f" else False:
        stored = np.nan_to_num(stored, posinf=0, neginf=0)
    show = _display_function(stored, header, frame)
    if photometric == "MONOCHROME1":
        plain = show

        def show(values: Values) -> Values:
            shown = plain(values)
            return np.subtract(1, shown, out=shown)

    return _by_table(stored, show)


def _by_table(stored: NDArray[Any], show: Callable[[Values], Values]) -> Values:
    """`show` of every pixel; where there are more pixels than possible values, of each value once."""
    bits = 8 * stored.dtype.itemsize
    if stored.dtype.kind not in "iu" or bits > 16 or stored.size <= 1 << (bits + 1):
        return show(stored.astype(np.float32))
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    every = np.arange(1 << bits, dtype=unsigned.dtype).view(stored.dtype)
    shown: Values = show(every.astype(np.float32)).take(unsigned)
    return shown


def _display_function(stored: NDArray[Any], header: "Dataset", frame: int) -> Callable[[Values], Values]:
    """From stored values to [0, 1], as in DICOM PS3.3 C.11: modality, then VOI: a table, else a window, else the range.

    The function may change the array that it is given.
    """
    modality = _modality(header, frame)
    if tables := header.get("VOILUTSequence"):
        return lambda values: _through_table(modality(values), tables[0])
    if (voi := window(header, frame)) is not None:
        return lambda values: _windowed(modality(values), voi)
    low, high = _range(stored, header, modality)

    def fill(values: Values) -> Values:
        shown = modality(values)
        if high <= low:
            shown[...] = 0
            return shown
        shown -= np.float32(low)
        shown *= np.float32(1 / (high - low))
        return np.clip(shown, 0, 1, out=shown)

    return fill


def _range(stored: NDArray[Any], header: "Dataset", modality: Callable[[Values], Values]) -> tuple[float, float]:
    """What becomes black and white where no window is stated; padding does not count."""
    extremes = np.array([stored.min(), stored.max()])
    padding = header.get("PixelPaddingValue")
    if isinstance(padding, int) and padding in extremes:
        others = stored[stored != np.array(padding).astype(stored.dtype)]
        extremes = np.array([others.min(), others.max()]) if len(others) else extremes
    ends = modality(extremes.astype(np.float32))
    low, high = float(ends.min()), float(ends.max())
    if stored.dtype == np.uint8 and int(header.get("BitsStored", 8)) == 8 and low >= 0 and high <= 255:
        return 0.0, 255.0
    return (0.0, 1.0) if header.get("BitsStored") == 1 else (low, high)


def _modality(header: "Dataset", frame: int) -> Callable[[Values], Values]:
    if header.get("ModalityLUTSequence"):
        return lambda values: _looked_up(values, header.ModalityLUTSequence[0])[0]
    (factors,) = rescales(header, [frame])

    def rescale(values: Values) -> Values:
        if factors is not None and factors != (1.0, 0.0):
            values *= np.float32(factors[0])
            values += np.float32(factors[1])
        return values

    return rescale


def _windowed(values: Values, voi: Window) -> Values:
    """DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, to [0, 1]; changes `values`."""
    centre, width = voi.centre, voi.width
    if voi.function == "SIGMOID":
        values -= np.float32(centre)
        values *= np.float32(-4.0 / width)
        np.exp(np.clip(values, -80, 80, out=values), out=values)
        values += 1
        return np.reciprocal(values, out=values)
    if voi.function != "LINEAR_EXACT":
        if width <= 1:
            return (values > centre - 0.5).astype(np.float32)
        centre, width = centre - 0.5, width - 1.0
    values -= np.float32(centre)
    values *= np.float32(1 / width)
    values += np.float32(0.5)
    return np.clip(values, 0, 1, out=values)


def _through_table(values: Values, item: "Dataset") -> Values:
    shown, depth = _looked_up(values, item)
    shown *= np.float32(1 / (2.0**depth - 1.0))
    return np.clip(shown, 0, 1, out=shown)


def _looked_up(values: Values, item: "Dataset") -> tuple[Values, int]:
    """(values through the item's table, its depth in bits): PS3.3 C.11.1.1.1, C.11.2.1.1."""
    entries, first, depth = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        is_little_endian = item.original_encoding[1] is not False
        width = 1 if depth <= 8 and len(data) <= (entries or 65536) + 1 else 2
        table = np.frombuffer(data, f"{'<' if is_little_endian else '>'}u{width}")
    else:
        table = np.asarray(data)
    table = table[: entries or 65536].astype(np.float32)
    if item["LUTDescriptor"].VR == "US" and first > 32767 and values.min() < 0:
        first -= 65536
    return table[np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.int64)], depth


def _scaled(values: NDArray[Any], full: float) -> Values:
    shown = values.astype(np.float32)
    shown *= np.float32(1 / full)
    return np.clip(shown, 0, 1, out=shown)
