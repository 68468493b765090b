"""An ingest: from the files of a delivery to a part of the observation table, all of it or nothing."""

import datetime as dt
import mimetypes
import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import orjson

from ingest.account.ledger import Ledger
from ingest.account.progress import Listener, Tracker
from ingest.account.quarantine import Quarantine, sweep
from ingest.account.reconciliation import Reconciliation, Report
from ingest.account.summary import Summary, summarise, write_page
from ingest.catalogue import Catalogue
from ingest.delivery.sources import SourceFile, find_files
from ingest.dicom.conflicts import withdraw_contested
from ingest.errors import InputError
from ingest.files import publish, write_json
from ingest.identity.register import IdentityRegister
from ingest.intake import ALREADY, Intake
from ingest.machine import giving_memory_back
from ingest.mapping.mapping import TableMapping, load_mapping
from ingest.meaning.times import parse_zone
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.parts import PartWriter
from ingest.readers import image, recording, sound
from ingest.readers.registry import READERS
from ingest.workspace import Workspace, alone

_ARCHIVE, _OTHER = "archive", "other"
_SUFFIXES = {".ndjson", ".parquet", ".dcm", ".nii", ".dat", ".md", ".yaml", ".yml", ".log", ".db", ".gz", ".zip", ".7z"}
_TABLES = {".csv", ".tsv", ".parquet", ".gz", ".xlsx"}


def ingest(
    workspace: Workspace,
    sources: Sequence[Path],
    *,
    mapping: Path | None = None,
    issuer: str = "local",
    timezone: str | None = None,
    vocabulary: Vocabulary = EMPTY,
    progress: Listener | None = None,
) -> Reconciliation:
    """Read files and folders into the workspace's observation table, and account for every record.

    `mapping` says what tables and notes mean; `issuer` is who gave identifiers that do not say so themselves;
    `timezone` is the zone of times without one; `vocabulary` says what codes and units mean. What was ingested before
    is recognised by its content and skipped.
    Raises InputError, with nothing written, where a source is missing or a mapping does not fit.
    """
    zone = parse_zone(timezone)
    meaning = load_mapping(mapping) if mapping else None
    with alone(workspace), giving_memory_back():
        _sweep(workspace)
        files = find_files(sources, workspace.root, unpacked=workspace.unpacked)
        if meaning is not None:
            _check_matches(str(mapping), meaning, files)
        tracker = Tracker(files, progress)
        with _Run(workspace) as run:
            intake = Intake(
                run.identity, run.ledger, Report(run.quarantine), issuer, zone, meaning, run.catalogue, vocabulary,
                advance=tracker.advance,
            )  # fmt: skip
            _read_all(files, intake, run.part, tracker)
            tracker.stage("sorting")
            account = run.commit(intake)
            tracker.stage("done")
            return account


def is_strange(account: Reconciliation) -> bool:
    """Whether all of a delivery was skipped without a file of a kind that is read by itself, or was ingested before."""
    skipped = account.total.seen == account.total.skipped and ALREADY not in account.skip_reasons
    return skipped and account.by_format.keys() <= {_ARCHIVE, _OTHER, image.FORMAT, recording.FORMAT, sound.FORMAT}


class _Run:
    """What one ingest writes: everything aside, then in place, the part of the observation table last.

    Until that part is there the run never was: what else it wrote is swept up by the next one.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.name = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"

    def __enter__(self) -> "_Run":
        workspace = self.workspace
        try:
            self.quarantine = Quarantine(workspace.quarantine, self.name)
            self.identity = IdentityRegister(workspace.identities)
            self.ledger = Ledger(workspace.ingests, workspace.observations)
        except (OSError, sqlite3.Error) as error:
            raise _failed(workspace, error) from None
        self.catalogue = Catalogue(workspace.images, self.name)
        self.part = PartWriter(workspace.observations / f".{self.name}.spill")
        return self

    def commit(self, intake: Intake) -> Reconciliation:
        """Write what the run found."""
        new = self.ledger.is_new or self.part.rows > 0
        part = f"{self.name}.parquet" if new else None
        staged = self.workspace.observations / f".{self.name}.parquet"
        summary = Summary.nothing()
        if part is not None:
            self.part.write(staged)
            self.catalogue.commit()
            titles = {code: quantity.name for code, quantity in intake.vocabulary.quantities.items()}
            summary = summarise(staged, self.workspace.images / part, self.part.folder, titles)
        account = intake.report.reconcile(self.name, part, self.part.rows, summary, self.identity.bearing)
        self.quarantine.commit()
        if part is not None:
            self.identity.save()
            self.ledger.save(self.name)
        write_json(self.workspace.ingests / f"{self.name}.json", account.to_json())
        write_page(self.workspace.ingests / f"{self.name}.html", account)
        if part is not None:
            publish(staged, self.workspace.observations / part)
        return account

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.part.close()
        self.catalogue.discard()
        self.quarantine.discard()
        self.ledger.close()
        self.identity.close()
        if isinstance(error, OSError | sqlite3.Error):
            raise _failed(self.workspace, error) from None


def _failed(workspace: Workspace, error: OSError | sqlite3.Error) -> InputError:
    """A disk that is full, a file that went away: told in one line. Whatever else it is, it is not hidden."""
    where = getattr(error, "filename", None) or workspace.root
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InputError(str(where), expected="a file that can be read, and room to write", got=what)


def _read_all(files: Sequence[SourceFile], intake: Intake, part: PartWriter, tracker: Tracker) -> None:
    by_format, strange = _sorted_by_format(files, intake.mapping)
    for name, reader in READERS.items():
        tracker.stage(name)
        if by_format[name]:
            for batch in reader.read(by_format[name], intake):
                part.add(batch)
        tracker.finish(by_format[name])
    withdraw_contested(intake)
    for file in strange:
        kind = _ARCHIVE if file.refusal else _OTHER
        intake.report.see(kind)
        if file.refusal:
            intake.report.refuse(kind, file.refusal.complaint(file.name, ""), file.path)
        else:
            intake.report.skip(kind, file.problem or _why_strange(file))
    tracker.finish(strange)


def _sorted_by_format(
    files: Sequence[SourceFile], mapping: TableMapping | None
) -> tuple[dict[str, list[SourceFile]], list[SourceFile]]:
    by_format: dict[str, list[SourceFile]] = {name: [] for name in READERS}
    strange: list[SourceFile] = []
    for file in files:
        offered = {} if file.problem or file.refusal else READERS
        name = next((name for name, reader in offered.items() if reader.accepts(file, mapping)), None)
        (by_format[name] if name else strange).append(file)
    return by_format, strange


def _check_matches(where: str, mapping: TableMapping, files: Sequence[SourceFile]) -> None:
    """A mapping that fits nothing in the delivery is the wrong one."""
    if not any(mapping.table(file) or mapping.note(file) for file in files):
        paths = ", ".join([part.path for part in mapping.files] + [part.path for part in mapping.notes])
        raise InputError(where, field="path", expected="a path that matches a file of the delivery", got=paths)


def _why_strange(file: SourceFile) -> str:
    suffix = file.path.suffix.lower()
    reason = "table that no mapping names" if suffix in _TABLES else "not a known format"
    return f"{reason}: {suffix if suffix in _SUFFIXES or suffix in mimetypes.types_map else 'no usual suffix'}"


def _sweep(workspace: Workspace) -> None:
    """Remove what a killed ingest left: staging, temporary files, and accounts whose part was never written."""
    sweep(workspace.quarantine)
    for folder in (workspace.ingests, workspace.observations, workspace.identities, workspace.images):
        for left in folder.glob(".*.*"):  # the lock has no second dot
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    made = {path.stem for path in workspace.observations.glob("*.parquet")}
    for account in workspace.ingests.glob("*.json"):
        if account.stem not in made and orjson.loads(account.read_bytes()).get("part") is not None:
            account.unlink()
            account.with_suffix(".html").unlink(missing_ok=True)
    for entries in workspace.images.glob("*.parquet"):
        if entries.stem not in made:
            entries.unlink()
