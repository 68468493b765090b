"""`telltale dashboard`: open the pages for people."""

from pathlib import Path
from typing import Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, WorkspaceOption


def dashboard(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Only this machine by default.")] = "localhost",
    task: Annotated[str | None, typer.Option("--task", "-t", help="The task to show; else the page asks.")] = None,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the dashboard in a browser: worklist, cases, performance."""
    import importlib.util
    import os
    import sys

    from ingest.workspace import open_workspace
    from serve.options import task_name

    root = open_workspace(workspace).root.resolve()
    found = importlib.util.find_spec("dashboard")  # found by name: nothing imports the dashboard
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    command = [
        sys.executable, "-m", "streamlit", "run", str(folder / "app.py"),
        f"--server.port={port}", f"--server.address={address}", f"--server.headless={'true' if headless else 'false'}",
        "--browser.gatherUsageStats=false", "--", "--workspace", str(root),
        *([] if task is None else ["--task", task_name(task)]),
    ]  # fmt: skip
    os.execv(sys.executable, command)  # noqa: S606  # our own interpreter, no shell
