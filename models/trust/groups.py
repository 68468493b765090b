"""Who is like whom: the groups in each of which a coverage is to hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingest.batch import Batch
from ingest.errors import TaskError
from ingest.statistics import Statistics

ALL, UNKNOWN = "all", "unknown"


@dataclass(frozen=True)
class Groups:
    """by: None, everybody is one group; "pattern", those with the same streams; "stream.feature" of a table.

    edges: where a feature that is a number is cut: below the first edge, from the first to below the second, ...
    """

    by: str | None = None
    edges: tuple[float, ...] = ()

    def of(self, batch: Batch, present: np.ndarray, names: Sequence[str], statistics: Statistics) -> np.ndarray:
        """(B,) the group of each case, as text. present (B, M): the streams it rests on, in the order of `names`."""
        if self.by is None:
            return np.full(len(batch), ALL)
        if self.by == "pattern":
            return np.array(["+".join(n for n, here in zip(names, row, strict=True) if here) for row in present], str)
        name, column = self._place(statistics)
        stream = batch.streams[name]
        said = stream.values[:, column].cpu().numpy()
        known = stream.observed[:, column].cpu().numpy() & present[:, list(names).index(name)]
        levels = statistics.streams[name].levels.get(statistics.streams[name].names[column])
        found = np.array(levels)[said.astype(int)] if levels else np.array(self._cuts())[np.digitize(said, self.edges)]
        return np.where(known, found, UNKNOWN)

    def check(self, statistics: Statistics) -> None:
        """Raise TaskError where there is no such feature."""
        if self.by not in (None, "pattern"):
            self._place(statistics)

    def _place(self, statistics: Statistics) -> tuple[str, int]:
        name, _, feature = str(self.by).partition(".")
        stream = statistics.streams.get(name)
        if stream is None or stream.kind != "table" or feature not in stream.names:
            known = [f"{n}.{f}" for n, s in statistics.streams.items() if s.kind == "table" for f in s.names]
            raise TaskError(f"model.conformal.group: expected pattern or one of {', '.join(known)}, got {self.by!r}")
        if feature not in stream.levels and not self.edges:
            raise TaskError(f"model.conformal.group {self.by}: a number needs edges, such as edges: [50, 70]; got none")
        return name, stream.names.index(feature)

    def _cuts(self) -> list[str]:
        between = [f"{a:g} to below {b:g}" for a, b in zip(self.edges, self.edges[1:], strict=False)]
        return [f"below {self.edges[0]:g}", *between, f"{self.edges[-1]:g} or more"]
