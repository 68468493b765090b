"""A CSV file as blocks of whole rows in UTF-8: decompressed, decoded, and never cut inside a quoted cell.

The parser that gets the blocks can then be asked again about one of them, where a cell was not what it should be.
"""

import codecs
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

BLOCK_BYTES = 4 * 1024 * 1024
MAX_ROW_BYTES = 32 * 1024 * 1024
MAX_RATIO = 250  # of a compressed table; text of real tables comes to 40 at most, a bomb to 1,000
FREE_BYTES = 64 * 1024 * 1024  # decompressed, before the ratio counts
_BOM = codecs.BOM_UTF8
_QUOTE = 0x22


class BlockError(Exception):
    """The file cannot be read further, or was never a table."""


@dataclass(frozen=True)
class Block:
    """Whole rows. quoted: whether any cell is in quotes; compressed_bytes: how far the file has been read."""

    data: bytes | memoryview
    quoted: bool
    bytes_done: int


def blocks(path: Path, delimiter: str, encoding: str, *, start: int = 0, at_once: int = BLOCK_BYTES) -> Iterator[Block]:
    """The file from byte `start` on (of its uncompressed, UTF-8 form) as blocks. Raises BlockError, after the last
    whole block, where it is broken or a row never ends."""
    with path.open("rb") as raw:
        size = _size(raw, at_once)
        read = _reader(raw, encoding, start)
        rest, end = b"", None
        while True:
            piece = read(size)
            data = rest + piece if rest else piece
            if end is None:
                data = data.removeprefix(_BOM) if start == 0 else data
                end = b"\n" if b"\n" in data or b"\r" not in data else b"\r"
            if not piece:
                whole = _unclosed(data, end, delimiter.encode())
                if data[:whole]:
                    yield Block(data[:whole], b'"' in data, raw.tell())
                if whole < len(data):
                    raise BlockError("a quote that is never closed")
                return
            cut, quoted = _last_row_end(data, end, delimiter.encode())
            if cut:
                yield Block(memoryview(data)[:cut], quoted, raw.tell())
            elif len(data) > MAX_ROW_BYTES:
                raise BlockError(f"one of more than {MAX_ROW_BYTES // 2**20} MiB, or a quote that is never closed")
            rest = data[cut:]


def first_bytes(path: Path, encoding: str, size: int = 1024 * 1024) -> bytes:
    """The first bytes in UTF-8, enough for the header; a byte order mark is still there. Raises BlockError."""
    with path.open("rb") as raw:
        size = _size(raw, size)
        return _reader(raw, encoding, 0)(size)


def _size(raw: BinaryIO, most: int) -> int:
    """How much to ask for at once: no more than a file can have, since a buffer of that size is made each time."""
    size = os.fstat(raw.fileno()).st_size
    raw.seek(0)
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return most if packed else min(most, size + 1)


def _reader(raw: BinaryIO, encoding: str, start: int) -> Callable[[int], bytes]:
    """A function that gives the next so many bytes in UTF-8, fewer at the end; b"" after it."""
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    read = _unpacked(raw) if packed else raw.read
    if codecs.lookup(encoding).name != "utf-8":
        read = _decoded(read, encoding)
    if start and not packed and codecs.lookup(encoding).name == "utf-8":
        raw.seek(start)
        return read
    return _from(read, start)


def _from(read: Callable[[int], bytes], start: int) -> Callable[[int], bytes]:
    """The same from byte `start` on, where there is no way but to read up to it."""
    left = b""
    while start > 0 and (data := read(BLOCK_BYTES)):
        left = data[start:]
        start -= len(data)

    def rest(size: int) -> bytes:
        nonlocal left
        data, left = left or read(size), b""
        return data

    return rest


def _unpacked(raw: BinaryIO) -> Callable[[int], bytes]:
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    total = 0

    def read(size: int) -> bytes:
        nonlocal total
        try:
            data = stream.read(size)
        except (OSError, EOFError, zlib.error):
            raise BlockError("a compressed file that is broken or ends early") from None
        total += len(data)
        if total > FREE_BYTES and total > MAX_RATIO * raw.tell():
            raise BlockError(f"a compressed file that grows to more than {MAX_RATIO} times its size")
        return data

    return read


def _decoded(read: Callable[[int], bytes], encoding: str) -> Callable[[int], bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    ended = False

    def recoded(size: int) -> bytes:
        nonlocal ended
        while not ended:
            data = read(size)
            ended = not data
            try:
                text = decoder.decode(data, final=ended)
            except UnicodeDecodeError:
                raise BlockError(f"bytes that are not {encoding}") from None
            if text:
                return text.encode("utf-8", "surrogatepass")
        return b""

    return recoded


def _last_row_end(data: bytes, end: bytes, delimiter: bytes) -> tuple[int, bool]:
    """(where the last whole row ends, whether there are quotes). 0: no row ends in it."""
    if b'"' not in data:
        return data.rfind(end) + 1, False
    opened, closed = _quoted_spans(np.frombuffer(data, np.uint8), delimiter)
    place = len(data)
    while (place := data.rfind(end, 0, place)) >= 0:
        before = int(np.searchsorted(opened, place)) - 1
        if before < 0 or closed[before] < place:
            return place + 1, True
        place = int(opened[before])  # a line break inside quotes: go on before them
    return 0, True


def _unclosed(data: bytes, end: bytes, delimiter: bytes) -> int:
    """Where the row begins whose quote nobody closes, in the last rows of a file; their length where there is none."""
    if b'"' not in data:
        return len(data)
    opened, closed = _quoted_spans(np.frombuffer(data, np.uint8), delimiter)
    if not len(closed) or closed[-1] < len(data):
        return len(data)
    return data.rfind(end, 0, int(opened[-1])) + 1


def _quoted_spans(
    data: "np.ndarray[tuple[int], np.dtype[np.uint8]]", delimiter: bytes
) -> tuple[np.ndarray, np.ndarray]:
    """Where quoted cells open and close. A quote opens a cell only at its start: in `5" tube` it is a letter."""
    quotes = np.flatnonzero(data == _QUOTE)
    borders = np.zeros(256, bool)
    borders[[*delimiter, *b'\r\n"']] = True
    before = borders[data[quotes - 1]] | (quotes == 0)
    after = borders[data[np.minimum(quotes + 1, len(data) - 1)]] | (quotes == len(data) - 1)
    if before[::2].all() and after[1::2].all():  # the usual case: they come in pairs
        return quotes[::2], np.append(quotes[1::2], [len(data)] * (len(quotes) % 2))
    borders[_QUOTE] = False
    return _lexed(quotes, (borders[data[quotes - 1]] | (quotes == 0)).tolist(), len(data))


def _lexed(quotes: np.ndarray, at_start: list[bool], length: int) -> tuple[np.ndarray, np.ndarray]:
    places = quotes.tolist()
    opened: list[int] = []
    closed: list[int] = []
    number, inside = 0, False
    while number < len(places):
        if not inside and at_start[number]:
            opened.append(places[number])
            inside = True
        elif inside and number + 1 < len(places) and places[number + 1] == places[number] + 1:
            number += 1  # a doubled quote stands for one
        elif inside:
            closed.append(places[number])
            inside = False
        number += 1
    return np.array(opened, np.int64), np.array(closed + [length] * inside, np.int64)
