"""Chunks of FHIR lines extracted by several processes where there is enough to read, in the order of the file."""

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache

from ingest.readers.fhir_extract import Extracted, Setting, extract_lines
from ingest.readers.fhir_files import Chunk

PROCESSES: int | None = None  # how many; None: as many as there are cores, where that is worth it
WORTH_BYTES = 20_000_000  # of all files together; a process takes about a second to start


class Extracting:
    """Extracts chunks: here, or in a pool of processes that starts with the first chunk and ends with `close`."""

    def __init__(self, total_bytes: int) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._processes = PROCESSES or (cores if total_bytes > WORTH_BYTES else 1)
        self._pool: ProcessPoolExecutor | None = None

    def extract(self, chunks: Iterable[Chunk], setting: Setting) -> Iterator[tuple[Chunk, Extracted]]:
        """Every chunk with what its records say, in order; two more than there are processes are under way."""
        if self._processes == 1:
            for chunk in chunks:
                yield chunk, extract_lines(chunk, setting)
            return
        packed = pickle.dumps(setting)
        waiting: deque[tuple[Chunk, Future[Extracted]]] = deque()
        for chunk in chunks:
            kept = chunk.without_data()
            waiting.append((kept, self._started().submit(_extract, kept, packed)))
            if len(waiting) > self._processes + 1:
                yield self._result(*waiting.popleft(), setting)
        while waiting:
            yield self._result(*waiting.popleft(), setting)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Not a fork: Arrow has threads, which a fork would leave behind holding their locks.
            self._pool = ProcessPoolExecutor(self._processes, multiprocessing.get_context("spawn"))
        return self._pool

    def _result(self, chunk: Chunk, future: Future[Extracted], setting: Setting) -> tuple[Chunk, Extracted]:
        try:
            return chunk, future.result()
        except BrokenProcessPool:  # killed for want of memory, or could not be started from this program
            return chunk, extract_lines(chunk, setting)


@lru_cache(maxsize=2)
def _setting(packed: bytes) -> Setting:
    setting = pickle.loads(packed)  # noqa: S301 - of the process that started this one
    assert isinstance(setting, Setting)
    return setting


def _extract(chunk: Chunk, packed: bytes) -> Extracted:
    return extract_lines(chunk, _setting(packed))
