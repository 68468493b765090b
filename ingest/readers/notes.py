"""Text notes, a file each, whose names tell the patient and perhaps the time; a mapping says how."""

import datetime as dt
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from ingest.intake import ALREADY, Intake
from ingest.mapping import Notes, TableMapping
from ingest.observations import ObservationColumns
from ingest.quarantine import Refusal
from ingest.sources import SourceFile
from ingest.times import localize, parse_iso

FORMAT = "note"
MAX_NOTE_BYTES = 16 * 1024 * 1024


def accepts(file: SourceFile, mapping: TableMapping | None = None) -> bool:
    """Whether the mapping names the file as a note."""
    return mapping is not None and mapping.note(file) is not None


def read(files: Sequence[SourceFile], intake: Intake) -> Iterator[pa.RecordBatch]:
    """One row per note."""
    rows = ObservationColumns()
    for file in files:
        part = intake.mapping.note(file) if intake.mapping else None
        assert part is not None, "read is given accepted files only"
        intake.report.see(FORMAT)
        key = f"{file.sha256}/{intake.identity.digest(file.relative)}"  # two patients may have the same note
        if intake.ledger.file(key):
            intake.report.skip(FORMAT, ALREADY)
            continue
        try:
            _read_one(file, part, intake, rows)
        except Refusal as refusal:
            intake.report.refuse(FORMAT, refusal.complaint(file.name, ""), file.path)
        else:
            intake.ledger.enter_file(key, part.reading, 1)
            intake.report.use(FORMAT)
    yield rows.batch()


def _read_one(file: SourceFile, part: Notes, intake: Intake, rows: ObservationColumns) -> None:
    found = re.fullmatch(part.name, file.path.stem)
    if not found:
        raise Refusal("file name", f"a name that matches {part.name}", "another")
    if file.path.stat().st_size > MAX_NOTE_BYTES:
        raise Refusal("", f"at most {MAX_NOTE_BYTES:,} bytes", "more")
    try:
        text = file.path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("", "text in UTF-8", "another encoding") from None
    time, available = _when(found.groupdict().get("time"), part, intake)
    subject = intake.identity.subject_id(part.issuer, found["subject"])
    rows.add(
        subject, part.code, time=time, text_value=text, available_time=available,
        source_file=file.source, source_record="note",
    )  # fmt: skip


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
    aware = moment_read if moment_read.tzinfo else localize(moment_read, "time", intake.zone)
    return aware, aware
