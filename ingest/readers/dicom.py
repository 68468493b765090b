"""DICOM files: one observation per image or waveform, of the patient that the file itself names."""

import datetime as dt
from collections.abc import Iterator, Sequence

import orjson
import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.dicom.conflicts import Contests, check_claim, remember_used
from ingest.dicom.directory import missing_files
from ingest.dicom.entry import read_entry, series_and_instance
from ingest.dicom.gathered import Gathered, Waiting
from ingest.dicom.header import looks_like_dicom
from ingest.dicom.trial_decoding import undecodable
from ingest.errors import InputError
from ingest.intake import ALREADY, Intake
from ingest.mapping.mapping import TableMapping
from ingest.meaning.times import DATE_NOTE
from ingest.observations import ObservationColumns

FORMAT = "DICOM"
DIRECTORY = "DICOM directory"
ROWS_AT_ONCE = 20_000
MAX_IN_MEMORY = 1 << 26  # of one file; a larger one is read in pieces


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether a file is DICOM: by its magic word, by how data sets without one begin, or by its suffix."""
    return looks_like_dicom(file.path, file.head)


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """One row per image: code DICOM//<Modality>, the file as asset, the view position as text.

    All files are looked at before any is used: what contradicts another is not used, whichever came first.
    """
    gathered = Gathered()
    try:
        for file in files:
            intake.report.see(FORMAT)
            _gather(file, intake, gathered)
            intake.advance(file, file.path.stat().st_size)
        # All that fail are collected before any is removed: the entries are being walked through meanwhile.
        for number, refusal in list(undecodable(gathered.compressed())):
            _refuse(gathered.remove(number), refusal, intake)
        gathered.index()
        yield from _judged(gathered, intake)
        remember_used(gathered, intake)
    finally:
        gathered.close()


def _gather(file: SourceFile, intake: Intake, gathered: Gathered) -> None:
    """Parse a file; keep what it says for comparison, or account for it at once."""
    content = file.content(MAX_IN_MEMORY)
    known = intake.ledger.file(file.sha256)
    if known is not None and not known.refused:
        intake.report.skip(FORMAT, ALREADY)
        return
    try:
        entry = read_entry(file, content, issuer=intake.issuer, zone=intake.zone)
        if isinstance(entry, str):
            if entry == DIRECTORY:  # looked at each time: what it names may be missing tomorrow, or be there by then
                _read_directory(file, intake)
            else:
                intake.ledger.enter_file(file.sha256, FORMAT, 1)
            intake.report.skip(FORMAT, entry)
        else:
            subject = intake.identity.stated_subject(entry.issuer, entry.identifier)
            gathered.add(file, entry, intake.identity.person(subject))
    except Refusal as refusal:
        _refuse(file, refusal, intake, content)
    except InputError as error:
        found = error.complaint
        _refuse(file, Refusal(found.field, found.expected, found.got, found.hint), intake, content)


def _refuse(file: SourceFile, refusal: Refusal, intake: Intake, content: bytes | None = None) -> None:
    """Report a file that is not used; the catalogue keeps which series it leaves incomplete."""
    intake.report.refuse(FORMAT, refusal.complaint(file.name, ""), file.path)
    series, instance = series_and_instance(file, content)
    if series:
        intake.catalogue.add_refused(file.sha256, str(file.path), series, instance)


def _judged(gathered: Gathered, intake: Intake) -> Iterator[pa.RecordBatch]:
    contests = Contests(gathered, intake)
    rows = ObservationColumns()
    for waiting in gathered:
        try:
            if refusal := contests.refusal(waiting):
                raise refusal
            _use(waiting, intake, gathered, rows)
        except Refusal as refusal:
            _refuse(waiting.file, refusal, intake)
        if len(rows) >= ROWS_AT_ONCE:
            yield rows.batch()
    yield rows.batch()


def _use(waiting: Waiting, intake: Intake, gathered: Gathered, rows: ObservationColumns) -> None:
    """Add the row of an entry; or skip it, since it is here already. Raises Refusal."""
    entry, file = waiting.entry, waiting.file
    if intake.ledger.either("image", entry.uid):
        intake.ledger.enter_file(file.sha256, FORMAT, 1)
        intake.report.skip(FORMAT, "duplicate of an image ingested")
        return
    subject = check_claim(intake, waiting)
    intake.ledger.enter("image", entry.uid, entry.digest)
    intake.ledger.enter("image-source", entry.uid, orjson.dumps([file.source, file.sha256, str(file.path)]).decode())
    if entry.study:
        intake.ledger.enter("study", entry.study, str(waiting.subject))
    gathered.use(waiting)
    if entry.is_date:
        intake.report.note(DATE_NOTE)
    rows.add(
        subject, entry.code, time=dt.datetime.fromisoformat(entry.taken),
        available_time=dt.datetime.fromisoformat(entry.available), text_value=entry.text_value,
        asset=str(file.path), asset_sha256=file.sha256, source_file=file.source, source_record=entry.uid,
    )  # fmt: skip
    intake.catalogue.add(file.sha256, str(file.path), entry.kind, **entry.facts)
    intake.ledger.enter_file(file.sha256, FORMAT, 1)
    intake.report.use(FORMAT)


def _read_directory(file: SourceFile, intake: Intake) -> None:
    """A directory is not read in, but a file that it names and that is not there is a record that is missing."""
    for refusal in missing_files(file):
        intake.report.see(FORMAT)
        intake.report.refuse(FORMAT, refusal.complaint(file.name, ""))
