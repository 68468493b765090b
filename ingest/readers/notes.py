"""Text notes, a file each, whose names tell the patient and perhaps the time; a mapping says how."""

import codecs
import datetime as dt
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.intake import ALREADY, Intake
from ingest.mapping.mapping import Notes, TableMapping
from ingest.meaning.times import DATE_NOTE, has_time_of_day, localize, parse_iso
from ingest.observations import ObservationColumns

FORMAT = "note"
MAX_NOTE_BYTES = 16 * 1024 * 1024
BATCH_CHARACTERS = 8_000_000
BYTE_ORDER_MARKS = (  # the longer ones first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether the mapping names the file as a note."""
    return mapping is not None and mapping.note(file) is not None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """One row per note. A file without any text is skipped; one that is no text, or too large, is refused, not cut."""
    rows, held = ObservationColumns(), 0
    for file in files:
        part = intake.mapping.note(file) if intake.mapping else None
        assert part is not None, "read is given accepted files only"
        intake.report.see(FORMAT)
        key = f"{file.sha256}/{intake.identity.digest(file.relative)}"  # two patients may have the same note
        if intake.ledger.file(key):
            intake.report.skip(FORMAT, ALREADY)
            continue
        try:
            characters = _read_one(file, part, intake, rows)
        except Refusal as refusal:
            intake.report.refuse(FORMAT, refusal.complaint(file.name, ""), file.path)
            continue
        if not characters:
            intake.report.skip(FORMAT, "note without text")
            continue
        intake.ledger.enter_file(key, part.reading, 1)
        intake.report.use(FORMAT)
        intake.advance(file, file.path.stat().st_size)
        held += characters
        if held > BATCH_CHARACTERS:
            yield rows.batch()
            held = 0
    yield rows.batch()


def _read_one(file: SourceFile, part: Notes, intake: Intake, rows: ObservationColumns) -> int:
    """Add a note's row; how many characters it has, 0: none but white space, and no row."""
    found = re.fullmatch(part.name, file.path.stem)
    if not found:
        raise Refusal("file name", f"a name that matches {part.name}", "another")
    text = _decoded(file, part.encoding)
    if not text.strip():
        return 0
    time, available = _when(found.groupdict().get("time"), part, intake)
    subject = intake.identity.stated_subject(part.issuer, found["subject"])
    if available != time:
        intake.report.note(DATE_NOTE)
    rows.add(
        subject, part.code, time=time, text_value=text, available_time=available,
        source_file=file.source, source_record="note",
    )  # fmt: skip
    return len(text)


def _decoded(file: SourceFile, encoding: str) -> str:
    """The text of a file: in the encoding that its byte order mark tells, else in the mapping's. Raises Refusal."""
    with file.path.open("rb") as opened:
        raw = opened.read(MAX_NOTE_BYTES + 1)
    if len(raw) > MAX_NOTE_BYTES:
        raise Refusal("", f"a note of at most {MAX_NOTE_BYTES:,} bytes", "more", "split it: a note is never cut")
    marked = next((name for mark, name in BYTE_ORDER_MARKS if raw.startswith(mark)), encoding)
    try:
        text = raw.decode(marked)
    except UnicodeDecodeError:
        hint = "state `encoding` in the mapping" if marked == encoding else ""
        raise Refusal("", f"text in {marked.upper()}", "bytes that are none", hint) from None
    if "\0" in text:
        raise Refusal("", "text", "binary data")
    return text


def _when(text: str | None, part: Notes, intake: Intake) -> tuple[dt.datetime | None, dt.datetime | None]:
    if text is None:
        return None, None
    if part.format is None:
        moment = parse_iso(text, "time", intake.zone)
        return moment.start, moment.end
    try:
        moment_read = dt.datetime.strptime(text, part.format)  # noqa: DTZ007 - the zone is resolved below
    except ValueError:
        raise Refusal("time", f"a time as {part.format}", "something else") from None
    if not has_time_of_day(part.format):
        day = parse_iso(f"{moment_read:%Y-%m-%d}", "time", intake.zone)
        return day.start, day.end
    aware = moment_read if moment_read.tzinfo else localize(moment_read, "time", intake.zone)
    return aware, aware
