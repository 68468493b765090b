"""`telltale align`: observations to a cohort of aligned arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from ingest.align.report import AlignReport


def align(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    resplit: Annotated[
        bool, typer.Option("--resplit", help="Split anew, also those whom an earlier cohort has split.")
    ] = False,
) -> None:
    """Align the workspace's observations into the cohort that a task asks for."""
    run_align(workspace, task, resplit=resplit)


def run_align(workspace: Path, task: str, *, append: bool = False, resplit: bool = False) -> "AlignReport":
    """Align, and print what went in and what did not."""
    from ingest.align.build import align as build
    from ingest.catalogue import read_catalogue
    from ingest.identity.bearing import bearing_of
    from ingest.identity.merges import subject_aliases
    from ingest.store import Observations
    from ingest.workspace import open_workspace
    from serve.console import progress, say, table
    from serve.options import find_task, vocabulary

    asked = find_task(task)
    opened = open_workspace(workspace)
    with progress("aligning") as bar:
        report = build(
            Observations(opened),
            asked,
            opened.cohort(asked.name),
            append=append,
            resplit=resplit,
            vocabulary=vocabulary(),
            catalogue=read_catalogue(opened.images),
            merged=subject_aliases(opened.identities),
            bearing=bearing_of(opened.identities),
            progress=lambda stage, done, of: bar(done, of, stage),
        )
    say(
        f"{report.candidates:,} candidate cases of {report.subjects:,} subjects: {report.cases:,} cases, "
        f"{report.events:,} with the outcome"
        + (f"; {report.already_there:,} were there already" if report.already_there else "")
    )
    for reason, count in report.excluded.items():
        say(f"  excluded {count:,}: {reason}")
    rows = [
        [name, f"{s.present:,}", f"{s.used:,}", _counted(s.left_out), _counted(s.noted)]
        for name, s in report.streams.items()
    ]
    table("", ["stream", "cases with it", "values used", "left out", "of those used"], rows)
    if asked.report is not None:
        say(f"texts to be drafted: {_counted(report.report_texts)}")
    say("  ".join(f"{split}: {s.cases:,} cases, {s.events:,} events" for split, s in report.splits.items()))
    for name, stream in report.streams.items():
        for refusal in stream.refusals[:5]:
            say(f"  {name}, refused: {refusal}")
    return report


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counts.items()) or "-"
