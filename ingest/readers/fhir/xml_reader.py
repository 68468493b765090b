"""FHIR in XML: never parsed, since XML can hide entities that grow or fetch; named, so that it is exported as JSON."""

import codecs
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.intake import Intake
from ingest.mapping.mapping import TableMapping

FORMAT = "FHIR XML"
_NAMESPACE = b"http://hl7.org/fhir"
_LOOKED_AT = 1 << 20  # bytes
_PIECE = 1 << 20
_DOCTYPE = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is XML that names FHIR's namespace near its beginning, or an .xml with a document type."""
    head = _narrow(file.head)
    for mark in _BOMS:
        head = head.removeprefix(mark)
    if not head.lstrip().startswith(b"<"):
        return False
    with file.path.open("rb") as opened:
        beginning = _narrow(opened.read(_LOOKED_AT))
    is_xml = file.path.suffix.lower() == ".xml"
    return _NAMESPACE in beginning or (is_xml and _DOCTYPE.search(beginning) is not None)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """No observations: every file is refused or skipped by what it is."""
    for file in files:
        intake.report.see(FORMAT)
        if _has_document_type(file):
            refusal = Refusal(
                "", "FHIR without a document type", "XML with a document type, which may hide entities",
                "export it as JSON",
            )  # fmt: skip
            intake.report.refuse(FORMAT, refusal.complaint(file.name, "file"), file.path)
        else:
            intake.report.skip(FORMAT, "FHIR in XML: export it as JSON")
        intake.advance(file, file.path.stat().st_size)
    yield from ()


def _has_document_type(file: SourceFile) -> bool:
    """Whether a document type or an entity is declared anywhere, found as text: nothing is expanded."""
    last = b""
    with file.path.open("rb") as opened:
        while piece := opened.read(_PIECE):
            piece = _narrow(piece)
            if _DOCTYPE.search(last + piece):
                return True
            last = piece[-32:]
    return False


def _narrow(content: bytes) -> bytes:
    """Text of two or four bytes a character as one byte each, good enough to find ASCII words in it."""
    return content.replace(b"\x00", b"")
