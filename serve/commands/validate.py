"""`telltale validate`: cross-validation of a task's models beside their rivals, and what more cases would bring."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from ingest.cohort import Cohort
    from ingest.workspace import Workspace
    from models.evaluate.learning_curve import LearningCurve
    from models.evaluate.pooled import CrossValidation
    from models.evaluate.results import Estimate
    from models.evaluate.rivals import Rival

COLUMNS = ("auroc", "auprc", "brier", "calibration_slope", "calibration_error")


def validate(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    folds: Annotated[int, typer.Option(min=2, help="Into how many parts the subjects are dealt.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="How many times they are dealt anew.")] = 1,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Also train on growing shares of the training subjects.")
    ] = False,
    models: Annotated[
        str | None, typer.Option(help="Only these: network, gradient-boosting, logistic-regression; by commas.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Cross-validate a task: the fused network, every single modality, their late average, and flat models.

    Whole subjects are left out, and everything is fitted again without them. A stopped run goes on where it was.
    """
    run_validate(workspace, task, folds=folds, repeats=repeats, curve=learning_curve, models=models, seed=seed)


def run_validate(
    workspace: Path,
    task: str,
    *,
    folds: int = 5,
    repeats: int = 1,
    curve: bool = False,
    models: str | None = None,
    seed: int = 0,
) -> "CrossValidation":
    """Cross-validate, print the tables, and write JSON and HTML."""
    from ingest.cohort import open_cohort
    from ingest.files import write_json
    from ingest.workspace import open_workspace
    from models.config import model_config
    from models.evaluate.folds import cross_validate
    from models.evaluate.learning_curve import DEFAULT_RIVALS, learning_curve
    from models.evaluate.validation_page import write_page
    from serve.console import progress, say
    from serve.options import task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    rivals, config = _rivals(models), model_config(cohort.task)
    groups = _groups(opened, cohort)
    name = cohort.task.name
    reports, runs = opened.reports(name), opened.models(name) / ".validation"
    with progress("cross-validating") as bar:
        result = cross_validate(
            cohort, config, folds=folds, repeats=repeats, seed=seed, groups=groups, rivals=rivals, folder=runs,
            on_step=lambda what, done, of: bar(done, of, what),
        )  # fmt: skip
    write_json(reports / "cross-validation.json", result.to_json())
    found: LearningCurve | None = None
    if curve:
        with progress("learning curve") as bar:
            found = learning_curve(
                cohort, config, seed=seed, groups=groups, rivals=DEFAULT_RIVALS if models is None else rivals,
                folder=runs, on_step=lambda what, done, of: bar(done, of, what),
            )  # fmt: skip
        write_json(reports / "learning-curve.json", found.to_json())
        show_curve(found)
    show(result)
    page = reports / "cross-validation.html"
    write_page(result, found, page, title=cohort.task.title)
    say(f"\nthe whole report: {page}\nthe risk of every case when it was left out: {runs / 'out-of-fold.parquet'}")
    return result


def show(result: "CrossValidation") -> None:
    """The tables on the terminal; the models last, where the eye is."""
    from serve.console import table

    rows = [
        [f"fused - {d.against}", f"{d.estimate}", "" if d.p is None else f"{d.p:.3f}"]
        for d in result.differences
        if d.metric == "auroc"
    ]
    if rows:
        table("Differences in AUROC, on the same left-out cases", ["", "difference", "p"], rows)
    by_fold = [[m.name, *(_spread(m.folds[c].mean, m.folds[c].std) for c in COLUMNS)] for m in result.models]
    names = [c.replace("_", " ") for c in COLUMNS]
    table("Each fold by itself: mean (standard deviation)", ["model", *names], by_fold)
    times = "" if result.repeats == 1 else f", {result.repeats} times"
    title = f"{result.folds} folds{times}: {result.n} left-out cases, {result.events} events; 95 % intervals"
    table(title, ["model", *names], [[m.name, *(_short(m.pooled[c]) for c in COLUMNS)] for m in result.models])


def show_curve(curve: "LearningCurve") -> None:
    """AUROC by how many were learnt from."""
    from serve.console import say, table

    names = list(dict.fromkeys(name for point in curve.points for name in point.models))
    rows = [
        [f"{p.share:.0%}", p.cases, p.events, *(_short(p.models[n]["auroc"]) if n in p.models else "-" for n in names)]
        for p in curve.points
    ]
    title = f"AUROC on the same {curve.n} test cases, by how many were learnt from"
    table(title, ["share", "cases", "events", *names], rows)
    for point in curve.points:
        for name, why in point.problems.items():
            say(f"  {point.share:.0%}, {name}: {why}")


def _rivals(models: str | None) -> "Mapping[str, Rival]":
    from ingest.errors import InputError
    from models.evaluate.rivals import RIVALS

    if models is None:
        return RIVALS
    chosen = [name.strip() for name in models.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in RIVALS]
    if unknown or not chosen:
        raise InputError(
            "", field="--models", expected=f"some of {', '.join(RIVALS)}", got=", ".join(unknown) or "none"
        )
    return {name: RIVALS[name] for name in RIVALS if name in chosen}


def _groups(opened: "Workspace", cohort: "Cohort") -> "np.ndarray | None":
    """What the task keeps together in its own split; None where that is the subject."""
    from ingest.align.refit import groups_of
    from ingest.store import Observations

    return None if cohort.task.split.group_by is None else groups_of(cohort, Observations(opened))


def _spread(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ({std:.3f})"


def _short(estimate: "Estimate") -> str:
    if estimate.value is None:
        return estimate.reason
    return f"{estimate.value:.3f} ({estimate.low:.2f} to {estimate.high:.2f})"
