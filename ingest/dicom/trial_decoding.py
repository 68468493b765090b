"""Whether compressed pixels decode, tried in a process of its own: what a hostile file crashes is only that.

The decoders of compressed syntaxes are C and C++ libraries, and some files make them abort, hang or ask for gigabytes.
What has decoded here once is decoded in-process from then on: the file's SHA-256 says that it is the same.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import local

import orjson

from ingest.account.quarantine import Refusal
from ingest.errors import InputError
from ingest.machine import cores

SECONDS = 3.0  # of processor time a file, and more for what is large
WAIT_FACTOR = 20.0  # of that, on a machine that does other things too
BYTES_PER_SECOND = 10_000_000  # decoded, on a slow machine
MAX_MEMORY_BYTES = 3 << 29
_AT_ONCE = 64


def undecodable(paths: Iterable[tuple[int, Path, int]]) -> Iterator[tuple[int, Refusal]]:
    """Of (number, file, decoded bytes) those that do not decode, with the reason; on all cores."""
    own = local()
    trials: list[_Trial] = []

    def tried(each: tuple[int, Path, int]) -> tuple[int, Refusal | None]:
        if not hasattr(own, "trial"):
            own.trial = _Trial()
            trials.append(own.trial)
        number, path, decoded_bytes = each
        return number, own.trial.refusal(path, SECONDS + decoded_bytes / BYTES_PER_SECOND)

    waiting = iter(paths)
    try:
        with ThreadPoolExecutor(cores()) as pool:
            while some := list(islice(waiting, _AT_ONCE)):
                for number, refusal in pool.map(tried, some):
                    if refusal is not None:
                        yield number, refusal
    finally:
        for trial in trials:
            trial.stop()


class _Trial:
    """A child process that decodes one file after another; it is started again where a file has killed it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def refusal(self, path: Path, seconds: float) -> Refusal | None:
        """None where all frames of the file decode."""
        is_new = self._child is None
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "ingest.dicom.trial_decoding"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            self._answer(60.0)  # it says when it is ready
        child = self._child
        assert child is not None
        assert child.stdin is not None
        try:
            child.stdin.write(orjson.dumps([str(path), seconds]) + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            self.stop()
            return None if is_new else self.refusal(path, seconds)
        answer = self._answer(WAIT_FACTOR * seconds)
        if not answer:
            is_slow = answer is None or child.returncode == -signal.SIGPROF
            return _refusal(
                f"data that do not decode within {seconds:.0f} s" if is_slow else "data that crash the decoder"
            )
        told = orjson.loads(answer)
        return None if told is None else Refusal(*told)

    def stop(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _answer(self, seconds: float) -> bytes | None:
        """The child's next line; empty where it ended, None where it takes longer: it is ended then."""
        assert self._child is not None
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], seconds)
        line = self._child.stdout.readline() if ready else None
        if line == b"":
            self._child.wait(10)
        if not line:
            self.stop()
        return line


def _refusal(got: str) -> Refusal:
    return Refusal("Pixel Data", "compressed pixels that decode", got)


def _main() -> None:
    """The child: a path a line in, a refusal or null a line out."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(os.dup(1), "wb") as answers, open(0, "rb") as questions:
        os.dup2(2, 1)  # what libraries print must not pass for an answer
        answers.write(b"null\n")
        answers.flush()
        for question in questions:
            path, seconds = orjson.loads(question)
            signal.setitimer(signal.ITIMER_PROF, seconds)  # whose signal ends this process
            answer = orjson.dumps(_tried(Path(path)))
            signal.setitimer(signal.ITIMER_PROF, 0)
            answers.write(answer + b"\n")
            answers.flush()


def _tried(path: Path) -> tuple[str, str, str, str] | None:
    from ingest.dicom.header import open_dicom
    from ingest.dicom.pixels import decoded, number_of_frames

    try:
        with open_dicom(path) as opened:
            for frame in range(number_of_frames(opened)):
                decoded(opened, [frame])
    except InputError as error:
        found = error.complaint
        return found.field, found.expected, found.got, found.hint
    return None


if __name__ == "__main__":
    _main()
