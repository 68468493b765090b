"""Some rows of a table, each cell still as its file has it; what a reader of a file format gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.delivery.sources import SourceFile


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


def row_labels(numbers: NDArray[np.int64]) -> pa.Array:
    """(N,) texts such as "row 17". Rising numbers, the usual case, are put together from thousands and the rest."""
    n = len(numbers)
    first, last = (int(numbers[0]), int(numbers[-1])) if n else (0, 0)
    rising = n > 1 and first >= 1000 and len(str(first)) == len(str(last)) and bool((np.diff(numbers) > 0).all())
    if not rising:
        return pc.binary_join_element_wise("row", pa.array(numbers).cast(pa.string()), " ")
    thousands, rest = np.divmod(numbers, 1000)
    heads = _letters([f"row {number}" for number in range(first // 1000, last // 1000 + 1)])
    tails = _letters([f"{number:03d}" for number in range(1000)])
    letters = np.hstack([heads[thousands - first // 1000], tails[rest]])
    ends = np.arange(0, letters.size + 1, letters.shape[1], dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(letters))


def _letters(texts: list[str]) -> NDArray[np.uint8]:
    """Texts of one length as rows of bytes."""
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)
