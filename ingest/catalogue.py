"""What is known of every image and recording: the facts by which series are chosen and put together.

`images/<run>.parquet` in a workspace, a row per DICOM instance or picture, written with the part of the observation
table that the run makes. A refused image that says which series it is of has a row too, so that it is known which
volumes are incomplete; its `asset_sha256` joins with nothing. No row holds a name, date or identifier of a person, but
the DICOM UIDs, as `source_record` does, and the path.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.files import publish

SCHEMA = pa.schema(
    [
        pa.field("asset_sha256", pa.string(), nullable=False),  # joins with the observation table
        pa.field("asset", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # image, volume (NIfTI, multi-frame), waveform, sound; refused
        pa.field("instance", pa.string()),  # SOP Instance UID
        pa.field("series", pa.string()),  # Series Instance UID
        pa.field("study", pa.string()),  # Study Instance UID
        pa.field("modality", pa.string()),
        pa.field("body_part", pa.string()),
        pa.field("view", pa.string()),
        pa.field("laterality", pa.string()),
        pa.field(
            "description", pa.string()
        ),  # series description, protocol name and study description, joined by " | "
        pa.field("image_type", pa.string()),  # joined by "\\"
        pa.field("photometric", pa.string()),
        pa.field("transfer_syntax", pa.string()),
        pa.field("instance_number", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("columns", pa.int64()),
        pa.field("frames", pa.int64()),
        pa.field("bits_stored", pa.int64()),
        pa.field("frame_of_reference", pa.string()),
        pa.field("position_mm", pa.list_(pa.float64())),  # Image Position (Patient): x, y, z
        pa.field("orientation", pa.list_(pa.float64())),  # Image Orientation (Patient): six cosines
        pa.field("spacing_mm", pa.list_(pa.float64())),  # between rows, between columns
        pa.field("thickness_mm", pa.float64()),
        pa.field("sample_rate_hz", pa.float64()),
        pa.field("channels", pa.list_(pa.string())),  # leads of a waveform
        pa.field("seconds", pa.float64()),
        pa.field("burned_in", pa.bool_()),  # Burned In Annotation, null where not stated
    ]
)


REFUSED = "refused"
_ROWS_AT_ONCE = 8192


@dataclass
class Catalogue:
    """The entries of one run, being filled by readers: written aside as they come, put in place by `commit`."""

    folder: Path
    run: str
    _rows: list[Mapping[str, object]] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def add(self, asset_sha256: str, asset: str, kind: str, **facts: object) -> None:
        """One image or recording; `facts` are columns of SCHEMA, absent ones are null."""
        assert facts.keys() <= set(SCHEMA.names), f"not in the catalogue: {facts.keys() - set(SCHEMA.names)}"
        self._rows.append({"asset_sha256": asset_sha256, "asset": asset, "kind": kind, **facts})
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._write()

    def add_refused(self, asset_sha256: str, asset: str, series: str, instance: str) -> None:
        """An image that is not used."""
        self.add(f"refused {asset_sha256}", asset, REFUSED, series=series, instance=instance or None)

    def commit(self) -> None:
        """Give what was added its final name. Does nothing where nothing was."""
        if self._rows:
            self._write()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            publish(self._staging, self.folder / f"{self.run}.parquet")

    def discard(self) -> None:
        """Forget what was added and not committed: the run failed."""
        if self._writer is not None:
            with suppress(OSError):  # a full disk, which has been told already
                self._writer.close()
            self._writer = None
        self._staging.unlink(missing_ok=True)

    @property
    def _staging(self) -> Path:
        return self.folder / f".{self.run}.parquet"

    def _write(self) -> None:
        if self._writer is None:
            self.folder.mkdir(exist_ok=True)
            self._writer = pq.ParquetWriter(self._staging, SCHEMA, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist([dict(row) for row in self._rows], schema=SCHEMA))
        self._rows.clear()


def read_catalogue(folder: Path) -> pa.Table:
    """The catalogue of all runs (`Workspace.images`), each asset once; empty where there is none."""
    parts = [pq.read_table(path, schema=SCHEMA) for path in sorted(folder.glob("[!.]*.parquet"))]
    table = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
    first: dict[str, int] = {}
    for row, digest in enumerate(table["asset_sha256"].to_pylist()):
        first.setdefault(digest, row)
    return table.take(pa.array(sorted(first.values()), pa.int64()))
