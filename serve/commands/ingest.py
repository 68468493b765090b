"""`telltale ingest`: source files to observations, every record accounted for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.exits import Refused
from serve.options import DEFAULT_WORKSPACE, WorkspaceOption, find_mapping

if TYPE_CHECKING:
    from ingest.reconciliation import Reconciliation


def ingest(
    sources: Annotated[list[Path], typer.Argument(help="Files or folders: DICOM, FHIR, tables, images, sounds.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    mapping: Annotated[str | None, typer.Option(help="For tables: a mapping file, or a built-in one's name.")] = None,
    issuer: Annotated[str, typer.Option(help="Who issued identifiers whose issuer no file states.")] = "local",
    timezone: Annotated[str | None, typer.Option(help="The zone of times that state none, as Europe/Paris.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="A secret file: workspaces of one secret share pseudonyms. Default: random.")
    ] = None,
) -> None:
    """Read source files into the workspace's observation table. Exit code 2: some records were refused."""
    from ingest.errors import InputError

    if key is not None and not key.is_file():
        raise InputError(str(key), expected="a file with a secret", got="no such file")
    secret = None if key is None else key.read_bytes()
    account = run_ingest(sources, workspace, mapping=mapping, issuer=issuer, timezone=timezone, secret=secret)
    if account.total.refused:
        raise Refused


def run_ingest(
    sources: Sequence[Path],
    workspace: Path,
    *,
    mapping: str | None = None,
    issuer: str = "local",
    timezone: str | None = None,
    secret: bytes | None = None,
) -> "Reconciliation":
    """Ingest, and print the account."""
    from ingest.mapping import load_mapping
    from ingest.run import ingest as read_in
    from ingest.sources import find_files
    from ingest.times import parse_zone
    from ingest.workspace import create_workspace
    from serve.console import progress, say

    place = find_mapping(mapping)
    find_files(sources, workspace)  # each of these raises before a workspace is made for nothing
    parse_zone(timezone)
    if place is not None:
        load_mapping(place)
    opened = create_workspace(workspace, secret)
    with progress("ingesting") as bar:
        account = read_in(
            opened, sources, mapping=place, issuer=issuer, timezone=timezone,
            progress=lambda detail, done, total: bar(done, total, detail),
        )  # fmt: skip
    for line in account.lines():
        say(line)
    for complaint in account.refusals[:10]:
        say(f"  refused: {complaint}")
    if account.total.refused:
        say(f"  all {account.total.refused:,} refused records are in {opened.quarantine / account.run}")
    return account
