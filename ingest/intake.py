"""What readers are handed: the delivery's files and settings, who is who, what is known, and where to report."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from ingest.identity import IdentityRegister
from ingest.ledger import Ledger
from ingest.mapping import TableMapping
from ingest.quarantine import Refusal
from ingest.reconciliation import Report
from ingest.sources import SourceFile, inside

ALREADY = "already ingested"


@dataclass
class Intake:
    """One ingest in progress. Readers resolve subjects, times and assets through it, and report every record to it."""

    identity: IdentityRegister
    ledger: Ledger
    report: Report
    issuer: str
    zone: dt.tzinfo | None
    mapping: TableMapping | None
    assets: dict[Path, str] = field(default_factory=dict)  # image and sound files that records name -> SHA-256

    def asset(self, file: SourceFile, reference: str, field_name: str) -> tuple[str, str]:
        """(absolute path, SHA-256) of the image or sound that a record of `file` names. Raises Refusal."""
        path = inside(file, reference, field_name)
        if path not in self.assets:
            target = SourceFile(path, file.root)
            check_asset(target, field_name)
            self.assets[path] = target.sha256
        return str(path), self.assets[path]


def check_asset(file: SourceFile, field_name: str) -> None:
    """Refuse a file that is neither an image nor a sound, or whose header is broken."""
    # Imported here: the readers' modules import this one.
    from ingest.readers import dicom, image, sound

    if dicom.accepts(file):
        raise Refusal(
            field_name,
            "a PNG, JPEG, TIFF, WAV or FLAC file",
            "a DICOM file",
            "DICOM carries its own patient: it is read by itself, leave it out of the mapping",
        )
    if image.accepts(file):
        image.check(file, field_name)
    elif sound.accepts(file):
        sound.check(file, field_name)
    else:
        raise Refusal(field_name, "a PNG, JPEG, TIFF, WAV or FLAC file", "a file of another format")
