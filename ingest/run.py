"""An ingest: from the files of a delivery to a part of the observation table, all of it or nothing."""

import datetime as dt
import fcntl
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import InputError
from ingest.files import write_json, write_parquet
from ingest.identity import IdentityRegister
from ingest.intake import Intake
from ingest.ledger import Ledger
from ingest.mapping import TableMapping, load_mapping
from ingest.observations import concatenate
from ingest.quarantine import Quarantine, sweep
from ingest.readers import READERS
from ingest.reconciliation import Reconciliation, Report
from ingest.sources import SourceFile, find_files
from ingest.store import in_order
from ingest.times import parse_zone
from ingest.workspace import Workspace

Progress = Callable[[str, int, int], None]  # (format, files done, files in all)
_TABLES = {".csv", ".tsv", ".parquet", ".gz"}


def ingest(
    workspace: Workspace,
    sources: Sequence[Path],
    *,
    mapping: Path | None = None,
    issuer: str = "local",
    timezone: str | None = None,
    progress: Progress | None = None,
) -> Reconciliation:
    """Read files and folders into the workspace's observation table, and account for every record.

    `mapping` says what tables and notes mean; `issuer` is who gave identifiers that do not say so themselves;
    `timezone` is the zone of times without one. What was ingested before is recognised by its content and skipped.
    Raises InputError, with nothing written, where a source is missing or a mapping does not fit.
    """
    zone = parse_zone(timezone)
    meaning = load_mapping(mapping) if mapping else None
    files = find_files(sources, workspace.root)
    if meaning is not None:
        _check_matches(str(mapping), meaning, files)
    with _alone(workspace):
        _sweep(workspace)
        run = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
        quarantine = Quarantine(workspace.quarantine, run)
        try:
            identity = IdentityRegister(workspace.identities)
            ledger = Ledger(workspace.ingests, workspace.observations)
            intake = Intake(identity, ledger, Report(quarantine), issuer, zone, meaning)
            table = in_order(concatenate(_read_all(files, intake, progress)))
            return _commit(workspace, run, intake, table)
        except OSError as error:
            where = str(error.filename or workspace.root)
            raise InputError(
                where, expected="a file that can be read, and room to write", got=str(error.strerror)
            ) from None
        finally:
            quarantine.discard()


def _read_all(files: Sequence[SourceFile], intake: Intake, progress: Progress | None) -> Iterator[pa.RecordBatch]:
    by_format, strange = _sorted_by_format(files, intake.mapping)
    done = 0
    for name, reader in READERS.items():
        if progress:
            progress(name, done, len(files))
        if by_format[name]:
            yield from reader.read(by_format[name], intake)
        done += len(by_format[name])
    for file in strange:
        intake.report.see("other")
        intake.report.skip("other", file.problem or _why_strange(file))
    if progress:
        progress("done", len(files), len(files))


def _sorted_by_format(
    files: Sequence[SourceFile], mapping: TableMapping | None
) -> tuple[dict[str, list[SourceFile]], list[SourceFile]]:
    by_format: dict[str, list[SourceFile]] = {name: [] for name in READERS}
    strange: list[SourceFile] = []
    for file in files:
        accepting = (name for name, reader in READERS.items() if not file.problem and reader.accepts(file, mapping))
        name = next(accepting, None)
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
    return f"{reason}: {suffix if suffix[1:].isalnum() and len(suffix) <= 12 else 'no usual suffix'}"


def _commit(workspace: Workspace, run: str, intake: Intake, table: pa.Table) -> Reconciliation:
    """Write what the run found. The part of the observation table comes last: until then the run never was."""
    part = f"{run}.parquet" if intake.ledger.is_new or len(table) else None
    subjects = len(pc.unique(table["subject_id"]))
    reconciliation = intake.report.reconcile(run, part, len(table), subjects)
    intake.report.quarantine.commit()
    if part is not None:
        intake.identity.save()
        intake.ledger.save(run)
    write_json(workspace.ingests / f"{run}.json", reconciliation.to_json())
    if part is not None:
        write_parquet(workspace.observations / part, table)
    return reconciliation


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace's ingest lock; another ingest waits. The system lets go of it however the process ends."""
    workspace.ingests.mkdir(exist_ok=True)
    with (workspace.ingests / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(workspace: Workspace) -> None:
    """Remove what a killed ingest left: staging, temporary files, and accounts whose part was never written."""
    sweep(workspace.quarantine)
    for folder in (workspace.ingests, workspace.observations, workspace.identities):
        for left in folder.glob(".*.*"):  # the lock has no second dot
            left.unlink()
    for ledger in workspace.ingests.glob("*.ledger.parquet"):
        run = ledger.name.removesuffix(".ledger.parquet")
        if not (workspace.observations / f"{run}.parquet").is_file():
            ledger.unlink()
            (workspace.ingests / f"{run}.json").unlink(missing_ok=True)
