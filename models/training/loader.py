"""Cases read ahead of their use: kept where they are small, else read in a thread; on to the device without waiting."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from ingest.batch import Batch, Stream
from ingest.cohort import Cohort

AHEAD = 2  # batches that are read while one is learnt from
KEPT_AT_MOST = 256 * 2**20  # bytes of one stream's values that are kept in memory
T = TypeVar("T")


class Reader:
    """Some cases of a cohort, read in batches: what `Cohort.batch` gives, its index looked up once for all.

    A stream that is small stays in memory once it was asked for: a thread that reads it would cost more than it saves.
    pinned: batches lie in pinned memory, which a GPU copies from while it computes.
    """

    def __init__(self, cohort: Cohort, rows: np.ndarray, *, pinned: bool = False) -> None:
        chosen = cohort.index.iloc[rows]
        self.cohort, self.pinned = cohort, pinned
        self.case_ids = chosen["case_id"].to_numpy(str)
        self.subject_ids = chosen["subject_id"].to_numpy(np.int64)
        self.index_times = chosen["index_time"].to_numpy("datetime64[us]")
        self.target = torch.from_numpy(chosen["target"].to_numpy(np.float32).copy())
        self.outcome = torch.from_numpy(cohort.outcome[rows])
        self.shard = chosen["shard"].to_numpy()
        self.at = {name: chosen[f"{name}_row"].to_numpy() for name in cohort.stream_names}
        self.kept: dict[str, Stream] = {}

    def __len__(self) -> int:
        return len(self.case_ids)

    def batch(self, places: np.ndarray, streams: Sequence[str]) -> Batch:
        """The cases at these places among the rows."""
        index = torch.from_numpy(np.ascontiguousarray(places, np.int64))
        batch = Batch(
            case_ids=self.case_ids[places],
            subject_ids=self.subject_ids[places],
            index_times=self.index_times[places],
            streams={name: self._stream(name, places, index) for name in streams},
            target=self.target[index],
            outcome=self.outcome[index],
        )
        return _pinned(batch) if self.pinned else batch

    def batches(self, places: Iterable[np.ndarray], streams: Sequence[str]) -> Iterator[Batch]:
        """A batch for each of `places`, in their order, read ahead in a thread where anything is to be read."""
        for name in streams:
            if name not in self.kept and self._size(name) <= KEPT_AT_MOST:
                self.kept[name] = self._read(name, np.arange(len(self)))
        work = (partial(self.batch, each, streams) for each in places)
        return (piece() for piece in work) if self.kept.keys() >= set(streams) else ahead(work)

    def _stream(self, name: str, places: np.ndarray, index: torch.Tensor) -> Stream:
        kept = self.kept.get(name)
        return (
            self._read(name, places) if kept is None else _changed(kept, lambda tensor: tensor.index_select(0, index))
        )

    def _size(self, name: str) -> int:
        """Bytes of all cases' values as a network takes them."""
        shape = self.cohort.arrays(int(self.shard[0]) if len(self) else 0, name).values.shape[1:]
        return 4 * len(self) * int(np.prod(shape))

    def _read(self, name: str, places: np.ndarray) -> Stream:
        shard, at = self.shard[places], self.at[name][places]
        values, observed, hours = (self._array(name, part, shard, at) for part in ("values", "observed", "hours"))
        if name in self.cohort.features and values.shape[1] != observed.shape[1]:  # of the stream as a whole
            hours = np.where(observed, hours, 0).min(1, keepdims=True)
            observed = np.asarray(observed.any(1, keepdims=True))
        tensor = torch.from_numpy(values)
        if tensor.dtype == torch.uint8:  # how images of 8 bits are kept
            tensor = tensor.float().div_(255)
        elif tensor.dtype != torch.int64:
            tensor = tensor.float()
        return Stream(tensor, torch.from_numpy(observed), torch.from_numpy(hours).float())

    def _array(self, name: str, part: str, shard: np.ndarray, at: np.ndarray) -> np.ndarray:
        like: np.ndarray = getattr(self.cohort.arrays(int(shard[0]) if len(shard) else 0, name), part)
        out = np.zeros((len(at), *like.shape[1:]), like.dtype)
        for number in np.unique(shard):
            here = np.flatnonzero((shard == number) & (at >= 0))
            if len(here):
                out[here] = getattr(self.cohort.arrays(int(number), name), part)[at[here]]
        return out


def ahead(work: Iterable[Callable[[], T]], most: int = AHEAD) -> Iterator[T]:
    """What each piece of work gives, in order, done in one thread at most `most` pieces ahead.

    What a piece raises comes up where its result would have.
    """
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="reading")
    try:
        for piece in work:
            waiting.append(pool.submit(piece))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def runs_of(cases: int, size: int) -> list[np.ndarray]:
    """All places in order, in runs of at most `size`."""
    return [np.arange(start, min(start + size, cases)) for start in range(0, cases, size)]


def placed(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device; from pinned memory without waiting for the copies."""
    if device.type == "cpu":
        return batch
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _pinned(batch: Batch) -> Batch:
    return _each(batch, torch.Tensor.pin_memory)


def _each(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    streams = {name: _changed(stream, change) for name, stream in batch.streams.items()}
    return replace(batch, streams=streams, target=change(batch.target), outcome=change(batch.outcome))


def _changed(stream: Stream, change: Callable[[torch.Tensor], torch.Tensor]) -> Stream:
    """A stream made of one that was checked where it was built; to check it again would wait for the device."""
    changed = object.__new__(Stream)
    for name in ("values", "observed", "hours"):
        object.__setattr__(changed, name, change(getattr(stream, name)))
    return changed
