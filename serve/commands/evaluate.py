"""`telltale evaluate`: how good a version is on the test split or on another hospital's cases, and beside what."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, VersionOption, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.workspace import Workspace
    from models.evaluate.results import Estimate, Evaluation


def evaluate(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    version: VersionOption = None,
    truth: Annotated[Path | None, typer.Option(help="truth.parquet of a simulated hospital.")] = None,
    alone: Annotated[
        bool, typer.Option(help="Compare with networks trained on each stream alone; else mask the others.")
    ] = True,
    on: Annotated[
        Path | None, typer.Option(help="Another hospital instead: its source files, its workspace, or a cohort.")
    ] = None,
    mapping: Annotated[str | None, typer.Option(help="For tables of --on: a mapping file, or a built-in one.")] = None,
    issuer: Annotated[str, typer.Option(help="Who issued identifiers of --on whose issuer no file states.")] = "local",
    timezone: Annotated[str | None, typer.Option(help="The zone of times of --on that state none.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Evaluate a version on the test split: measures with intervals, every single modality, gradient boosting.

    With --on, on every case of another hospital: the model stays as it is, and how its cases differ is shown.
    """
    if on is not None:
        from serve.commands.external import run_external

        run_external(workspace, task, on, version=version, mapping=mapping, issuer=issuer, timezone=timezone, seed=seed)
        return
    run_evaluate(workspace, task, version=version, truth=truth, alone=alone, seed=seed)


def run_evaluate(
    workspace: Path,
    task: str,
    *,
    version: str | None = None,
    truth: Path | None = None,
    alone: bool = True,
    seed: int = 0,
) -> "Evaluation":
    """Evaluate, print the tables, and write JSON, HTML and the TRIPOD+AI checklist."""
    from ingest.cohort import open_cohort
    from ingest.files import write_json, write_text
    from ingest.workspace import open_workspace
    from models import store
    from models.assess import assess
    from models.evaluate.report import write_report
    from models.evaluate.tripod import tripod_report
    from serve.console import progress, say
    from serve.options import find_model, task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    predictor = find_model(opened, cohort.task.name, version)
    models = opened.models(cohort.task.name)
    with progress("evaluating") as bar:
        result = assess(
            predictor,
            cohort,
            seed=seed,
            alone_folder=store.alone_folder(models, predictor.version) if alone else None,
            attainable=None if truth is None else read_truth(opened, truth, cohort.index),
            on_step=lambda step: bar(0, None, step),
        )
    raw = result.to_json()
    store.write_metrics(models / predictor.version, raw, predictor)
    reports = opened.reports(cohort.task.name)
    write_json(reports / f"{predictor.version}.json", raw)
    page = reports / f"{predictor.version}.html"
    write_report(result, page, title=cohort.task.title, model_version=predictor.version)
    checklist = reports / f"{predictor.version}-tripod.md"
    facts = store.read_facts(models / predictor.version)
    write_text(checklist, tripod_report(predictor, cohort, facts, result))
    show(result, predictor.version)
    say(f"\nthe whole report: {page}; the TRIPOD+AI checklist: {checklist}")
    return result


def read_truth(workspace: "Workspace", truth: Path, index: "object") -> "Mapping[str, float]":
    """case_id -> the best risk that the files allow, from a simulated hospital's truth.parquet."""
    import pandas as pd

    from ingest.errors import InputError
    from ingest.identity.register import IdentityRegister

    if not truth.is_file():
        raise InputError(str(truth), expected="the truth.parquet of a simulated hospital", got="no such file")
    assert isinstance(index, pd.DataFrame)
    frame = pd.read_parquet(truth, columns=["issuer", "identifier", "attainable_risk"])
    register = IdentityRegister(workspace.identities)
    frame["subject_id"] = [register.subject_id(i, n) for i, n in zip(frame["issuer"], frame["identifier"], strict=True)]
    cases = index[["case_id", "subject_id"]].merge(frame, on="subject_id")
    return dict(zip(cases["case_id"].astype(str), cases["attainable_risk"], strict=True))


def show(result: "Evaluation", version: str) -> None:
    """The tables on the terminal; the models last, where the eye is."""
    from serve.console import say, table

    table(
        "By what is there",
        ["streams present", "cases", "events", "auroc"],
        [[p.pattern, p.n, p.events, p.auroc] for p in result.patterns[:12]],
    )
    if len(result.patterns) > 12:
        say(f"  ({len(result.patterns) - 12} rarer patterns are in the report)")
    _show_groups(result)
    rows = [
        [f"fused - {d.against}", f"{d.estimate}", *("" if p is None else f"{p:.3f}" for p in (d.p, d.delong_p))]
        for d in result.differences
        if d.metric == "auroc"
    ]
    table("Differences in AUROC, on the same cases", ["", "difference", "p", "p (DeLong)"], rows)
    columns = ["auroc", "auprc", "brier", "calibration_slope", "calibration_error"]
    rows = [[m.name, *(_short(m.metrics[c]) for c in columns)] for m in result.models]
    title = f"{version}, {result.split} split: {result.n} cases, {result.events} events; 95 % intervals"
    table(title, ["model", *(c.replace("_", " ") for c in columns)], rows)
    if result.attained is not None:
        say(f"fused AUROC / best attainable AUROC: {result.attained}")


def _show_groups(result: "Evaluation") -> None:
    """Subgroups but for the patterns, which have a table of their own, and what alerts would give."""
    from models.evaluate.subgroups import ALERT_BUDGET, PATTERNS
    from serve.console import table

    names = ["auroc", "calibration_intercept", "sensitivity", "positive_predictive_value"]
    rows = [
        [f"{r.grouping}: {r.group}", r.n, r.events, *(_short(r.metrics[n]) for n in names if r.metrics), r.reason]
        for r in result.subgroups
        if r.grouping != PATTERNS
    ]
    if rows:
        columns = ["group", "cases", "events", "auroc", "intercept", "sensitivity", "PPV"]
        shown = [row[: len(columns)] for row in rows]
        table(f"By group; the riskiest {ALERT_BUDGET:.0%} of all are flagged", columns, shown)
    rows = [
        [f"{a.budget:.0%}", a.alerts, _short(a.positive_predictive_value), _short(a.sensitivity)] for a in result.alerts
    ]
    table("If so many of the cases raise an alert", ["budget", "alerts", "PPV", "sensitivity"], rows)


def _short(estimate: "Estimate") -> str:
    if estimate.value is None:
        return estimate.reason
    if estimate.low is None:
        return f"{estimate.value:.3f} ({estimate.reason})"
    return f"{estimate.value:.3f} ({estimate.low:.2f} to {estimate.high:.2f})"
