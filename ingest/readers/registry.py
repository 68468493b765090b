"""Which readers there are, in the order in which files are offered to them.

Not in the package itself: a process that only parses FHIR then loads none of the others.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from ingest.delivery.sources import SourceFile
from ingest.intake import Intake
from ingest.mapping.mapping import TableMapping
from ingest.readers import dicom, image, meds, notes, recording, sound
from ingest.readers.fhir import reader as fhir
from ingest.readers.fhir import xml_reader as fhir_xml
from ingest.readers.omop import reader as omop
from ingest.readers.table import reader as table


class Reader(Protocol):
    """What a reader's module offers. It reports every record of its files to the intake, seen once and decided once."""

    FORMAT: str

    def accepts(self, file: SourceFile, mapping: TableMapping | None = None) -> bool:
        """Whether the file is of this format, told by its content."""
        ...

    def read(self, files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
        """The observations of all files of this format in a delivery, as batches of `SCHEMA`."""
        ...


# In this order files are offered and read: what the mapping names first; identity (FHIR's Patient) before images;
# recordings and images last, when it is known which of them a record has named.
READERS: dict[str, Reader] = {
    "notes": notes,
    "FHIR": fhir,
    "FHIR XML": fhir_xml,
    "OMOP": omop,
    "MEDS": meds,
    "table": table,
    "DICOM": dicom,
    "recording": recording,
    "sound": sound,
    "image": image,
}
