"""Stored frames of DICOM files straight from their bytes: the fast road beside `ingest.pictures.pixels`.

It takes what most files are (a sound header, grey integers, a codec that pydicom knows) and leaves everything else, and
every complaint, to the general reader.
"""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.delivery.bounds import MAX_PIXELS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

PIXEL_DATA = 0x7FE00010
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
# What is read of a header; more would cost more than decoding a slice does.
KEYWORDS = (
    "SOPClassUID", "Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing",
    "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "GridFrameOffsetVector", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Dicom:
    """A file's elements before the pixels, its bytes, and where among them the value of Pixel Data starts.

    start: -1 where the file is not of the ordinary kind that is decoded here.
    """

    path: Path
    header: "Dataset"
    content: bytes
    start: int

    def number(self, keyword: str, default: float) -> float:
        """A numeric element, the first of several; `default` where it is absent, empty or no number."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else default

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values of a numeric element; none where one of them is no number."""
        return numbers_of(self.header, keyword)

    @property
    def frames(self) -> int:
        """Number of Frames."""
        return max(int(self.number("NumberOfFrames", 1)), 1)

    @property
    def photometric(self) -> str:
        """Photometric Interpretation; empty where it is absent."""
        return str(self.header.get("PhotometricInterpretation", "")).strip()

    @property
    def inverted(self) -> bool:
        """Whether low values are bright."""
        return self.photometric == "MONOCHROME1"


def numbers_of(dataset: "Dataset", keyword: str) -> tuple[float, ...]:
    """All values of a numeric element of a dataset; none where one of them is no number."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return ()
    several = value if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else [value]
    try:
        numbers = tuple(float(each) for each in several)
    except (TypeError, ValueError):
        return ()
    return numbers if all(np.isfinite(numbers)) else ()


def parse_dicom(path: Path, content: bytes) -> Dicom:
    """The header of a DICOM file. Raises InputError."""
    from ingest.dicom.header import open_dicom

    if (dicom := _ordinary(path, content)) is not None:
        return dicom
    with open_dicom(path, content) as opened:
        return Dicom(path, opened.dataset, content, -1)


def _ordinary(path: Path, content: bytes) -> Dicom | None:
    from pydicom.filereader import read_partial
    from pydicom.tag import BaseTag

    from ingest.dicom.header import dicom_errors
    from ingest.dicom.quiet import quiet_pydicom

    quiet_pydicom()
    stream, found = io.BytesIO(content), [-1]

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag == PIXEL_DATA:
            found[0] = stream.tell()
        return bool(tag == PIXEL_DATA)

    try:
        header = read_partial(stream, stop_when=at_pixels, specific_tags=_tags())
        syntax = header.file_meta.get("TransferSyntaxUID")
    except dicom_errors():
        return None
    return Dicom(path, header, content, found[0]) if syntax and syntax not in (DEFLATED, BIG_ENDIAN) else None


@cache
def _tags() -> "list[BaseTag | int]":
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return [Tag(tag) for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]


def stored_frame(dicom: Dicom, frame: int = 0) -> NDArray[Any]:
    """A frame (H, W) of stored numbers, read-only. Raises InputError where it is coloured or does not decode."""
    from ingest.errors import InputError
    from ingest.pictures.pixels import read_frames

    pixels = grey_frame(dicom, frame)
    if pixels is None:
        pixels = read_frames(dicom.path, frames=[frame], content=dicom.content)[0]
    if pixels.ndim != 2:
        raise InputError(str(dicom.path), field="Samples per Pixel", expected="1: a grey image", got="colours")
    return pixels


def grey_frame(dicom: Dicom, frame: int = 0) -> NDArray[Any] | None:
    """A frame (H, W) of stored integers, read-only; None where it is coloured, of odd depth, or does not decode."""
    from ingest.dicom.header import dicom_errors

    header = dicom.header
    try:
        shape = (int(header.Rows), int(header.Columns))
        allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
        if dicom.start < 0 or dicom.photometric not in _GREY or int(header.get("SamplesPerPixel", 1)) != 1:
            return None
        if allocated not in (8, 16) or not 0 < shape[0] * shape[1] <= MAX_PIXELS or not 0 <= frame < dicom.frames:
            return None
        signed = bool(header.PixelRepresentation)
        dtype = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
        pixels = _decoded(dicom, frame, shape, dtype)
    except dicom_errors():
        return None
    if pixels is None or stored == allocated:
        return pixels
    low, high = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if signed else (0, (1 << stored) - 1)
    # Bits beyond those stored hold an overlay or a sign that was not extended: the general reader puts that right.
    return pixels if pixels.max() <= high and (not signed or pixels.min() >= low) else None


def _decoded(dicom: Dicom, frame: int, shape: tuple[int, int], dtype: np.dtype) -> NDArray[Any] | None:
    header = dicom.header
    syntax = header.file_meta.TransferSyntaxUID
    count = shape[0] * shape[1]
    if not syntax.is_encapsulated:
        if len(dicom.content) < dicom.start + (frame + 1) * count * dtype.itemsize:
            return None
        return np.frombuffer(dicom.content, dtype, count, dicom.start + frame * count * dtype.itemsize).reshape(shape)
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

    if dtype.kind == "i" and syntax in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes):
        return None  # a codestream may disagree with its header on the sign
    keywords: dict[str, Any] = {
        "rows": shape[0],
        "columns": shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 8 * dtype.itemsize,
        "bits_stored": int(header.BitsStored),
        "number_of_frames": dicom.frames,
        "pixel_representation": int(header.PixelRepresentation),
        "photometric_interpretation": str(header.PhotometricInterpretation),
        "pixel_keyword": "PixelData",
    }
    if header.get("ExtendedOffsetTable"):
        keywords["extended_offsets"] = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    data, made = get_decoder(syntax).as_buffer(dicom.content[dicom.start :], index=frame, **keywords)
    if made["bits_allocated"] != 8 * dtype.itemsize or len(data) != count * dtype.itemsize:
        return None
    return np.frombuffer(data, dtype, count).reshape(shape)
