"""What people said who have looked at what was held: a line per file, by its SHA-256.

<sha256> accept
<sha256> mask x0 y0 x1 y1 [x0 y0 x1 y1 ...]
"""

import re
from pathlib import Path

from ingest.errors import InputError
from ingest.privacy.dicom_files import Review

_LINE = re.compile(r"([0-9a-f]{64})\s+(?:(accept)|mask((?:\s+\d{1,6}){4,400}))")


def read_reviews(path: Path) -> dict[str, Review]:
    """SHA-256 -> what is to be done. Empty lines, and what follows a #, do not count. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(str(path), expected="a text file of reviews", got="none that can be read") from None
    reviews = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        found = _LINE.fullmatch(text)
        numbers = [int(each) for each in (found[3] or "").split()] if found else []
        if found is None or len(numbers) % 4:
            raise InputError(
                str(path), f"line {number}", expected="<sha256> accept, or <sha256> mask x0 y0 x1 y1", got="another",
            )  # fmt: skip
        boxes = tuple(
            (numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]) for at in range(0, len(numbers), 4)
        )
        reviews[found[1]] = Review(boxes)
    return reviews
