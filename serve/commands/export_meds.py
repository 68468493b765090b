"""`telltale export-meds`: the observations as a MEDS dataset."""

from pathlib import Path
from typing import Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, WorkspaceOption


def export_meds(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Also write the split of this task's cohort.")
    ] = None,
) -> None:
    """Write all observations as a MEDS 0.4 dataset, which the tools of that standard read."""
    from importlib.metadata import version

    from ingest.exports.meds import export_meds as write
    from ingest.workspace import open_workspace
    from serve.console import say
    from serve.options import find_cohort, task_name

    opened = open_workspace(workspace)
    cohort = None if task is None else find_cohort(opened, task_name(task))
    subjects, rows = write(opened, out, cohort, version("telltale"))
    say(f"{out}: {rows:,} observations of {subjects:,} subjects")
