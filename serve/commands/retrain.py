"""`telltale retrain`: new data in, a challenger grown from the champion, and a gate before it serves."""

from pathlib import Path
from typing import Annotated

import typer

from serve.exits import Refused
from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, WorkspaceOption


def retrain(
    task: TaskOption,
    new_data: Annotated[list[Path], typer.Option("--with", help="New source files or folders; may be repeated.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    mapping: Annotated[str | None, typer.Option(help="For tables: a mapping file, or a built-in one's name.")] = None,
    issuer: Annotated[str, typer.Option(help="Who issued identifiers whose issuer no file states.")] = "local",
    timezone: Annotated[str | None, typer.Option(help="The zone of times that state none.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Ingest new data, train a challenger from the champion, and promote it only where it is not worse."""
    from ingest.cohort import open_cohort
    from ingest.workspace import open_workspace
    from models import aliases
    from models.retrain import challenge, has_unseen_cases
    from serve.commands.align import run_align
    from serve.commands.ingest import run_ingest
    from serve.commands.train import show_epoch
    from serve.console import progress, say, table
    from serve.options import task_name

    opened, name = open_workspace(workspace), task_name(task)
    aliases.champion(opened.database, name)  # before anything is read
    account = run_ingest(new_data, workspace, mapping=mapping, issuer=issuer, timezone=timezone)
    report = run_align(workspace, task, append=True)
    cohort = open_cohort(opened.cohort(name))
    if report.cases == 0 and not has_unseen_cases(cohort, opened.models(name)):
        say("no new case: no challenger is trained, the champion stays")
    else:
        with progress("training the challenger") as bar:
            result = challenge(
                cohort,
                opened.models(name),
                opened.database,
                seed=seed,
                on_epoch=show_epoch(bar),
            )
        rows = [
            [
                c.measure,
                f"{c.champion:.4f}",
                f"{c.challenger:.4f}",
                f"{c.difference:+.4f} ({c.low:+.4f} to {c.high:+.4f})",
                "not worse" if c.not_worse else "worse",
            ]
            for c in result.checks
        ]
        title = f"On the same {result.cases} held-back cases ({result.events} events)"
        columns = ["", f"champion {result.champion}", f"challenger {result.challenger}", "difference (95 %)", ""]
        table(title, columns, rows)
        say(f"{'promoted' if result.not_worse else 'not promoted'}: {result.reason}")
    if account.total.refused:
        raise Refused
