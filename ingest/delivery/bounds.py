"""How much of an untrusted file is read, and what libraries raise on a broken one."""

import struct
import zlib

from ingest.errors import InputError

MAX_PIXELS = 1 << 26  # 67 million in one frame: a chest X-ray has 10 million
MAX_DECODED_BYTES = 1 << 30  # of the frames that one call decodes

# What pydicom and its decoders, Pillow and nibabel raise on broken files; anything else is a defect of ours.
LIBRARY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError,
    RecursionError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error, Warning,
)  # fmt: skip


def check_size(file: str, columns: int, rows: int) -> None:
    """Refuse more pixels than any real image has, before memory is asked for."""
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise InputError(
            file, field="size", expected=f"1 to {MAX_PIXELS:,} pixels", got=f"{rows} rows and {columns} columns"
        )


def check_decoded(file: str, decoded: int) -> None:
    """Refuse to decode more bytes at once than a machine can be asked for."""
    if decoded > MAX_DECODED_BYTES:
        raise InputError(
            file,
            field="size",
            expected=f"at most {MAX_DECODED_BYTES:,} bytes of decoded pixels at once",
            got=f"{decoded:,}",
            hint="read fewer frames at a time",
        )
