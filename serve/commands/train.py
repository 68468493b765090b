"""`telltale train`: an aligned cohort to a new model version."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.training.run import Epoch


def train(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    streams: Annotated[str | None, typer.Option(help="Only these streams, separated by commas.")] = None,
    fusion: Annotated[str | None, typer.Option(help="A kind from docs/fusions.md; the default is the task's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many epochs.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Begin with these encoders of `telltale pretrain`.")] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="As `telltale tune` found best.")] = False,
) -> None:
    """Train a new model version. The first version of a task becomes its champion."""
    run_train(
        workspace, task, seed=seed, streams=streams, fusion=fusion, epochs=epochs, pretrained=pretrained, tuned=tuned
    )


def run_train(
    workspace: Path,
    task: str,
    *,
    seed: int,
    streams: str | None = None,
    fusion: str | None = None,
    epochs: int | None = None,
    pretrained: str | None = None,
    tuned: bool = False,
) -> str:
    """Train, store, and return the version's name."""
    import shutil

    from ingest.cohort import open_cohort
    from ingest.workspace import open_workspace
    from models import aliases, store
    from models.config import model_config
    from models.pretrain.kept import encoders_for, load_pretrained
    from models.training.devices import is_writer
    from models.training.train import train as fit
    from models.tune.overlay import Overlay, laid_over, read_overlay
    from serve.console import progress, say
    from serve.options import task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    models = opened.models(cohort.task.name)
    overlay = read_overlay(models / ".tuning" / "best.yaml") if tuned else Overlay()
    config = model_config(laid_over(cohort.task, overlay))
    if fusion is not None:
        config = config.model_copy(update={"fusion": config.fusion.model_copy(update={"kind": fusion})})
    if epochs is not None:
        config = config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs})})
    version = store.next_version(models)
    chosen = None if streams is None else [name.strip() for name in streams.split(",") if name.strip()]
    run_folder = models / ".runs" / version
    begin = None if pretrained is None else encoders_for(load_pretrained(models, pretrained), cohort, config)
    with progress("training") as bar:
        outcome = fit(
            cohort, config, seed=seed, version=version, streams=chosen, pretrained=begin, run_folder=run_folder,
            on_epoch=show_epoch(bar), on_features=lambda name, done, of: bar(done, of, f"features of {name}"),
        )  # fmt: skip
    if not is_writer():  # one of several processes: the first one keeps what all of them have trained
        return version
    notes = [overlay.note] if tuned else []
    if begin is not None:
        notes.append(f"Began with {pretrained}: encoders of {', '.join(begin)}, trained without labels.")
    folder = store.save(models, outcome, note=" ".join(notes))
    store.save_alone(models, outcome)
    shutil.rmtree(run_folder, ignore_errors=True)
    last = outcome.history[-1].phase if outcome.history else "alone"
    best = min((e for e in outcome.history if e.phase == last), key=lambda epoch: epoch.validation_loss)
    say(
        f"{version}: {outcome.cases['train']:,} cases ({outcome.events['train']:,} events), "
        f"{len(outcome.history)} epochs, validation log-loss {best.validation_loss:.4f}, "
        f"on {outcome.predictor.device}"
    )
    if chosen is None and not aliases.history(opened.database, cohort.task.name):
        aliases.set_alias(opened.database, cohort.task.name, version, "the first version")
        say(f"{version} is the champion of {cohort.task.name}")
    say(f"kept in {folder}")
    for alarm in outcome.alarms:
        say(f"self-check: {alarm}")
    return version


def show_epoch(bar: "Callable[[int, int | None, str], None]") -> "Callable[[Epoch], None]":
    """A listener that moves a progress bar by epochs."""

    def on_epoch(epoch: "Epoch") -> None:
        bar(
            epoch.number,
            epoch.of,
            f"{epoch.phase}, validation log-loss {epoch.validation_loss:.4f}{' *' if epoch.best else ''}",
        )

    return on_epoch
