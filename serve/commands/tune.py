"""`telltale tune`: a search over encoders, fusions and their settings, on the validation split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.training.run import Epoch
    from models.tune.search import Found, Listener, Tried

SHOWN = 15  # trials in the table


def tune(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    trials: Annotated[int, typer.Option(min=1, help="How many configurations, those of a stopped run included.")] = 20,
    timeout: Annotated[float | None, typer.Option(min=0, help="Begin no trial after so many minutes.")] = None,
    fusions: Annotated[
        str | None, typer.Option(help="Only these kinds of docs/fusions.md and the task's, by commas.")
    ] = None,
    encoders: Annotated[
        Literal["on", "off"], typer.Option(help="off: encoders stay as the task says; all trials share their training.")
    ] = "on",
    objective: Annotated[
        Literal["log-loss", "auroc"], typer.Option(help="What is made better on the validation split.")
    ] = "log-loss",
    seed: SeedOption = 0,
) -> None:
    """Search for a better configuration of a task; `telltale train --tuned` trains it.

    The first trial is the task's own. A stopped search goes on where it was. The test split is not looked at.
    """
    run_tune(
        workspace, task, trials=trials, timeout_min=timeout, fusions=fusions, encoders=encoders == "on",
        objective=objective, seed=seed,
    )  # fmt: skip


def run_tune(
    workspace: Path,
    task: str,
    *,
    trials: int = 20,
    timeout_min: float | None = None,
    fusions: str | None = None,
    encoders: bool = True,
    objective: Literal["log-loss", "auroc"] = "log-loss",
    seed: int = 0,
) -> "Found":
    """Search, print the trials, and say where the best one is kept."""
    from ingest.cohort import open_cohort
    from ingest.workspace import open_workspace
    from models.tune.search import tune as search
    from serve.console import progress, say
    from serve.options import task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    folder = opened.models(cohort.task.name) / ".tuning"
    kinds = None if fusions is None else [kind.strip() for kind in fusions.split(",") if kind.strip()]
    with progress("tuning") as bar:
        found = search(
            cohort, folder, trials=trials, seed=seed, fusions=kinds, encoders=encoders, objective=objective,
            timeout_s=None if timeout_min is None else 60 * timeout_min, listener=_listener(bar),
        )  # fmt: skip
    show(found)
    say(f"kept in {folder / 'best.yaml'}; `telltale train --tuned` trains it")
    return found


def show(found: "Found") -> None:
    """The best trials in a table, the best last, where the eye is; then what it is worth."""
    from serve.console import say, table

    order = sorted(found.trials, key=lambda tried: tried.value(found.objective))
    complete = [tried for tried in order if tried.judged is not None]
    rows = [_row(tried, found.trials[0]) for tried in reversed(complete[:SHOWN])]
    title = f"The best {len(rows)} of {len(found.trials)} trials, on the validation split"
    table(title, ["trial", "log-loss (SE)", "AUROC", "seconds", "fusion", "other than the task"], rows)
    for tried in found.trials:
        if tried.state == "failed":
            say(f"trial {tried.number} failed: {tried.why}")
    given_up = sum(tried.state == "given up" for tried in found.trials)
    say(f"{len(complete)} complete, {given_up} given up early, {len(order) - len(complete) - given_up} failed")
    best, own = found.best, found.trials[0]
    assert best.judged is not None
    if best is own:
        say("no trial was better than the task's own configuration")
    elif own.judged is not None:
        say(
            f"trial {best.number}: validation log-loss {best.judged.loss:.4f}, "
            f"the task's own configuration {own.judged.loss:.4f}"
        )
    say(
        f"the best of {len(complete)} looks better than it is, as it was chosen by these very cases: "
        "`telltale evaluate` says on others how good it is"
    )


def _row(tried: "Tried", own: "Tried") -> list[object]:
    assert tried.judged is not None
    kind = tried.parameters.get("fusion.kind", "-")
    different = [
        f"{name.removeprefix('encoder.').removeprefix('training.').removesuffix('.network')} {value}"
        for name, value in tried.parameters.items()
        if name != "fusion.kind" and own.parameters.get(name) != value
    ]
    return [
        f"{tried.number}{' (the task)' if tried is own else ''}",
        f"{tried.judged.loss:.4f} ({tried.judged.standard_error:.3f})",
        f"{tried.judged.auroc:.3f}",
        f"{tried.seconds:.0f}",
        kind,
        ", ".join(different) or "-",
    ]


def _listener(bar: "Callable[[int, int | None, str], None]") -> "Listener":
    from models.tune.search import Listener

    at = [0, 0]

    def on_trial(done: int, of: int) -> None:
        at[:] = [done, of]
        bar(done, of, "")

    def on_epoch(stream: str, epoch: "Epoch") -> None:
        what = f"{stream} alone" if stream else epoch.phase
        bar(at[0], at[1], f"{what}, epoch {epoch.number}, validation log-loss {epoch.validation_loss:.4f}")

    return Listener(on_trial, on_epoch)
