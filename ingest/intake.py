"""What readers are handed: the delivery's files and settings, who is who, what is known, and where to report."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ingest.account.ledger import Ledger
from ingest.account.quarantine import Refusal
from ingest.account.reconciliation import Report
from ingest.catalogue import Catalogue
from ingest.delivery.sources import SourceFile, inside
from ingest.identity.recordings import check_named
from ingest.identity.register import IdentityRegister
from ingest.mapping.mapping import TableMapping
from ingest.meaning.vocabulary import EMPTY, Vocabulary

ALREADY = "already ingested"
KNOWN_STAYS = "refused, so the version of it that was known before stays in force"
_ASSETS = "a PNG, JPEG, TIFF, WAV, FLAC, OGG, MP3, AIFF, EDF, BDF or WFDB (.hea) file"


@dataclass
class Intake:
    """One ingest in progress. Readers resolve subjects, times and assets through it, and report every record to it."""

    identity: IdentityRegister
    ledger: Ledger
    report: Report
    issuer: str
    zone: dt.tzinfo | None
    mapping: TableMapping | None
    catalogue: Catalogue
    vocabulary: Vocabulary = EMPTY
    assets: dict[Path, str] = field(default_factory=dict)  # image and recording files that used records name -> SHA-256
    advance: Callable[[SourceFile, int], None] = lambda file, done: None  # bytes of a file read so far
    _checked: dict[Path, str] = field(default_factory=dict)  # what `asset` found sound -> SHA-256

    def retire(self, source_file: str, source_record: str, why: str) -> None:
        """Take back the observations of a record, of an earlier run or of this one: a better version is here, or none.

        `source_file` is `SourceFile.source`, `source_record` the label, as they stand in the observation table.
        """
        self.ledger.retire(source_file, source_record, why)

    def asset(self, file: SourceFile, reference: str, field_name: str, subject: int, issuer: str) -> tuple[str, str]:
        """(absolute path, SHA-256) of the image or recording that a record of `file` names. Raises Refusal.

        subject: whom the record is about; `issuer` gave the identifiers of such records. Whoever uses the record
        enters the file in `assets`.
        """
        path = inside(file, reference, field_name)
        if path not in self._checked:
            target = SourceFile(path, file.root)
            check_asset(target, field_name)
            self._checked[path] = target.sha256
        check_named(path, subject, self.identity, issuer, field_name)
        return str(path), self._checked[path]


def check_asset(file: SourceFile, field_name: str) -> None:
    """Refuse a file that is neither an image nor a recording, or whose header is broken."""
    # Imported here: the readers' modules import this one.
    from ingest.readers import dicom, image, recording, sound

    if dicom.accepts(file):
        raise Refusal(
            field_name,
            _ASSETS,
            "a DICOM file",
            "DICOM carries its own patient: it is read by itself, leave it out of the mapping",
        )
    if image.accepts(file):
        image.check(file, field_name)
    elif recording.accepts(file):
        recording.check(file, field_name)
    elif sound.accepts(file):
        sound.check(file, field_name)
    else:
        raise Refusal(field_name, _ASSETS, "a file of another format")
