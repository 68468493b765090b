"""The machine that this process runs on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Arrow takes its memory from the system, which has it back when it is free.

    Arrow's own allocator keeps it for later: where batch after batch is read, several times what is in use.
    """
    import pyarrow as pa

    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
