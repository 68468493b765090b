"""Sound files. By themselves they belong to nobody: a FHIR Media or a mapping names them, or they are skipped."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.errors import InputError
from ingest.intake import ALREADY, Intake
from ingest.mapping import TableMapping
from ingest.quarantine import Refusal
from ingest.sound_files import check_sound
from ingest.sources import SourceFile

FORMAT = "sound"


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is WAV or FLAC, by its content."""
    head = file.head
    return (head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE") or head[:4] == b"fLaC"


def check(file: SourceFile, field: str) -> None:
    """Refuse a sound whose header is broken."""
    try:
        check_sound(file.path)
    except InputError as error:
        raise Refusal(field, error.complaint.expected, error.complaint.got) from None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Count the files; the records that name them have brought them in."""
    yield from count_assets(files, intake, FORMAT)


def count_assets(files: Sequence[SourceFile], intake: Intake, source_format: str) -> Iterator[pa.RecordBatch]:
    """Account for asset files: used where a record of this run names them, else skipped."""
    for file in files:
        intake.report.see(source_format)
        if file.path in intake.assets:
            intake.report.use(source_format)
            intake.ledger.enter_file(file.sha256, source_format, 1)
        elif intake.ledger.file(file.sha256):
            intake.report.skip(source_format, ALREADY)
        else:
            intake.report.skip(source_format, f"{source_format} that no record names")
    yield from ()
