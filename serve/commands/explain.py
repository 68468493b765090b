"""`telltale explain`: why cases have the risk they have."""

from pathlib import Path
from typing import Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, VersionOption, WorkspaceOption


def explain(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    version: VersionOption = None,
    case: Annotated[list[str] | None, typer.Option(help="A case; may be repeated.")] = None,
    split: Annotated[str, typer.Option(help="Which split's cases to explain.")] = "test",
    top: Annotated[int | None, typer.Option(min=0, help="Elements only for this many of the highest risks.")] = None,
    permutations: Annotated[int, typer.Option(min=2, help="Sampled orders inside a stream.")] = 8,
    seed: SeedOption = 0,
) -> None:
    """Exact Shapley values over streams, Owen values inside them; the additivity error is printed."""
    run_explain(
        workspace, task, version=version, cases=case, split=split, top=top, permutations=permutations, seed=seed
    )


def run_explain(
    workspace: Path,
    task: str,
    *,
    version: str | None = None,
    cases: list[str] | None = None,
    split: str = "test",
    top: int | None = None,
    permutations: int = 8,
    seed: int = 0,
) -> None:
    """Explain, write a file per case, and print the largest additivity error."""
    import numpy as np

    from explain.explain import explain_cases
    from explain.kept import says_less, write_explanation
    from ingest.cohort import open_cohort
    from ingest.errors import TelltaleError
    from ingest.workspace import open_workspace
    from models.score import check_fits, predict_rows
    from serve.console import progress, say
    from serve.options import find_model, task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    predictor = find_model(opened, cohort.task.name, version)
    check_fits(predictor, cohort)
    if cases:
        known = cohort.index["case_id"].to_numpy(str)
        if unknown := sorted(set(cases) - set(known)):
            raise TelltaleError(f"case {unknown[0]}: no such case in the cohort of {cohort.task.name}")
        rows = np.flatnonzero(np.isin(known, cases))
    else:
        rows = cohort.rows(split)
    order = rows[np.argsort(-predict_rows(predictor, cohort, rows).logit)]
    whole = order if top is None or cases else order[:top]
    folder = opened.explanations(cohort.task.name, predictor.version)
    worst, withheld, done = 0.0, 0, 0
    with progress("explaining") as bar:
        for part, elements in ((whole, True), (order[len(whole) :], False)):
            for explanation in explain_cases(
                predictor, cohort, part, elements=elements, permutations=permutations, seed=seed
            ):
                if not says_less(folder, explanation):
                    write_explanation(folder, explanation)
                withheld += explanation.withheld
                if not explanation.withheld:
                    worst = max(worst, explanation.additivity_error)
                done += 1
                bar(done, len(order), "")
    say(
        f"{done:,} cases explained by stream, {len(whole):,} of them by element; attributions sum to the log-odds "
        f"within {worst:.1e} (largest error); {withheld} withheld, whose sums were off"
    )
    say(f"kept in {folder}")
