"""`telltale demo`: make the simulated hospital, or run the whole of Telltale on it."""

from pathlib import Path
from typing import Annotated

import typer

from serve.options import SeedOption

app = typer.Typer(help="A simulated hospital with a known risk.", no_args_is_help=True)
PatientsOption = Annotated[int, typer.Option("--patients", min=1, help="How many patients.")]
TASK = "deterioration"
EXPLAINED = 20  # cases of the highest risk that are explained down to words and patches


@app.command()
def make(
    out: Annotated[Path, typer.Argument(help="The folder to write the hospital's files to.")],
    patients: PatientsOption = 600,
    seed: SeedOption = 1,
) -> None:
    """Write a simulated hospital: DICOM, FHIR, sounds, and the truth."""
    from clinical.demo import make_ward
    from serve.console import progress, say

    with progress("making the ward") as bar:
        ward = make_ward(out, patients, seed, lambda what, done, total: bar(done, total, what))
    files = ", ".join(f"{count:,} {name}" for name, count in sorted(ward.files.items()))
    say(f"{out}: {ward.patients:,} patients, {ward.eligible:,} eligible, {ward.prevalence:.1%} with the outcome")
    say(files)
    say(
        f"best attainable AUROC {ward.attainable_auroc:.3f} from the files, "
        f"{ward.auroc_of_true_risk:.3f} for somebody who knew everything"
    )


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Gets hospital/ and workspace/, both made anew.")] = Path("demo"),
    patients: PatientsOption = 600,
    seed: SeedOption = 1,
) -> None:
    """Every stage on a new ward: make, ingest, align, train, score, explain, evaluate."""
    from serve.commands.align import run_align
    from serve.commands.evaluate import run_evaluate
    from serve.commands.explain import run_explain
    from serve.commands.ingest import run_ingest
    from serve.commands.score import run_score
    from serve.commands.train import run_train
    from serve.console import say
    from serve.stages import Stages

    hospital, workspace = folder / "hospital", folder / "workspace"
    _clear(workspace)
    stages = Stages()
    with stages("make the hospital"):
        make(hospital, patients, seed)
    with stages("ingest"):
        # Not a secret: the patients are invented, and the same seed shall give the same split.
        run_ingest([hospital], workspace, secret=f"demo ward {seed}".encode())
    with stages("align"):
        run_align(workspace, TASK)
    with stages("train"):
        run_train(workspace, TASK, seed=seed)
    with stages("score"):
        run_score(workspace, TASK)
    with stages("explain"):
        run_explain(workspace, TASK, top=EXPLAINED)
    with stages("evaluate"):
        run_evaluate(workspace, TASK, truth=hospital / "truth.parquet", seed=seed)
    stages.tell()
    say(f"\nLook at it: make dashboard, or: telltale dashboard --workspace {workspace}")


def _clear(workspace: Path) -> None:
    """Remove a former demo's workspace; anything else is left alone."""
    import shutil

    from ingest.errors import TelltaleError

    if workspace.exists():
        if not (workspace / "telltale.txt").is_file():
            raise TelltaleError(f"{workspace}: expected a former demo or nothing, found something else; name another")
        shutil.rmtree(workspace)
