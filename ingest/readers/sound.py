"""Sound files. By themselves they belong to nobody: a FHIR Media or a mapping names them, or they are skipped."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.errors import InputError
from ingest.intake import ALREADY, Intake
from ingest.mapping import TableMapping
from ingest.quarantine import Refusal
from ingest.sound_files import check_sound, is_sound
from ingest.sources import SourceFile

FORMAT = "sound"


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is WAV, FLAC, OGG, MP3 or AIFF, by its content."""
    return is_sound(file.head)


def check(file: SourceFile, field: str) -> None:
    """Refuse a sound whose header is broken, or that is cut short."""
    try:
        check_sound(file.path)
    except InputError as error:
        raise Refusal(field, error.complaint.expected, error.complaint.got) from None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Count the files, and enter those in the catalogue that records have brought in."""
    for file in files:
        if file.path in intake.assets:
            facts = check_sound(file.path)
            intake.catalogue.add(
                intake.assets[file.path], str(file.path), "sound",
                sample_rate_hz=facts.rate_hz, channels=list(facts.leads), seconds=facts.seconds,
            )  # fmt: skip
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
