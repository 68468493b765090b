"""What is refused is kept: every refused record with what was wrong with it, in a folder that only its owner may read.

quarantine/<run>/refused.jsonl   a line per refusal: file, record, field, expected, got, hint, and the raw record
quarantine/<run>/files/          copies of whole files that were refused (images, archives), of MAX_COPIED_BYTES at most
"""

import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path

from ingest.errors import Complaint

MAX_COPIED_BYTES = 256 * 1024 * 1024
MAX_RAW_CHARACTERS = 1_000_000
STAGING = ".staging-"


class Refusal(Exception):  # noqa: N818 - not an error of the program: a verdict on one record
    """What is wrong with one record; the reader that catches it adds which file and record it was.

    `got` must not carry a name, a birth date or an identifier: it is printed and logged.
    """

    def __init__(self, field: str, expected: str, got: str, hint: str = "") -> None:
        self.field, self.expected, self.got, self.hint = field, expected, got, hint
        super().__init__(f"{field}: expected {expected}, got {got}")

    def complaint(self, file: str, record: str) -> Complaint:
        """The complaint about `record` of `file`."""
        return Complaint(file, record, self.field, self.expected, self.got, self.hint)


class Quarantine:
    """The refused records of one run: written aside as they come, put in place by `commit`, gone after `discard`."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run = folder, run
        self._staging: Path | None = None
        self._lines: TextIOWrapper | None = None
        self._copies = 0
        self._latest: tuple[Path, str] | None = None  # file and its copy: an archive has several members refused

    def keep(self, complaint: Complaint, raw: str | Path | None) -> None:
        """Keep a complaint with the raw record (text) or a copy of the raw file (a path)."""
        if self._lines is None:
            self._staging = Path(tempfile.mkdtemp(dir=self._folder, prefix=STAGING))
            self._lines = (self._staging / "refused.jsonl").open("w", encoding="utf-8", errors="backslashreplace")
        entry: dict[str, object] = asdict(complaint)
        if (full := getattr(complaint.file, "full", complaint.file)) != complaint.file:
            entry["path"] = full  # what is masked where it is shown
        if isinstance(raw, Path):
            entry["copy"] = self._copy(raw)
        elif raw is not None:
            entry["raw"] = raw[:MAX_RAW_CHARACTERS]
        self._lines.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def commit(self) -> None:
        """Give what was kept its final name. Does nothing where nothing was refused."""
        if self._lines is None or self._staging is None:
            return
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._lines.close()
        self._staging.rename(self._folder / self._run)
        self._lines = self._staging = None

    def discard(self) -> None:
        """Forget what was kept and not committed: the run failed."""
        if self._lines is not None and self._staging is not None:
            with suppress(OSError):  # a full disk, which has been told already
                self._lines.close()
            shutil.rmtree(self._staging, ignore_errors=True)
            self._lines = self._staging = None

    def _copy(self, file: Path) -> str | None:
        assert self._staging is not None
        if self._latest is not None and self._latest[0] == file:
            return self._latest[1]
        if not file.is_file() or file.stat().st_size > MAX_COPIED_BYTES:
            return None
        self._copies += 1
        copies = self._staging / "files"
        copies.mkdir(exist_ok=True, mode=0o700)
        name = f"{self._copies:06d}{file.suffix[:8]}"
        shutil.copyfile(file, copies / name)
        self._latest = file, f"files/{name}"
        return self._latest[1]


def sweep(folder: Path) -> None:
    """Remove what a killed run left behind."""
    for staging in folder.glob(f"{STAGING}*"):
        shutil.rmtree(staging, ignore_errors=True)


def shown(value: object, pattern_characters: str = "0123456789.,:;<>+-eETZ%/ ?") -> str:
    """A value for a complaint, in quotes if it can only be a number or a time, else merely its length.

    A cell that should hold a number may hold a name: what is not plainly harmless stays in quarantine.
    """
    text = str(value)
    harmless = len(text) <= 40 and all(character in pattern_characters for character in text)
    if harmless and not re.search(r"\d{6}", text):  # six digits in a row may be somebody's number
        return repr(text)
    return f"text of {len(text)} characters (kept in quarantine)"
