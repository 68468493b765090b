"""`telltale subjects`: two numbers that are one person: merged, parted again, listed."""

from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, WorkspaceOption

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.identity.merges import Merges

app = typer.Typer(help="Subjects that are one person: merge, unmerge, list.", no_args_is_help=True)
IssuerOption = Annotated[str, typer.Option(help="Who issued the identifiers.")]
OtherIssuerOption = Annotated[str | None, typer.Option(help="Who issued the other identifier; default: --issuer.")]


@app.command()
def merge(
    kept: Annotated[str, typer.Argument(help="The identifier that stays.")],
    other: Annotated[str, typer.Argument(help="The identifier that turned out to be the same person's.")],
    issuer: IssuerOption = "local",
    other_issuer: OtherIssuerOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Read two subjects as one from now on. Their scores from before are stale; nothing of their history is lost."""
    from ingest.errors import TelltaleError
    from ingest.identity.merges import BY_HAND
    from ingest.workspace import alone, open_workspace
    from serve.console import say

    with alone(open_workspace(workspace)):
        merges = _merges(workspace)
        subject, joined = _subject(workspace, issuer, kept), _subject(workspace, other_issuer or issuer, other)
        if not merges.merge(subject, joined, BY_HAND):
            raise TelltaleError("expected two subjects, got two identifiers of one")
        merges.save()
    say(f"{joined} is read as {subject} from now on; align again, and see `telltale stale`")


@app.command()
def unmerge(
    other: Annotated[str, typer.Argument(help="The identifier that was merged into another.")],
    issuer: IssuerOption = "local",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Part a subject from the one that it was merged into: both have again what they came with."""
    from ingest.errors import TelltaleError
    from ingest.workspace import alone, open_workspace
    from serve.console import say

    with alone(open_workspace(workspace)):
        merges = _merges(workspace)
        subject = _subject(workspace, issuer, other)
        if not merges.unmerge(subject):
            raise TelltaleError("expected a subject that was merged into another, got one that was not")
        merges.save()
    say(f"{subject} is read by itself from now on; align again, and see `telltale stale`")


@app.command("list")
def list_merges(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """List all merges, by pseudonym, with those that were undone."""
    from serve.console import table

    merges = _merges(workspace)
    rows = [
        [each.other, each.kept, each.why, *(f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in (each.at, each.undone_at))]
        for each in merges.history
    ]
    table("Merged subjects", ["subject", "is read as", "because of", "since", "undone"], rows)


def _merges(workspace: "Path") -> "Merges":
    from ingest.identity.merges import Merges
    from ingest.workspace import open_workspace

    return Merges(open_workspace(workspace).identities)


def _subject(workspace: "Path", issuer: str, identifier: str) -> int:
    """The subject of an identifier that is known. The message does not repeat it: messages are kept in logs.

    Whom the identifiers of tables, notes and MEDS datasets name is not kept: whoever has observations is known.
    """
    from ingest.errors import TelltaleError
    from ingest.identity.merges import Merges
    from ingest.identity.register import IdentityRegister
    from ingest.store import Observations
    from ingest.workspace import open_workspace

    opened = open_workspace(workspace)
    register = IdentityRegister(opened.identities)
    try:
        known, number = register.known(issuer, identifier), register.subject_id(issuer, identifier)
    finally:
        register.close()
    person = Merges(opened.identities).aliases.get(number, number)
    if known is None and not len(Observations(opened).table(subjects=[person])):
        raise TelltaleError("expected an identifier that has been ingested under this issuer, got an unknown one")
    return number if known is None else known
