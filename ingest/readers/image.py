"""Image files that are not DICOM. A mapping's asset or a FHIR Media names them, or they are skipped."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.errors import InputError
from ingest.intake import Intake
from ingest.mapping import TableMapping
from ingest.pixels import open_picture
from ingest.quarantine import Refusal
from ingest.readers.sound import count_assets
from ingest.sources import SourceFile

FORMAT = "image"
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is PNG, JPEG or TIFF, by its content."""
    return file.head.startswith(_MAGIC)


def check(file: SourceFile, field: str) -> None:
    """Refuse an image whose header is broken or whose size is beyond bounds; its pixels are read when aligned."""
    try:
        with open_picture(file.path):
            pass
    except InputError as error:
        raise Refusal(field, error.complaint.expected, error.complaint.got) from None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Count the files; the records that name them have brought them in."""
    yield from count_assets(files, intake, FORMAT)
