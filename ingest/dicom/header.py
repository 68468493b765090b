"""The header of a DICOM file, read so that a hostile one costs little: no pixels, bounded depth, size and inflation."""

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ingest.delivery.bounds import LIBRARY_ERRORS
from ingest.dicom.quiet import quiet_pydicom
from ingest.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

PREAMBLE_BYTES = 128
MAX_INFLATED_BYTES = 1 << 28
MAX_RATIO = 200  # of inflated bytes to deflated ones, beyond the first quarter of those
MAX_HEADER_BYTES = 1 << 26
MAX_READS = 1_000_000  # of a header, two or three for each element
MAX_ITEMS = 200_000  # of sequences, and fragments of pixels
MAX_DEPTH = 32
MAX_NESTED_BYTES = 1 << 28  # of sequences, each counted again in the one that holds it
DEFLATED = "1.2.840.10008.1.2.1.99"
UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_SUFFIXES = {".dcm", ".dicom", ".ima"}
_PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_ENCAPSULATED_DOCUMENT = 0x00420011
# The first bytes of programs, scripts, and archives that are run (CVE-2019-11687).
_EXECUTABLES = (
    b"MZ", b"ZM", b"\x7fELF", b"#!", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce",
    b"\xca\xfe\xba\xbe", b"\xbe\xba\xfe\xca", b"PK\x03\x04", b"dex\n", b"\0asm", b"<?", b"<scr", b"<htm", b"@echo",
)  # fmt: skip
# A data set without preamble: an element of group 0002 or 0008 with a usual VR or a short length.
_BARE = re.compile(rb"[\x02\x08]\0[\0-\x90]\0(?:UL|OB|UI|CS|SH|LO|DA|TM|[\0-\x7e]\0\0\0)", re.DOTALL)


@dataclass(frozen=True)
class PixelElement:
    """Where the value of the pixel element starts in a stream, its stated length, and what it is called."""

    start: int
    length: int
    vr: str | None
    keyword: str


@dataclass(frozen=True)
class DicomFile:
    """A parsed file: all elements before the pixels, and the stream that holds these, in plain form."""

    path: Path
    dataset: "Dataset"
    stream: BinaryIO
    pixels: PixelElement | None
    transfer_syntax: "UID"
    is_little_endian: bool


def looks_like_dicom(path: Path, head: bytes) -> bool:
    """Whether a file is DICOM: by its magic word, a first element as data sets without one begin, or its name."""
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM" or path.suffix.lower() in _SUFFIXES:
        return True
    return bool(_BARE.match(head)) or head[:5] == b"DICM\x02"


@contextmanager
def open_dicom(path: Path, content: bytes | None = None) -> Iterator[DicomFile]:
    """Open and parse a file, or its content where that is in memory. Raises InputError, one line, whatever is wrong."""
    quiet_pydicom()
    if content is not None:
        yield _parse(path, io.BytesIO(content), len(content))
        return
    try:
        with path.open("rb") as file:
            yield _parse(path, file, path.stat().st_size)
    except OSError as error:
        raise InputError(str(path), expected="a readable file", got=error.strerror or "an error") from None


def read_header(path: Path) -> "Dataset":
    """All elements before the pixels. Raises InputError."""
    with open_dicom(path) as opened:
        return opened.dataset


def dicom_errors() -> tuple[type[BaseException], ...]:
    """What pydicom raises on broken files; two of its errors have no base but Exception."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*LIBRARY_ERRORS, BytesLengthException, InvalidDicomError)


def broken(path: Path, got: str) -> InputError:
    """What is said of a file that is no sound DICOM."""
    return InputError(str(path), expected="a DICOM file", got=got)


def _parse(path: Path, file: BinaryIO, size: int) -> DicomFile:
    preamble = file.read(PREAMBLE_BYTES + 4)
    has_magic = preamble[PREAMBLE_BYTES:] == b"DICM"
    if has_magic and preamble.startswith(_EXECUTABLES):
        raise broken(path, "a preamble that starts a program")
    if len(preamble) < PREAMBLE_BYTES:
        raise broken(path, f"{len(preamble)} bytes")
    try:
        return _parse_plain(path, _inflated(path, file) if has_magic else file, force=not has_magic)
    except RecursionError:
        raise _too_deep(path) from None
    except dicom_errors() as error:
        raise broken(path, f"data that cannot be parsed ({type(error).__name__})") from None


class _Head(io.BytesIO):
    """The start of a file in memory: a length that is a lie asks for no more than there is, and reads are counted."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise EOFError("too many elements")
        return super().read(size)


def _parse_plain(path: Path, plain: BinaryIO, *, force: bool) -> DicomFile:
    from pydicom.filereader import read_partial
    from pydicom.tag import BaseTag

    plain.seek(0)
    head = plain.read(MAX_HEADER_BYTES)
    is_whole = len(head) < MAX_HEADER_BYTES
    if max(head.count(ITEM), head.count(b"\xff\xfe\xe0\x00")) > MAX_ITEMS:
        raise broken(path, f"more than {MAX_ITEMS:,} items")
    stream = _Head(head)
    found: list[PixelElement] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_KEYWORDS:
            found.append(PixelElement(stream.tell(), length, vr, _PIXEL_KEYWORDS[tag]))
        elif not is_whole and tag != _ENCAPSULATED_DOCUMENT and stream.tell() + length > MAX_HEADER_BYTES:
            raise broken(path, f"a header of more than {MAX_HEADER_BYTES:,} bytes")
        return tag in _PIXEL_KEYWORDS or tag == _ENCAPSULATED_DOCUMENT

    dataset = read_partial(stream, stop_when=at_pixels, force=force)
    if not dataset.get("SOPClassUID") and (meta := dataset.file_meta.get("MediaStorageSOPClassUID")):
        dataset.SOPClassUID = meta  # of a directory, or a data set that forgot it
    _check_depth(path, dataset, 1, [MAX_NESTED_BYTES])
    return DicomFile(path, dataset, plain, found[0] if found else None, *_encoding(dataset))


def _encoding(dataset: "Dataset") -> tuple["UID", bool]:
    """(transfer syntax, whether little endian); where none is stated, the one that the elements were found to have."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    is_implicit, is_little_endian = dataset.original_encoding
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return stated, bool(is_little_endian)
    if is_implicit:
        return ImplicitVRLittleEndian, True
    return (ExplicitVRLittleEndian, True) if is_little_endian else (ExplicitVRBigEndian, False)


def _inflated(path: Path, file: BinaryIO) -> BinaryIO:
    """The file; or, where it is deflated, what it would be in plain explicit VR. Raises InputError on a bomb."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filereader import read_dataset
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import ExplicitVRLittleEndian

    file.seek(0)
    head = file.read(MAX_HEADER_BYTES)
    if DEFLATED.encode() not in head:
        return file
    stream = _Head(head)
    stream.seek(PREAMBLE_BYTES + 4)
    meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2))
    if str(meta.get("TransferSyntaxUID")) != DEFLATED:
        return file
    file.seek(stream.tell())
    deflated = file.read(MAX_INFLATED_BYTES)
    limit = min(max(MAX_INFLATED_BYTES // 4, MAX_RATIO * len(deflated)), MAX_INFLATED_BYTES)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflate.decompress(deflated, limit + 1)
    if len(content) > limit:
        raise InputError(str(path), expected=f"at most {limit:,} bytes once inflated", got="more")
    if not inflate.eof:
        raise broken(path, "deflated data that are cut short")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = DicomBytesIO()
    plain.write(b"\0" * PREAMBLE_BYTES + b"DICM")
    write_file_meta_info(plain, meta, enforce_standard=False)
    return io.BytesIO(plain.getvalue() + content)


def _check_depth(path: Path, dataset: "Dataset", depth: int, left: list[int]) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep(path)
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if element is not None and element.VR == "SQ":
            left[0] -= len(element.value) if isinstance(element.value, bytes) else 0
            if left[0] < 0:
                raise broken(path, f"nested sequences of more than {MAX_NESTED_BYTES:,} bytes")
            for item in dataset[tag].value or []:
                _check_depth(path, item, depth + 1, left)


def _too_deep(path: Path) -> InputError:
    return InputError(str(path), expected=f"sequences nested at most {MAX_DEPTH} deep", got="deeper ones")
