"""`telltale stale`: which cases and scores no longer stand, and why."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, TaskOption, VersionOption, WorkspaceOption

if TYPE_CHECKING:
    from ingest.workspace import Workspace


def stale(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    version: VersionOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also align anew and compare: finds results that came late; takes longer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List cases and scores that rest on what has been corrected, withdrawn or merged since."""
    import pandas as pd

    from ingest.stale import changed_cases, stale_cases, stale_scores
    from ingest.workspace import open_workspace
    from serve.console import say, table
    from serve.options import task_name, vocabulary

    opened, name = open_workspace(workspace), task_name(task)
    cases = stale_cases(opened, name)
    if again:
        cases = changed_cases(opened, name, vocabulary()) | cases
    path = _scored(opened, name, version)
    scored = stale_scores(opened, name, pd.read_parquet(path)) if path is not None else {}
    if as_json:
        say(json.dumps({"cases": cases, "scores": scored}, indent=2))
        return
    say(f"{len(cases):,} cases of the cohort and {len(scored):,} scores no longer stand")
    rows = [[case, why] for case, why in (scored | cases).items()]
    if rows:
        table("", ["case", "why"], rows)


def _scored(workspace: "Workspace", task: str, version: str | None) -> Path | None:
    """The scores of that version; else of the champion, or before there is one of the newest that scored."""
    from ingest.errors import TelltaleError
    from models.aliases import history

    files = {path.stem: path for path in sorted(workspace.scores(task).glob("[!.]*.parquet"))}
    if version is not None and version not in files:
        raise TelltaleError(f"version {version}: expected one that has scored ({', '.join(files) or 'none has'})")
    champions = [change.version for change in history(workspace.database, task) if change.version in files]
    return files.get(version or (champions or list(files) or [""])[-1])
