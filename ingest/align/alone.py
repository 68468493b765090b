"""One alignment at a time in a folder of cohorts, and what a killed one left is mended first."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.files import restore_folder


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder that `out` lies in; another alignment waits. The system lets go of it however a process ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(out.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        restore_folder(out)
        for left in (*out.parent.glob(f".{out.name[:40]}.*"), *out.glob("shards/.*")):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(handle)
