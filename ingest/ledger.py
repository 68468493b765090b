"""What was ingested before: files by their content, records by a keyed digest, so that nothing comes in twice.

A run's ledger is `ingests/<run>.ledger.parquet`. It counts only once the run's part of the observation table is
there: writing that part is the one step that makes a run happen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.files import write_parquet

_SCHEMA = pa.schema(
    [
        # file: key SHA-256, value a digest of how it was read, refused the records still to be had
        # record: key and value digests of a resource's id and content; image, study: of a UID and of pixels or subject
        # place: key a location's reference, value its code
        pa.field("kind", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("records", pa.int64()),
        pa.field("refused", pa.list_(pa.string())),
    ]
)
Kind = Literal["record", "image", "study", "place"]


@dataclass(frozen=True)
class KnownFile:
    """A file ingested before: how many records it has, and which of them were refused and may be tried again."""

    reading: str
    records: int
    refused: frozenset[str]


class Ledger:
    """The ledgers of all runs that happened, and the entries of this one."""

    def __init__(self, folder: Path, parts: Path) -> None:
        self._folder = folder
        self._files: dict[str, KnownFile] = {}
        self._values: dict[Kind, dict[str, str]] = {"record": {}, "image": {}, "study": {}, "place": {}}
        self._new: dict[Kind, dict[str, str]] = {"record": {}, "image": {}, "study": {}, "place": {}}
        self._new_files: dict[str, KnownFile] = {}
        for path in sorted(folder.glob("*.ledger.parquet")):
            if (parts / path.name.replace(".ledger.", ".")).is_file():
                self._load(path)

    def file(self, sha256: str) -> KnownFile | None:
        """The file as an earlier run left it."""
        return self._files.get(sha256)

    def current_file(self, sha256: str) -> KnownFile | None:
        """The file as this run has read it."""
        return self._new_files.get(sha256)

    def earlier(self, kind: Kind, key: str) -> str | None:
        """The value that an earlier run gave to a key."""
        return self._values[kind].get(key)

    def current(self, kind: Kind, key: str) -> str | None:
        """The value that this run gave to a key."""
        return self._new[kind].get(key)

    def either(self, kind: Kind, key: str) -> str | None:
        """The value of a key, this run's before earlier ones'."""
        return self._new[kind].get(key) or self._values[kind].get(key)

    def enter(self, kind: Kind, key: str, value: str) -> None:
        """Give a key its value in this run."""
        self._new[kind][key] = value

    def enter_file(self, sha256: str, reading: str, records: int, refused: frozenset[str] = frozenset()) -> None:
        """A file was read as far as it could be."""
        self._new_files[sha256] = KnownFile(reading, records, refused)

    @property
    def is_new(self) -> bool:
        """Whether this run entered anything that earlier runs had not."""
        changed = any(self._values[kind].get(k) != v for kind, new in self._new.items() for k, v in new.items())
        return changed or any(self._files.get(sha256) != file for sha256, file in self._new_files.items())

    def save(self, run: str) -> None:
        """Write this run's entries."""
        rows: list[tuple[object, ...]] = [
            ("file", sha256, file.reading, file.records, sorted(file.refused))
            for sha256, file in self._new_files.items()
        ]
        rows += [(kind, key, value, None, None) for kind, new in self._new.items() for key, value in new.items()]
        columns = zip(*rows, strict=True) if rows else ([] for _ in _SCHEMA)
        arrays = [pa.array(list(values), f.type) for values, f in zip(columns, _SCHEMA, strict=True)]
        write_parquet(self._folder / f"{run}.ledger.parquet", pa.Table.from_arrays(arrays, schema=_SCHEMA))

    def _load(self, path: Path) -> None:
        columns = pq.read_table(path, schema=_SCHEMA).to_pydict()
        for kind, key, value, records, refused in zip(*columns.values(), strict=True):
            if kind == "file":
                self._files[key] = KnownFile(value, records, frozenset(refused))
            else:
                self._values[kind][key] = value
