"""`telltale ingest`: source files to observations, every record accounted for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.exits import Refused
from serve.options import DEFAULT_WORKSPACE, WorkspaceOption, find_mapping, vocabulary

if TYPE_CHECKING:
    from ingest.account.reconciliation import Reconciliation


def ingest(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, folders, archives: DICOM, FHIR, OMOP, MEDS, tables, images, sounds, signals."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    mapping: Annotated[str | None, typer.Option(help="For tables: a mapping file, or a built-in one's name.")] = None,
    propose: Annotated[
        Path | None, typer.Option(help="Write a first mapping of this table to standard output, and read nothing.")
    ] = None,
    issuer: Annotated[str, typer.Option(help="Who issued identifiers whose issuer no file states.")] = "local",
    timezone: Annotated[str | None, typer.Option(help="The zone of times that state none, as Europe/Paris.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="A secret file: workspaces of one secret share pseudonyms. Default: random.")
    ] = None,
    dicomweb: Annotated[str | None, typer.Option(help="A DICOMweb service to fetch images from, by its URL.")] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="What to fetch from it, such as Modality=CT or StudyDate=20240101-.")
    ] = None,
    omop: Annotated[str | None, typer.Option(help="An OMOP CDM 5.4 database: postgresql://user@host/name.")] = None,
    omop_schema: Annotated[str, typer.Option(help="The schema of its tables.")] = "public",
    listen: Annotated[
        int | None, typer.Option(help="Receive DICOM by C-STORE on this port, and read what came, until Ctrl-C.")
    ] = None,
    ae_title: Annotated[str, typer.Option(help="The application entity title to listen as.")] = "TELLTALE",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Read sources into the workspace's observation table. Exit code 1: nothing was read; 2: records were refused."""
    from ingest.errors import InputError
    from ingest.run import is_strange

    if propose is not None:
        from serve.commands.propose import print_mapping

        print_mapping(propose)
        return
    if key is not None and not key.is_file():
        raise InputError(str(key), expected="a file with a secret", got="no such file")
    secret = None if key is None else key.read_bytes()
    given, lost = list(sources or []), 0

    def read(found: Sequence[Path]) -> "Reconciliation":
        return run_ingest(found, workspace, mapping=mapping, issuer=issuer, timezone=timezone, secret=secret)

    if listen is not None:
        from serve.commands.fetching import receive

        receive(read, workspace, secret, port=listen, host=host, ae_title=ae_title)
        return
    if dicomweb is not None or omop is not None:
        from serve.commands.fetching import fetch

        folders, lost = fetch(
            workspace, secret, dicomweb=dicomweb, query=query or [], omop=omop, omop_schema=omop_schema
        )
        given += folders
    if not given:
        raise InputError("", field="SOURCES", expected="a file, a folder, --dicomweb, --omop or --listen", got="none")
    account = read(given)
    if account.total.refused + lost:
        raise Refused
    if is_strange(account):
        got = "; ".join(account.skip_reasons)
        raise InputError("", field="SOURCES", expected="a file of a known kind, or a mapping that names it", got=got)


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
    from ingest.delivery.sources import find_files
    from ingest.mapping.mapping import load_mapping
    from ingest.meaning.times import parse_zone
    from ingest.run import ingest as read_in
    from ingest.workspace import create_workspace
    from serve.console import bytes_progress, say

    place = find_mapping(mapping)
    find_files(sources, workspace)  # each of these raises before a workspace is made for nothing
    parse_zone(timezone)
    if place is not None:
        load_mapping(place)
    opened = create_workspace(workspace, secret)
    with bytes_progress("ingesting") as bar:
        account = read_in(
            opened, sources, mapping=place, issuer=issuer, timezone=timezone, vocabulary=vocabulary(),
            progress=lambda at: bar(at.bytes, at.bytes_total, f"file {at.files:,} of {at.files_total:,}, {at.stage}"),
        )  # fmt: skip
    for line in account.lines():
        say(line)
    for complaint in account.refusals[:10]:
        say(f"  refused: {complaint}")
    if account.total.refused:
        say(f"  all {account.total.refused:,} refused records are in {opened.quarantine / account.run}")
    _show_summary(account)
    say(f"all of this as a page: {opened.ingests / account.run}.html")
    return account


def _show_summary(account: "Reconciliation") -> None:
    """What the new observations hold, a line per modality."""
    from serve.console import table

    if (found := account.summary) and found.modalities:
        span = f", {found.first} to {found.last}" if found.first else ""
        table(
            f"New: {found.subjects:,} subjects{span}",
            ["modality", "observations", "subjects", "missing", "first", "last"],
            [
                [
                    row.name,
                    f"{row.observations:,}",
                    f"{row.subjects:,}",
                    f"{found.missing(row):.0%}",
                    row.first,
                    row.last,
                ]
                for row in found.modalities
            ],
        )
