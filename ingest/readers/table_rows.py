"""Some rows of a table, each cell still as its file has it; what a reader of a file format gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from ingest.sources import SourceFile


class Broken(NamedTuple):
    """A row, or what follows from a row on, that could not be read."""

    number: int
    expected: str
    got: str
    raw: str
    file: int = 0


@dataclass(frozen=True)
class Rows:
    """Rows of one file, or of several small ones. numbers (N,) count a file's rows from 1; file (N,) is a place in
    `files`. Text cells are as written ("" where empty); others (from Parquet, or numbers parsed already) are typed."""

    cells: dict[str, pa.Array]
    numbers: NDArray[np.int64]
    broken: tuple[Broken, ...] = ()
    files: tuple[SourceFile, ...] = ()
    file: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    bytes_done: int = 0  # how far their file has been read

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, column: str) -> pa.Array:
        return self.cells[column]

    @property
    def seen(self) -> int:
        return len(self.numbers) + len(self.broken)

    def of(self, file: SourceFile) -> "Rows":
        """The same rows, known to be of one file."""
        return replace(self, files=(file,), file=np.zeros(len(self), np.int64))

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """The rows of a mask; the broken ones stay."""
        if mask.all():
            return self
        kept = pa.array(mask)
        cells = {name: column.filter(kept) for name, column in self.cells.items()}
        return replace(self, cells=cells, numbers=self.numbers[mask], file=self.file[mask])

    def raw(self, row: int) -> str:
        """One row as JSON, for quarantine."""
        cells = {name: column[row].as_py() for name, column in self.cells.items()}
        return orjson.dumps(cells, default=str).decode()

    def alike(self, other: "Rows") -> bool:
        """Whether the two can be put together."""
        return [each.type for each in self.cells.values()] == [each.type for each in other.cells.values()]


def together(parts: Sequence[Rows]) -> Rows:
    """Rows of several files as one. All are `alike`."""
    if len(parts) == 1:
        return parts[0]
    files: dict[SourceFile, int] = {}
    place, broken = [], []
    for part in parts:
        at = np.array([files.setdefault(file, len(files)) for file in part.files], np.int64)
        place.append(at[part.file])
        broken += [each._replace(file=int(at[each.file])) for each in part.broken]
    cells = {}
    for name in parts[0].cells:
        columns = [part[name] for part in parts]
        joined = pa.chunked_array(columns)
        if pa.types.is_dictionary(joined.type):
            joined = joined.unify_dictionaries()
        cells[name] = joined.combine_chunks()
        if isinstance(cells[name], pa.ChunkedArray):  # what does not fit into one array
            cells[name] = pa.concat_arrays(cells[name].chunks)
    return Rows(
        cells, np.concatenate([part.numbers for part in parts]), tuple(broken), tuple(files), np.concatenate(place)
    )
