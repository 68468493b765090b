"""The header of a DICOM file, read so that a hostile one costs little: no pixels, bounded depth and inflation."""

import hashlib
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ingest.errors import InputError
from ingest.pixels import LIBRARY_ERRORS, check_size

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PREAMBLE_BYTES = 128
MAX_INFLATED_BYTES = 1 << 28
MAX_DEPTH = 32
DEFLATED = "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_PIXEL_TAGS = {0x7FE00010, 0x7FE00008, 0x7FE00009}  # integer, float and double pixels
_EXECUTABLES = (b"MZ", b"\x7fELF", b"#!", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_ITEM, _END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class DicomHeader:
    """All elements before the pixels, and the SHA-256 of the pixels; None where the object has none."""

    dataset: "Dataset"
    pixel_digest: str | None


@dataclass(frozen=True)
class _Pixels:
    """Where the value of the pixel element starts in a stream, and its stated length."""

    stream: BinaryIO
    start: int
    length: int


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning and logging: what it says quotes the values, and those are a patient's."""
    from pydicom import config

    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> "Dataset":
    """All elements before the pixels. Raises InputError, one line, whatever is wrong."""
    with path.open("rb") as file:
        return _parse(path, file)[0]


def read_dicom(path: Path) -> DicomHeader:
    """The header, with the pixels checked against Rows, Columns and the file's end. Raises InputError."""
    with path.open("rb") as file:
        dataset, pixels = _parse(path, file)
        if pixels is None:
            return DicomHeader(dataset, None)
        try:
            with quiet_pydicom():
                return DicomHeader(dataset, _checked_pixels(path, dataset, pixels))
        except dicom_errors() as error:
            raise _broken(path, f"pixels that cannot be located ({type(error).__name__})") from None


def dicom_errors() -> tuple[type[BaseException], ...]:
    """What pydicom raises on broken files; two of its errors have no base but Exception."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*LIBRARY_ERRORS, BytesLengthException, InvalidDicomError)


def plain_stream(path: Path, file: BinaryIO) -> BinaryIO:
    """The open file; or, where it is deflated, what it would be in plain explicit VR. Raises InputError on a bomb."""
    try:
        with quiet_pydicom():
            return _inflated(path, file)
    except dicom_errors() as error:
        raise _broken(path, f"data that cannot be inflated ({type(error).__name__})") from None


def _parse(path: Path, file: BinaryIO) -> tuple["Dataset", _Pixels | None]:
    preamble = file.read(PREAMBLE_BYTES + 4)
    has_magic = preamble[PREAMBLE_BYTES:] == b"DICM"
    if has_magic and preamble.startswith(_EXECUTABLES):
        raise _broken(path, "a preamble that starts a program")
    if len(preamble) < PREAMBLE_BYTES:
        raise _broken(path, f"{len(preamble)} bytes")
    try:
        from pydicom.filereader import read_partial
        from pydicom.tag import BaseTag

        found: list[tuple[int, int]] = []

        def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
            if tag in _PIXEL_TAGS:
                found.append((stream.tell(), length))
            return tag in _PIXEL_TAGS

        with quiet_pydicom():
            stream = plain_stream(path, file) if has_magic else file
            stream.seek(0)
            dataset = read_partial(stream, stop_when=at_pixels, force=not has_magic)
            if "SOPClassUID" not in dataset:
                raise _broken(path, "no SOP Class UID")
            _check_depth(path, dataset, 1)
        return dataset, _Pixels(stream, *found[0]) if found else None
    except RecursionError:
        raise _too_deep(path) from None
    except dicom_errors() as error:
        raise _broken(path, f"data that cannot be parsed ({type(error).__name__})") from None


def _checked_pixels(path: Path, dataset: "Dataset", pixels: _Pixels) -> str:
    """The digest of pixels that are all there."""
    end = pixels.stream.seek(0, io.SEEK_END)
    needed = _native_bytes(path, dataset)
    if pixels.length == _UNDEFINED:
        last = _end_of_items(path, pixels, end)
        return _digest_of(pixels.stream, pixels.start, last - pixels.start)
    held = min(pixels.length, end - pixels.start)
    if held < pixels.length:
        raise _broken_pixels(path, f"{pixels.length:,} bytes, as stated", f"{held:,}: the file is cut short")
    if held < needed:
        size = f"{dataset.Rows} rows and {dataset.Columns} columns"
        raise _broken_pixels(path, f"{needed:,} bytes for {size}", f"{held:,}")
    return _digest_of(pixels.stream, pixels.start, held)


def _native_bytes(path: Path, dataset: "Dataset") -> int:
    """The bytes that uncompressed pixels need."""
    for key in ("Rows", "Columns", "BitsAllocated"):
        if not isinstance(dataset.get(key), int):
            raise InputError(str(path), field=key, expected="a whole number", got="none")
    rows, columns, bits_allocated = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    check_size(str(path), columns, rows)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    frames = int(dataset.get("NumberOfFrames") or 1)
    whole = (rows * columns * samples * frames * bits_allocated + 7) // 8
    return whole * 2 // 3 if str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422" else whole


def _end_of_items(path: Path, pixels: _Pixels, end: int) -> int:
    """Where compressed frames end, found by stepping from item to item (DICOM PS3.5 A.4)."""
    place, items = pixels.start, 0
    while place + 8 <= end:
        pixels.stream.seek(place)
        item = pixels.stream.read(8)
        if item[:4] == _END_OF_ITEMS and items > 1:  # the first item is the table of offsets
            return place
        if item[:4] != _ITEM:
            break
        place += 8 + int.from_bytes(item[4:], "little")
        items += 1
    raise _broken_pixels(path, "compressed frames up to their end", f"{items} items and no end: the file is cut short")


def _digest_of(stream: BinaryIO, start: int, length: int) -> str:
    digest = hashlib.sha256()
    stream.seek(start)
    while length > 0 and (block := stream.read(min(length, 1 << 20))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def _inflated(path: Path, file: BinaryIO) -> BinaryIO:
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import ExplicitVRLittleEndian

    file.seek(0)
    if DEFLATED.encode() not in file.read(4096):
        return file
    meta = read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID")) != DEFLATED:
        return file
    file.seek(PREAMBLE_BYTES + 4 + 12 + int(meta.FileMetaInformationGroupLength))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflate.decompress(file.read(), MAX_INFLATED_BYTES + 1)
    if len(content) > MAX_INFLATED_BYTES:
        raise InputError(str(path), expected=f"at most {MAX_INFLATED_BYTES:,} bytes once inflated", got="more")
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = DicomBytesIO()
    plain.write(b"\0" * PREAMBLE_BYTES + b"DICM")
    write_file_meta_info(plain, meta, enforce_standard=False)
    return io.BytesIO(plain.getvalue() + content)


def _check_depth(path: Path, dataset: "Dataset", depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep(path)
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if element is not None and element.VR == "SQ":
            for item in dataset[tag].value or []:
                _check_depth(path, item, depth + 1)


def _broken(path: Path, got: str) -> InputError:
    return InputError(str(path), expected="a DICOM file", got=got)


def _too_deep(path: Path) -> InputError:
    return InputError(str(path), expected=f"sequences nested at most {MAX_DEPTH} deep", got="deeper ones")


def _broken_pixels(path: Path, expected: str, got: str) -> InputError:
    return InputError(str(path), field="Pixel Data", expected=expected, got=got)
