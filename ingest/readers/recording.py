"""Waveform files: EDF, BDF and WFDB. By themselves they belong to nobody: a FHIR Media or a mapping names them.

Of a WFDB record the header (.hea) is what is named; the signal files that it names beside it come with it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.intake import Intake
from ingest.mapping.mapping import TableMapping
from ingest.readers.assets import checked, count_asset
from ingest.signals.files import companions, is_waveform, recording_facts

FORMAT = "recording"


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is EDF or BDF, a WFDB header, or a signal file of a WFDB record."""
    return is_waveform(file.path, file.head) or _header_of(file) is not None


def check(file: SourceFile, field: str) -> None:
    """Refuse a recording whose header is broken, or contradicts the size of its data."""
    if _header_of(file) is not None:
        raise Refusal(field, "the header (.hea) of a WFDB record", "its signal file", "name the header instead")
    with checked(field):
        recording_facts(file.path)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Count the files, and enter those in the catalogue that records have brought in."""
    for file in files:
        if file.path in intake.assets:
            facts = recording_facts(file.path)
            intake.catalogue.add(
                intake.assets[file.path], str(file.path), "waveform",
                sample_rate_hz=facts.rate_hz, channels=list(facts.leads), seconds=facts.seconds,
            )  # fmt: skip
        count_asset(file, _header_of(file) or file.path, intake, FORMAT)  # a signal file is used where its header is
    yield from ()


def _header_of(file: SourceFile) -> Path | None:
    """The WFDB header of the same name, where it names this file."""
    header = file.path.with_suffix(".hea")
    if header == file.path or not header.is_file():
        return None
    try:
        return header if file.path in companions(header) else None
    except InputError:
        return None
