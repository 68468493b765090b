"""Chunks of FHIR lines extracted by several processes where there is enough to read, in the order of the file."""

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

from ingest.machine import cores
from ingest.readers.fhir.extract import Extracted, Setting, extract_lines
from ingest.readers.fhir.files import Chunk

PROCESSES: int | None = None  # how many extract, this one among them; None: one per core, where it is worth it
WORTH_BYTES = 40_000_000  # of all files together; a process takes a second or two to start
AHEAD = 4  # chunks that a worker has: one that it works on, and the next ones
_PROGRAM = f"import sys; sys.path[:] = {{}}; from {__name__} import serve; serve()"
_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}  # what is free goes back to the system
_GONE = (OSError, EOFError, pickle.UnpicklingError)  # what talking to a process that was killed raises


class Extracting:
    """Extracts chunks: in processes of its own as soon as they have started, until `close`, and here beside them."""

    def __init__(self, total_bytes: int) -> None:
        self._others = (PROCESSES or (cores() if total_bytes > WORTH_BYTES else 1)) - 1
        self._workers: list[_Worker] = []
        self._mine = threading.local()  # each thread talks to one process
        self._threads = ThreadPoolExecutor(max(self._others, 1))
        self._starting = [self._threads.submit(self._ask, None) for _ in range(self._others)]

    def extract(self, chunks: Iterable[Chunk], setting: Setting) -> Iterator[tuple[Chunk, Extracted]]:
        """Every chunk with what its records say, in order. What no process is free for is extracted here."""
        packed = pickle.dumps(setting) if self._others else b""
        waiting: deque[tuple[Chunk, _Coming]] = deque()
        for chunk in chunks:
            kept = chunk.without_data()
            asked = [coming for _, coming in waiting if isinstance(coming, Future) and not coming.done()]
            if self._has_started() and len(asked) < AHEAD * self._others:
                waiting.append((kept, self._threads.submit(self._ask, (kept, packed))))
            else:
                waiting.append((kept, extract_lines(chunk, setting)))
            del chunk
            most = 2 * AHEAD * self._others
            while waiting and (len(waiting) > most or _is_there(waiting[0][1])):
                yield self._result(*waiting.popleft(), setting)
        while waiting:
            yield self._result(*waiting.popleft(), setting)

    def close(self) -> None:
        """End the processes, also those that are still starting."""
        self._others = 0
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)

    def _has_started(self) -> bool:
        if not self._others or not all(future.done() for future in self._starting):
            return False
        if any(future.exception() for future in self._starting):
            self._others = 0  # they cannot be started here
        return self._others > 0

    def _ask(self, task: tuple[Chunk, bytes] | None) -> Extracted | None:
        worker = getattr(self._mine, "worker", None)
        if worker is None:
            worker = self._mine.worker = _Worker()
            self._workers.append(worker)
        return worker.ask(task)

    def _result(self, chunk: Chunk, coming: "_Coming", setting: Setting) -> tuple[Chunk, Extracted]:
        try:
            found = coming.result() if isinstance(coming, Future) else coming
        except _GONE:  # it was killed, perhaps for want of memory
            self._others, found = 0, None
        return chunk, extract_lines(chunk, setting) if found is None else found


_Coming = Future[Extracted | None] | Extracted


def _is_there(coming: _Coming) -> bool:
    return not isinstance(coming, Future) or coming.done()


class _Worker:
    """A process that extracts. Not a fork, which would lack Arrow's threads, nor one that runs the caller's program."""

    def __init__(self) -> None:
        program = _PROGRAM.format(repr(sys.path))
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, running our own module
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **_FRUGAL},
            start_new_session=True,  # Ctrl-C is the caller's; this one ends when its input does
        )  # fmt: skip

    def ask(self, task: tuple[Chunk, bytes] | None) -> Extracted | None:
        """What a chunk says; nothing is asked to see whether it is there. Raises `_GONE`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(task, self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)  # noqa: S301 - of a process that was started above
        assert answer is None or isinstance(answer, Extracted)
        return answer

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Extract what comes on standard input, until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not print between the answers
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started this one
        except EOFError:
            return
        pickle.dump(None if task is None else extract_lines(task[0], _setting(task[1])), answers)
        answers.flush()


@lru_cache(maxsize=2)
def _setting(packed: bytes) -> Setting:
    setting = pickle.loads(packed)  # noqa: S301 - as above
    assert isinstance(setting, Setting)
    return setting
