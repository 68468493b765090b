"""Compressed files as streams that give no more bytes than they are allowed to."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

XZ_MEMORY_BYTES = 1 << 28
MAX_RATIO = 200  # bytes written for each byte of an archive: text comes to 20, an empty image to 1000
FREE_BYTES = 1 << 26  # before the ratio counts
MAX_BYTES = 1 << 37
_MAX_READ = 1 << 26  # at once: what claims to be a longer header is none
_MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0", "zst": b"\x28\xb5\x2f\xfd"}

# What the libraries raise on broken archives.
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    ValueError, NotImplementedError, RuntimeError, LookupError, OverflowError, MemoryError,
)  # fmt: skip


class TooMuch(Exception):  # noqa: N818 - a verdict, as `Refusal` is
    """More than an archive may hold; the text says of what."""


class Budget:
    """Bytes that may still be written for one archive, with the archives inside it."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        """Use some up. Raises TooMuch."""
        self.left -= count
        if self.left < 0:
            raise TooMuch(f"more than {MAX_RATIO} times its own size once unpacked")


def budget_of(path: Path) -> Budget:
    """What an archive may hold: in proportion to its size."""
    return Budget(min(max(FREE_BYTES, MAX_RATIO * path.stat().st_size), MAX_BYTES))


def single_name(path: Path, head: bytes) -> str | None:
    """What a file is called once inflated; None where it is not compressed in a way that is known here."""
    found = next((kind for kind, magic in _MAGIC.items() if head.startswith(magic)), None)
    if found is None:
        return None
    suffix = path.suffix.lower()
    return path.stem if suffix in {f".{found}", ".gzip", ".bzip2", ".zstd"} else path.name


@contextmanager
def open_inflated(path: Path, head: bytes, budget: Budget) -> Iterator["BinaryIO"]:
    """The file, inflated where it is compressed, readable and seekable forward. Raises what `BROKEN` lists, TooMuch."""
    with path.open("rb") as file:
        if head.startswith(_MAGIC["gz"]):
            source: BinaryIO = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]  # it has read
        elif head.startswith(_MAGIC["bz2"]):
            source = bz2.BZ2File(file)  # type: ignore[assignment]  # it has read
        elif head.startswith(_MAGIC["xz"]):
            source = _Xz(file)  # type: ignore[assignment]  # it has read
        elif head.startswith(_MAGIC["zst"]):
            import pyarrow as pa

            source = pa.CompressedInputStream(pa.PythonFile(file), "zstd")
        else:
            source = file
        yield _Bounded(source, budget)  # type: ignore[misc]  # as much of a file as tarfile asks for


class _Bounded(io.RawIOBase):
    """Reads on, never back, and spends a budget as it goes."""

    def __init__(self, source: BinaryIO, budget: Budget) -> None:
        self._source, self._budget, self._place = source, budget, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > _MAX_READ:
            raise TooMuch("a header of more than 64 MiB")
        parts = []
        while size > 0 and (part := self._source.read(min(size, 1 << 20))):
            self._budget.spend(len(part))
            parts.append(part)
            size -= len(part)
        content = b"".join(parts)
        self._place += len(content)
        return content

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0, /) -> int:
        if whence != 0 or place < self._place:
            raise OSError("this archive is read from its start to its end")
        while self._place < place and self.read(min(place - self._place, 1 << 20)):
            pass
        return self._place


class _Xz:
    """An xz file whose dictionary may not ask for more memory than is allowed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)

    def read(self, size: int) -> bytes:
        while True:
            if self._inflate.eof:
                rest = (self._inflate.unused_data + self._file.read(1 << 16)).lstrip(b"\0")  # padding between streams
                if not rest:
                    return b""
                self._inflate = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
                found = self._inflate.decompress(rest, size)
            else:
                block = self._file.read(1 << 16) if self._inflate.needs_input else b""
                if self._inflate.needs_input and not block:
                    raise EOFError("the stream is cut short")
                found = self._inflate.decompress(block, size)
            if found:
                return found
