"""Files that belong to nobody by themselves: images, sounds and recordings, which a mapping or a FHIR Media names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.intake import ALREADY, Intake


@contextmanager
def checked(field: str) -> Iterator[None]:
    """What is wrong with a file that a record names is wrong with the record's field: InputError becomes Refusal."""
    try:
        yield
    except InputError as error:
        raise Refusal(field, error.complaint.expected, error.complaint.got, error.complaint.hint) from None


def count_assets(files: Sequence[SourceFile], intake: Intake, source_format: str) -> None:
    """Account for asset files: used where a record of this run names them, else skipped."""
    for file in files:
        count_asset(file, file.path, intake, source_format)


def count_asset(file: SourceFile, named: Path, intake: Intake, source_format: str) -> None:
    """Account for a file that is used where a record names `named`: itself, or the header that it comes with."""
    intake.report.see(source_format)
    if named in intake.assets:
        intake.report.use(source_format)
        intake.ledger.enter_file(file.sha256, source_format, 1)
    elif intake.ledger.file(file.sha256):
        intake.report.skip(source_format, ALREADY)
    else:
        intake.report.skip(source_format, f"{source_format} that no record names")
