"""The stages of a longer job: which one runs, how long each took, and the most memory that was held."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serve.console import say


class Stages:
    """Call it with a stage's name in a `with` block; `tell` prints the times at the end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        say(f"\n── {name} " + "─" * max(2, 60 - len(name)))
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start

    def tell(self) -> None:
        """Print how long each stage took, their sum, and the peak memory of this process."""
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        say(f"\n{each}; all {sum(self.seconds.values()):.0f} s, at most {peak_gb:.1f} GB")
