"""`telltale draft`: a decoder for a version, and drafts of its cases' reports, always marked as drafts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, VersionOption, WorkspaceOption

if TYPE_CHECKING:
    from ingest.cohort import Cohort
    from models.drafts.evaluate import DraftEvaluation
    from models.prediction import Predictor


def draft(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    version: VersionOption = None,
    train: Annotated[
        bool, typer.Option("--train", help="First train the version's decoder, in place of a former.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Only train, validation or test.")] = None,
    beams: Annotated[int | None, typer.Option(min=1, max=32, help="Texts followed at once; 1 is greedy.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Draft the report of every case of a task's cohort. Each draft says that it is one; none was reviewed."""
    run_draft(workspace, task, version=version, train=train, split=split, beams=beams, seed=seed)


def run_draft(
    workspace: Path,
    task: str,
    *,
    version: str | None = None,
    train: bool = False,
    split: str | None = None,
    beams: int | None = None,
    seed: int = 0,
) -> None:
    """Train where asked, draft, and say where the files are."""
    from ingest.cohort import open_cohort
    from ingest.workspace import open_workspace
    from models.drafts.draft import NOTICE
    from models.drafts.store import load_drafter
    from models.drafts.write import write_drafts
    from serve.console import progress, say
    from serve.options import find_model, task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    predictor = find_model(opened, cohort.task.name, version)
    models = opened.models(cohort.task.name)
    if train:
        train_and_keep(models, predictor, cohort, seed)
    drafter = load_drafter(models, predictor)
    with progress("drafting") as bar:
        files = write_drafts(
            predictor,
            drafter,
            cohort,
            opened.drafts(cohort.task.name),
            rows=cohort.rows(split),
            beams=beams,
            progress=lambda done, of: bar(done, of, ""),
        )
    say(f"{files.cases:,} drafts by {predictor.version}: {files.jsonl}, {files.csv.name}")
    say(f"Each begins with: {NOTICE}.")


def train_and_keep(models: Path, predictor: "Predictor", cohort: "Cohort", seed: int) -> None:
    """Train a version's decoder, evaluate it on held-back reports, and keep it beside the version."""
    import shutil

    from models.drafts.cases import rows_with_reports
    from models.drafts.config import draft_config
    from models.drafts.evaluate import evaluate_drafter
    from models.drafts.store import save_drafter
    from models.drafts.train import train_drafter
    from serve.console import progress, say

    run_folder = models / ".runs" / f"draft-{predictor.version}"
    with progress("training the decoder") as bar:
        training = train_drafter(
            predictor,
            cohort,
            draft_config(cohort.task),
            seed=seed,
            run_folder=run_folder,
            on_epoch=lambda e: bar(e.number, e.of, f"validation loss {e.validation_loss:.3f}"),
        )
    held_back = "test" if len(rows_with_reports(cohort, "test")[0]) else "validation"
    found = evaluate_drafter(predictor, training.drafter, cohort, split=held_back, seed=seed)
    save_drafter(models, training, found.to_json())
    shutil.rmtree(run_folder, ignore_errors=True)
    best = min(training.history, key=lambda epoch: epoch.validation_loss)
    say(
        f"trained on {training.cases['train']:,} reports, best of {len(training.history)} epochs: {best.number}"
        + (f"; {training.cut:,} reports were cut" if training.cut else "")
    )
    show(found)


def show(found: "DraftEvaluation") -> None:
    """What the drafts are worth, beside texts that cost nothing."""
    from serve.console import say, table

    names = {"draft": "drafts", "nearest": "the nearest training case's report", "without streams": "one text for all"}
    table(
        f"{found.reports:,} reports of the {found.split} split",
        ["", "ROUGE-L", "BLEU-4"],
        [[shown, f"{found.rouge_l[name]:.3f}", f"{found.bleu_4[name]:.3f}"] for name, shown in names.items()],
    )
    mean, low, high = found.difference
    say(f"drafts - nearest, ROUGE-L: {mean:+.3f} ({low:+.3f} to {high:+.3f})")
    say("perplexity per word: " + ", ".join(f"{value:.2f} {name}" for name, value in found.perplexity.items()))
    say(f"unknown words in reports: {found.unknown:.1%}; drafts that are a training report: {found.verbatim:.1%}")
    say("These measures compare words. They do not say whether a draft is true of the patient.")
