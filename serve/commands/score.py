"""`telltale score`: a cohort through a model, to Parquet and CSV."""

from pathlib import Path
from typing import Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, VersionOption, WorkspaceOption


def score(
    cohort: Annotated[str, typer.Option("--cohort", "-c", "--task", "-t", help="A cohort's folder, or its task.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    version: VersionOption = None,
    split: Annotated[str | None, typer.Option(help="Only train, validation or test.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the files; the default is in the workspace.")] = None,
) -> None:
    """Score every case of a cohort: risk, interval, model version, which modalities were there, or why no risk."""
    run_score(workspace, cohort, version=version, split=split, out=out)


def run_score(
    workspace: Path, cohort: str, *, version: str | None = None, split: str | None = None, out: Path | None = None
) -> None:
    """Score, and say where the files are. Raises Refused where the self-check finds that the model does not work."""
    from ingest.workspace import open_workspace
    from models.score import score as run
    from serve.console import progress, say
    from serve.exits import Refused
    from serve.options import find_cohort, find_model

    opened = open_workspace(workspace)
    found = find_cohort(opened, cohort)
    predictor = find_model(opened, found.task.name, version)
    folder = out or opened.scores(found.task.name)
    with progress("scoring") as bar:
        files = run(predictor, found, folder, rows=found.rows(split), progress=lambda done, of: bar(done, of, ""))
    say(f"{files.cases:,} cases scored by {predictor.version}: {files.parquet}, {files.csv.name}")
    if files.abstained:
        say(f"{files.abstained:,} of them without a risk; the column `reason` says why")
    for alarm in files.alarms:
        say(f"self-check: {alarm}")
    if files.alarms:
        raise Refused
