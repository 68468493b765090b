"""`telltale pretrain`: encoders that have seen a cohort's cases and none of its outcomes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.pretrain.run import PretrainingEpoch


def pretrain(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    method: Annotated[str, typer.Option(help="masked, contrastive or adversarial (docs/pretraining.md).")] = "masked",
    streams: Annotated[str | None, typer.Option(help="Only these streams, separated by commas.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most this many epochs.")] = 60,
    name: Annotated[str | None, typer.Option(help="What to call it; the default is numbered, masked-0001.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Pretrain a task's encoders on all training cases, labels not looked at, for `telltale train --pretrained`."""
    run_pretrain(workspace, task, method=method, streams=streams, epochs=epochs, name=name, seed=seed)


def run_pretrain(
    workspace: Path,
    task: str,
    *,
    method: str,
    streams: str | None,
    epochs: int,
    name: str | None,
    seed: int,
) -> str:
    """Pretrain, keep the encoders, and return their name."""
    import shutil

    from ingest.cohort import open_cohort
    from ingest.errors import ModelError
    from ingest.workspace import open_workspace
    from models.config import model_config
    from models.pretrain import kept
    from models.pretrain.pretrain import check_method
    from models.pretrain.pretrain import pretrain as fit
    from serve.console import progress, say, table
    from serve.options import task_name

    check_method(method)
    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    models = opened.models(cohort.task.name)
    chosen = None if streams is None else [each.strip() for each in streams.split(",") if each.strip()]
    called = name or kept.next_name(models, method)
    folder = kept.pretrained_folder(models, called)
    if folder.exists():
        raise ModelError(f"{folder}: this name is taken, and pretrained encoders are never overwritten; choose another")
    run_folder = models / ".runs" / f"pretrain-{called}"
    with progress("pretraining") as bar:
        found = fit(
            cohort, model_config(cohort.task), method, seed=seed, streams=chosen, epochs=epochs, run_folder=run_folder,
            on_epoch=_show(bar),
        )  # fmt: skip
    kept.save_pretrained(folder, found, cohort.task.name)
    shutil.rmtree(run_folder, ignore_errors=True)
    say(f"{called}: {found.cases['train']:,} cases, {len(found.history)} epochs, no outcome looked at")
    rows = [
        (each, *(_number(loss) for loss in (best.at_first, best.loss)), best.epoch) for each, best in found.best.items()
    ]
    table("loss on the validation cases", ("stream", "at first", "kept", "of epoch"), rows)
    say(f"kept in {folder}; begin with it: telltale train --task {task} --pretrained {called}")
    return called


def _number(loss: float) -> str:
    """A stream that no validation case has gives no loss."""
    return f"{loss:.4f}" if loss < float("inf") else "–"


def _show(bar: "Callable[[int, int | None, str], None]") -> "Callable[[PretrainingEpoch], None]":
    def on_epoch(epoch: "PretrainingEpoch") -> None:
        losses = ", ".join(f"{name} {loss:.3f}" for name, loss in epoch.validation_losses.items())
        bar(epoch.number, epoch.of, losses)

    return on_epoch
