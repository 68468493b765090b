"""`telltale models`: versions, who is champion, and changing that."""

from typing import Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, TaskOption, WorkspaceOption

app = typer.Typer(help="Model versions: list, show, promote, roll back.", no_args_is_help=True)


@app.command("list")
def list_versions(task: TaskOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """List a task's versions with their measures; the champion is marked."""
    from ingest.workspace import open_workspace
    from models import aliases, store
    from serve.console import table
    from serve.options import task_name

    opened, name = open_workspace(workspace), task_name(task)
    changes = aliases.history(opened.database, name)
    serving = changes[-1].version if changes else None
    rows = []
    for version in store.versions(opened.models(name)):
        facts = store.read_facts(opened.models(name) / version)
        fused = next((m for m in facts["metrics"].get("models", []) if m["name"] == "fused"), None)
        auroc = "not evaluated" if fused is None else f"{fused['metrics']['auroc']['value']:.3f}"
        rows.append(
            [f"{version}{' (champion)' if version == serving else ''}", facts["parent"] or "-",
             f"{facts['cases']['train']:,}", auroc, facts["note"] or "-"]
        )  # fmt: skip
    table(f"Versions of {name}", ["version", "parent", "training cases", "test AUROC", "note"], rows)


@app.command()
def show(
    version: Annotated[str, typer.Argument()], task: TaskOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Print a version's model card."""
    from ingest.workspace import open_workspace
    from serve.console import say
    from serve.options import find_version, task_name

    opened, name = open_workspace(workspace), task_name(task)
    say((opened.models(name) / find_version(opened, name, version) / "card.md").read_text(encoding="utf-8"))


@app.command()
def promote(
    version: Annotated[str, typer.Argument()],
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "promoted by hand",
) -> None:
    """Make a version the champion. Its files are checked first."""
    from ingest.workspace import open_workspace
    from models import aliases
    from serve.console import say
    from serve.options import find_model, task_name

    opened, name = open_workspace(workspace), task_name(task)
    predictor = find_model(opened, name, version)
    aliases.set_alias(opened.database, name, predictor.version, reason)
    say(f"{predictor.version} is the champion of {name}")


@app.command()
def rollback(task: TaskOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Give the champion's place back to the version before it."""
    from ingest.workspace import open_workspace
    from models import aliases
    from serve.console import say
    from serve.options import task_name

    opened, name = open_workspace(workspace), task_name(task)
    say(f"{aliases.rollback(opened.database, name)} is the champion of {name} again")
