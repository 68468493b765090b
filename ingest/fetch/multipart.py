"""One part out of a multipart/related answer, written to a file as it comes.

SOURCE: RFC 2046, section 5.1.1; DICOM PS3.18, section 8.6.1.2.
"""

from collections.abc import Callable
from typing import BinaryIO

_MOST_HEADER_BYTES = 64 * 1024
_BLOCK_BYTES = 256 * 1024
Read = Callable[[int], bytes]  # at most so many bytes; empty at the end


class BrokenPartError(Exception):
    """The answer is not what the standard promises; the text says in what, and never what was in it."""


def copy_first_part(content_type: str, read: Read, target: BinaryIO, most_bytes: int) -> int:
    """Write the first part's content to `target`, or all of an answer of a single part; its length in bytes.

    Raises BrokenPartError where there is none, where it ends before its closing boundary, or where it is too long.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/related":
        return _copy_part(_boundary(content_type), read, target, most_bytes)
    if kind not in {"application/dicom", "application/octet-stream"}:
        raise BrokenPartError("an answer of another type than DICOM")
    copied = 0
    while block := read(_BLOCK_BYTES):
        copied = _write(block, target, copied, most_bytes)
    return copied


def _boundary(content_type: str) -> bytes:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary" and 0 < len(value.strip().strip('"')) <= 200:
            return value.strip().strip('"').encode("utf-8", "replace")
    raise BrokenPartError("an answer of several parts without a boundary")


def _copy_part(boundary: bytes, read: Read, target: BinaryIO, most_bytes: int) -> int:
    opening, closing = b"--" + boundary, b"\r\n--" + boundary
    waiting = b""
    while True:  # up to the first part's content: a preamble may stand before the opening boundary
        start = waiting.find(opening)
        end = waiting.find(b"\r\n\r\n", start) if start >= 0 else -1
        if start >= 0 and waiting[start + len(opening) :].startswith(b"--"):
            raise BrokenPartError("an answer without any part")
        if end >= 0:
            waiting = waiting[end + 4 :]
            break
        if len(waiting) > _MOST_HEADER_BYTES or not (block := read(_BLOCK_BYTES)):
            raise BrokenPartError("an answer whose first part does not begin")
        waiting += block
    copied = 0
    while (found := waiting.find(closing)) < 0:
        keep = len(closing) - 1  # the boundary may be cut by the block's end
        copied = _write(waiting[:-keep], target, copied, most_bytes)
        waiting = waiting[-keep:]
        if not (block := read(_BLOCK_BYTES)):
            raise BrokenPartError("an answer that ends before its closing boundary")
        waiting += block
    return _write(waiting[:found], target, copied, most_bytes)


def _write(block: bytes, target: BinaryIO, copied: int, most_bytes: int) -> int:
    if copied + len(block) > most_bytes:
        raise BrokenPartError(f"an answer of more than {most_bytes:,} bytes")
    target.write(block)
    return copied + len(block)
