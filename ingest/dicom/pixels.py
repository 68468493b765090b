"""The pixels of a DICOM object: located, checked against the header, decoded, and turned into the values they mean."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.delivery.bounds import check_decoded, check_size
from ingest.dicom.header import END_OF_ITEMS, ITEM, UNDEFINED_LENGTH, DicomFile, PixelElement, dicom_errors, open_dicom
from ingest.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.pixels.decoders.base import Decoder

_BLOCK_BYTES = 1 << 20


def stored_frames(path: Path, frames: Sequence[int] | None, content: bytes | None = None) -> NDArray[Any]:
    """As `pixels.read_frames`."""
    with open_dicom(path, content) as opened:
        return decoded(opened, frames)


def modality_values(path: Path, frames: Sequence[int] | None, content: bytes | None = None) -> NDArray[np.float32]:
    """As `pixels.read_values`."""
    from ingest.dicom.frames import rescales

    with open_dicom(path, content) as opened:
        stored = decoded(opened, frames)
        if int(opened.dataset.get("SamplesPerPixel") or 1) != 1:
            raise InputError(str(path), field="Samples per Pixel", expected="1: a grey image", got="colours")
        if stored.ndim == 2:
            stored = stored[None]
        numbers = range(len(stored)) if frames is None else frames
        try:
            return _rescaled(stored, opened.dataset, rescales(opened.dataset, numbers))
        except dicom_errors() as error:
            raise _undecodable(opened, f"a rescale that cannot be read ({type(error).__name__})") from None


def frames_of(path: Path, content: bytes | None = None) -> int:
    """The number of frames that the header states. Raises InputError."""
    with open_dicom(path, content) as opened:
        return number_of_frames(opened)


def number_of_frames(opened: DicomFile) -> int:
    """Number of Frames, 1 where it is absent or zero. Raises InputError where it is no number."""
    try:
        frames = int(opened.dataset.get("NumberOfFrames") or 1)
    except dicom_errors():
        frames = -1
    if frames < 1:
        raise InputError(str(opened.path), field="Number of Frames", expected="a whole number", got="something else")
    return frames


def decoded(opened: DicomFile, frames: Sequence[int] | None) -> NDArray[Any]:
    """The stored pixels of all frames, or of some with their number as first axis. Raises InputError."""
    from pydicom.pixels.utils import as_pixel_options

    total = number_of_frames(opened)
    pixels = located(opened)
    if frames is not None and not all(0 <= frame < total for frame in frames):
        raise InputError(str(opened.path), field="frame", expected=f"0 to {total - 1}", got=str(list(frames))[:60])
    decoder = _decoder(opened)
    try:
        options = as_pixel_options(opened.dataset)
        options |= {"transfer_syntax_uid": opened.transfer_syntax, "pixel_keyword": pixels.keyword}
        options |= {"pixel_vr": pixels.vr} if pixels.vr else {}
        options |= {"photometric_interpretation": str(options.get("photometric_interpretation", "")).strip()}

        def one(index: int | None) -> NDArray[Any]:
            opened.stream.seek(pixels.start)
            array: NDArray[Any] = decoder.as_array(opened.stream, index=index, **options)[0]
            return array

        if frames is None:
            check_decoded(str(opened.path), _frame_bytes(opened) * total)
            return one(None if total > 1 else 0)
        if total > 1 and opened.dataset.BitsAllocated == 1 and not opened.transfer_syntax.is_encapsulated:
            check_decoded(str(opened.path), _frame_bytes(opened) * total)
            return one(None)[list(frames)]  # a frame may begin within a byte, which pydicom takes for an error
        check_decoded(str(opened.path), _frame_bytes(opened) * len(frames))
        if len(frames) == 1:
            return one(frames[0])[None]
        first = one(frames[0]) if frames else np.zeros((0, 0), np.uint8)
        stack = np.empty((len(frames), *first.shape), first.dtype)
        for place, frame in enumerate(frames):
            stack[place] = first if place == 0 else one(frame)
        return stack
    except BaseException as error:
        # A panic of a decoder written in Rust has no base but BaseException, and no name that can be imported.
        if not isinstance(error, dicom_errors()) and type(error).__name__ != "PanicException":
            raise
        rows, columns = (str(opened.dataset.get(key)) for key in ("Rows", "Columns"))
        raise _undecodable(opened, f"data that do not decode ({type(error).__name__})", rows, columns) from None


def decoded_bytes(opened: DicomFile) -> int:
    """The size of all frames once decoded. Raises InputError."""
    return _frame_bytes(opened) * number_of_frames(opened)


def located(opened: DicomFile) -> PixelElement:
    """The pixel element, all of whose bytes are there. Raises InputError."""
    if opened.pixels is None:
        raise InputError(str(opened.path), field="Pixel Data", expected="an image", got="an object without pixels")
    try:
        _extent(opened, opened.pixels)
    except dicom_errors() as error:
        raise _undecodable(opened, f"pixels that cannot be located ({type(error).__name__})") from None
    return opened.pixels


def pixel_digest(opened: DicomFile) -> str | None:
    """The SHA-256 of the pixels as stored, once they are known to be all there; None of an object without any."""
    if opened.pixels is None:
        return None
    located(opened)
    length = _extent(opened, opened.pixels)
    digest = hashlib.sha256()
    opened.stream.seek(opened.pixels.start)
    while length > 0 and (block := opened.stream.read(min(length, _BLOCK_BYTES))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def decoded_digest(path: Path) -> str:
    """A digest of the pixels once decoded, the same whatever way they are stored in. Raises InputError."""
    pixels = stored_frames(path, None)
    values = pixels.astype("<f8" if pixels.dtype.kind == "f" else "<i4")
    return hashlib.sha256(f"{pixels.shape}".encode() + values.tobytes()).hexdigest()


def missing_decoder(opened: DicomFile) -> str:
    """What is needed to decode this transfer syntax and is not here; empty where it can be decoded."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    try:
        decoder = get_decoder(opened.transfer_syntax)
    except NotImplementedError:
        return "a decoder for it: there is none; convert it at the source"
    if not decoder.is_available:
        return f"a decoder for it: {' or '.join(decoder.missing_dependencies)}"
    is_deep = opened.transfer_syntax == JPEGExtended12Bit and opened.dataset.get("BitsStored") != 8
    if is_deep and "pylibjpeg" not in decoder.available_plugins:
        return "a decoder for 12 bits: pylibjpeg-libjpeg, which is GPL"
    return ""


def _decoder(opened: DicomFile) -> "Decoder":
    from pydicom.pixels.decoders.base import get_decoder

    if missing := missing_decoder(opened):
        raise InputError(
            str(opened.path), field="Transfer Syntax UID", expected="one that can be decoded here",
            got=syntax_name(opened), hint=f"needs {missing}",
        )  # fmt: skip
    _quiet_gdcm()
    return get_decoder(opened.transfer_syntax)


def syntax_name(opened: DicomFile) -> str:
    """The transfer syntax in words."""
    uid = opened.transfer_syntax
    return uid.name if uid.name != str(uid) else "an unknown transfer syntax"


def _extent(opened: DicomFile, pixels: PixelElement) -> int:
    """The bytes of the pixel element that are to be read. Raises InputError where some are missing."""
    end = opened.stream.seek(0, io.SEEK_END)
    needed = _native_bytes(opened)
    if pixels.length == UNDEFINED_LENGTH:
        return _end_of_items(opened, pixels, end) - pixels.start
    held = min(pixels.length, end - pixels.start)
    if held < pixels.length:
        raise _incomplete(opened, f"{pixels.length:,} bytes, as stated", f"{held:,}: the file is cut short")
    if opened.transfer_syntax.is_encapsulated:
        raise _incomplete(opened, "compressed frames, as the transfer syntax says", "data without frames")
    if held < needed:
        size = f"{opened.dataset.Rows} rows and {opened.dataset.Columns} columns"
        raise _incomplete(opened, f"{needed:,} bytes for {size}", f"{held:,}")
    return held


def _native_bytes(opened: DicomFile) -> int:
    """The bytes that uncompressed pixels need."""
    dataset = opened.dataset
    samples = int(dataset.get("SamplesPerPixel") or 1)
    whole = (_frame_pixels(opened) * samples * number_of_frames(opened) * int(dataset.BitsAllocated) + 7) // 8
    return whole * 2 // 3 if str(dataset.get("PhotometricInterpretation")).strip() == "YBR_FULL_422" else whole


def _frame_pixels(opened: DicomFile) -> int:
    for key in ("Rows", "Columns", "BitsAllocated"):
        if not isinstance(opened.dataset.get(key), int):
            raise InputError(str(opened.path), field=key, expected="a whole number", got="none")
    rows, columns = int(opened.dataset.Rows), int(opened.dataset.Columns)
    check_size(str(opened.path), columns, rows)
    return rows * columns


def _frame_bytes(opened: DicomFile) -> int:
    samples, bits = int(opened.dataset.get("SamplesPerPixel") or 1), int(opened.dataset.BitsAllocated)
    return _frame_pixels(opened) * samples * -(-bits // 8)


def _end_of_items(opened: DicomFile, pixels: PixelElement, end: int) -> int:
    """Where compressed frames end, found by stepping from item to item (DICOM PS3.5 A.4)."""
    items = 0
    for place, tag, _ in _items(opened, pixels, end):
        if tag == END_OF_ITEMS and items > 1:  # the first item is the table of offsets
            if items - 1 < (frames := number_of_frames(opened)):
                raise _incomplete(opened, f"{frames:,} frames", f"{items - 1:,} fragments of any")
            return place
        if tag != ITEM:
            break
        items += 1
    raise _incomplete(opened, "compressed frames up to their end", f"{items} items and no end: the file is cut short")


def _items(opened: DicomFile, pixels: PixelElement, end: int) -> Iterator[tuple[int, bytes, int]]:
    """(place, tag, length) of each item of the pixel element."""
    place = pixels.start
    while place + 8 <= end:
        opened.stream.seek(place)
        item = opened.stream.read(8)
        length = int.from_bytes(item[4:], "little")
        yield place, item[:4], length
        place += 8 + length


def _rescaled(
    stored: NDArray[Any], dataset: "Dataset", factors: Sequence[tuple[float, float] | None]
) -> NDArray[np.float32]:
    """Stored values (F, H, W) through the modality table, or slope and intercept of each frame (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(stored, dataset), np.float32)
    values = stored.astype(np.float32)
    for frame, factor in zip(values, factors, strict=True):
        if factor is not None and factor != (1.0, 0.0):
            frame *= np.float32(factor[0])
            frame += np.float32(factor[1])
    return values


def _quiet_gdcm() -> None:
    """Keep GDCM from writing on the standard error."""
    try:
        import gdcm
    except ImportError:
        return
    for off in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
        off()


def _incomplete(opened: DicomFile, expected: str, got: str) -> InputError:
    return InputError(str(opened.path), field="Pixel Data", expected=expected, got=got)


def _undecodable(opened: DicomFile, got: str, rows: str = "?", columns: str = "?") -> InputError:
    expected = f"an image of {rows[:9]} rows and {columns[:9]} columns in {syntax_name(opened)}"
    return InputError(str(opened.path), field="Pixel Data", expected=expected, got=got)
