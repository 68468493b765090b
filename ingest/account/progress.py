"""How far an ingest is: files and bytes done, the rate, and the time that is left at this rate."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ingest.delivery.sources import SourceFile

TELL_EVERY_S = 0.1


@dataclass(frozen=True)
class Progress:
    """A moment of an ingest. `stage` is the format being read, or what is done with what was read."""

    stage: str
    files: int
    files_total: int
    bytes: int
    bytes_total: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        """The rate so far; 0 at the start."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate so far; None while there is none."""
        return (self.bytes_total - self.bytes) / self.bytes_per_second if self.bytes else None


Listener = Callable[[Progress], None]


@dataclass
class Tracker:
    """Adds up what readers report. A file that is read twice counts as far as it has come at most."""

    files: Iterable[SourceFile]
    listener: Listener | None = None
    _sizes: dict[Path, int] = field(default_factory=dict)
    _done: dict[Path, int] = field(default_factory=dict)
    _stage: str = ""
    _files: int = 0
    _bytes: int = 0
    _started: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def __post_init__(self) -> None:
        self._sizes = {file.path: _size(file.path) for file in self.files}

    def stage(self, name: str) -> None:
        """What is done from now on."""
        self._stage = name
        self._tell()

    def advance(self, file: SourceFile, done: int) -> None:
        """`done` bytes of a file have been read so far."""
        size = self._sizes.get(file.path)
        before = self._done.get(file.path, 0)
        if size is None or (done := min(done, size)) < before or (done == before and file.path in self._done):
            return
        self._done[file.path] = done
        self._bytes += done - before
        self._files += done == size
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self._tell()

    def finish(self, files: Iterable[SourceFile]) -> None:
        """These files have been read as far as they will be."""
        for file in files:
            self.advance(file, self._sizes.get(file.path, 0))
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        if self.listener is not None:
            self.listener(
                Progress(
                    self._stage, self._files, len(self._sizes), self._bytes, sum(self._sizes.values()),
                    self._told - self._started,
                )
            )  # fmt: skip


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
