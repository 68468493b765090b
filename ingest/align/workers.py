"""Processes that decode images beside the main one: codecs hold Python's lock, and a crash of one stays with it.

A worker is `python -m ingest.align.workers`: it runs nothing of the program that started it, reads jobs from a pipe,
and ends when the pipe does. Workers are started when the first large piece of work comes, are shared by all streams,
and end with the program.
"""

import atexit
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from ingest.machine import cores

WORTH_SECONDS = 1.5  # of work on one core: below that, starting workers does not pay
TRIAL_SECONDS = 0.2  # of work done here, to tell how much the rest will be
AHEAD = 8  # jobs for each core before the first of them is asked for: what bounds memory
JOB_SECONDS = 300.0  # in which a job must be done

J = TypeVar("J")
R = TypeVar("R")


def each(function: Callable[[J], R], jobs: Sequence[J], lost: Callable[[J, str], R]) -> Iterator[R]:
    """`function` of every job, in order; in worker processes where there is enough to do, else here.

    function: one of a module (workers import it by name). lost: what a job gives whose worker died or took too long.
    """
    done = 0
    if not _pool.running and jobs:
        yield function(jobs[0])  # not timed: it also pays for what is imported
        done, start = 1, time.perf_counter()
        while done < len(jobs) and time.perf_counter() - start < TRIAL_SECONDS:
            yield function(jobs[done])
            done += 1
        spent = time.perf_counter() - start
        if done > 1 and spent / (done - 1) * (len(jobs) - done) < WORTH_SECONDS:
            yield from map(function, jobs[done:])
            return
    if done < len(jobs) and (cores() == 1 or os.name != "posix" or not sys.executable):
        yield from map(function, jobs[done:])
        return
    waiting: deque[Future[R]] = deque()
    try:
        for job in jobs[done:]:
            waiting.append(_pool.submit(function, job, lost))
            if len(waiting) >= AHEAD * cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def close() -> None:
    """End the workers now; the next large piece of work starts others."""
    _pool.close()


class _Worker:
    """One process and the two pipes to it."""

    def __init__(self) -> None:
        here = str(Path(__file__).parents[2])
        paths = [here, *(path for path in sys.path if path), os.environ.get("PYTHONPATH", "")]
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **single, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        jobs_in, jobs_out = os.pipe()
        answers_in, answers_out = os.pipe()
        command = [sys.executable, "-m", "ingest.align.workers", str(jobs_in), str(answers_out)]
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own module, by this very interpreter
                command, pass_fds=(jobs_in, answers_out), env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(jobs_in)
            os.close(answers_out)
        self.jobs = Connection(jobs_out, readable=False)
        self.answers = Connection(answers_in, writable=False)

    def run(self, function: Callable[[J], R], job: J) -> R:
        """Raises EOFError or OSError where the worker dies, TimeoutError where it takes too long."""
        self.jobs.send((function, job))
        if not self.answers.poll(JOB_SECONDS):
            raise TimeoutError
        is_done, answer = self.answers.recv()
        if not is_done:
            raise RuntimeError(answer)  # a defect of ours, not of the file
        result: R = answer
        return result

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.jobs.close()
        self.answers.close()


class _Pool:
    """A thread for each core, each of which hands jobs to whichever worker is idle."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        return self._threads is not None

    def submit(self, function: Callable[[J], R], job: J, lost: Callable[[J, str], R]) -> "Future[R]":
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(cores(), thread_name_prefix="image-worker")
        return self._threads.submit(self._run, function, job, lost)

    def close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            workers, self._idle, self._all = self._all, [], set()
        for worker in workers:
            worker.end()

    def _run(self, function: Callable[[J], R], job: J, lost: Callable[[J, str], R]) -> R:
        worker = self._take()
        try:
            result = worker.run(function, job)
        except (EOFError, OSError) as error:  # TimeoutError is an OSError
            self._drop(worker)
            slow = isinstance(error, TimeoutError)
            return lost(job, f"data that take more than {JOB_SECONDS:.0f} s" if slow else "data that crash the decoder")
        except BaseException:
            self._drop(worker)
            raise
        with self._lock:
            self._idle.append(worker)
        return result

    def _take(self) -> _Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        worker = _Worker()
        with self._lock:
            self._all.add(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()


def _serve(jobs: Connection, answers: Connection) -> None:
    """The worker's loop: until the pipe is closed."""
    while True:
        try:
            function, job = jobs.recv()
        except EOFError:
            return
        answer: tuple[bool, Any]
        try:
            answer = (True, function(job))
        except Exception as error:  # noqa: BLE001 - the outermost boundary of a process: told to the other side
            answer = (False, f"{type(error).__name__} in a worker")
        answers.send_bytes(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


_pool = _Pool()
atexit.register(_pool.close)

if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1]), writable=False), Connection(int(sys.argv[2]), readable=False))
