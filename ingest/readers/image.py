"""Image files that are not DICOM. A mapping's asset or a FHIR Media names them, or they are skipped."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ingest.delivery.sources import SourceFile
from ingest.intake import Intake
from ingest.mapping.mapping import TableMapping
from ingest.pictures.files import count_pages, open_picture
from ingest.pictures.nifti import check_nifti, looks_like_nifti
from ingest.readers.assets import checked, count_assets

FORMAT = "image"
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is PNG, JPEG, TIFF or NIfTI, by its content."""
    return file.head.startswith(_MAGIC) or looks_like_nifti(file.path, file.head)


def check(file: SourceFile, field: str) -> None:
    """Refuse an image whose header is broken or whose size is beyond bounds; its pixels are read when aligned."""
    with checked(field):
        _facts(file.path, file.head)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Count the files, and enter those in the catalogue that records have brought in."""
    for file in files:
        if file.path in intake.assets:
            kind, facts = _facts(file.path, file.head)
            intake.catalogue.add(intake.assets[file.path], str(file.path), kind, **facts)
    count_assets(files, intake, FORMAT)
    yield from ()


def _facts(path: Path, head: bytes) -> tuple[str, dict[str, object]]:
    """(kind, columns) for the catalogue, from the header alone. Raises InputError."""
    if looks_like_nifti(path, head):
        (rows, columns, slices), (between_rows, between_columns, between_slices) = check_nifti(path)
        return "volume", {
            "rows": rows,
            "columns": columns,
            "frames": slices,
            "spacing_mm": [between_rows, between_columns],
            "thickness_mm": between_slices,
        }
    with open_picture(path) as picture:
        columns, rows = picture.size
        mode = picture.mode
    return "image", {"rows": rows, "columns": columns, "frames": count_pages(path), "photometric": mode}
