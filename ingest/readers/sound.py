"""Sound files. By themselves they belong to nobody: a FHIR Media or a mapping names them, or they are skipped."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.delivery.sources import SourceFile
from ingest.intake import Intake
from ingest.mapping.mapping import TableMapping
from ingest.readers.assets import checked, count_assets
from ingest.signals.sound import check_sound, is_sound

FORMAT = "sound"


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is WAV, FLAC, OGG, MP3 or AIFF, by its content."""
    return is_sound(file.head)


def check(file: SourceFile, field: str) -> None:
    """Refuse a sound whose header is broken, or that is cut short."""
    with checked(field):
        check_sound(file.path)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Count the files, and enter those in the catalogue that records have brought in."""
    for file in files:
        if file.path in intake.assets:
            facts = check_sound(file.path)
            intake.catalogue.add(
                intake.assets[file.path], str(file.path), "sound",
                sample_rate_hz=facts.rate_hz, channels=list(facts.leads), seconds=facts.seconds,
            )  # fmt: skip
    count_assets(files, intake, FORMAT)
    yield from ()
