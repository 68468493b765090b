"""`telltale evaluate --on`: a version on another hospital's cases, as it is."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from serve.exits import Refused

if TYPE_CHECKING:
    from ingest.cohort import Cohort
    from ingest.workspace import Workspace
    from models.evaluate.external import CaseMix, External
    from models.prediction import Predictor

SHIFTS_SHOWN = 12


def run_external(
    workspace: Path,
    task: str,
    other: Path,
    *,
    version: str | None = None,
    mapping: str | None = None,
    issuer: str = "local",
    timezone: str | None = None,
    seed: int = 0,
) -> "External":
    """Bring the other's cases into the model's own form, evaluate, print, and write JSON and HTML."""
    from ingest.cohort import open_cohort
    from ingest.files import write_json
    from ingest.workspace import open_workspace
    from models import store
    from models.evaluate.external import evaluate_external
    from models.evaluate.report import write_report
    from serve.commands.evaluate import show
    from serve.console import progress, say
    from serve.options import find_model, task_name

    opened = open_workspace(workspace)
    predictor = find_model(opened, task_name(task), version)
    name = predictor.task.name
    cohort, refused = _cohort(opened, predictor, other, mapping=mapping, issuer=issuer, timezone=timezone)
    own = opened.cohort(name)
    alone = store.alone_folder(opened.models(name), predictor.version)
    single = {
        stream: store.load(alone / stream / "v0001")
        for stream in predictor.stream_names
        if (alone / stream / "v0001").is_dir()
    }
    with progress("evaluating") as bar:
        result = evaluate_external(
            predictor,
            cohort,
            source=other.resolve().name,
            trained=open_cohort(own) if (own / "task.json").is_file() else None,
            single=single,
            seed=seed,
            on_step=lambda step: bar(0, None, step),
        )
    stem = f"external-{_called(other)}-{predictor.version}"
    reports = opened.reports(name)
    write_json(reports / f"{stem}.json", result.to_json())
    note = f"Every case of {result.source}, where the model was not trained; its task, levels and scales are its own."
    page = reports / f"{stem}.html"
    title = f"{predictor.task.title}: {result.source}"
    write_report(result.evaluation, page, title=title, model_version=predictor.version, split_note=note)
    show_case_mix(result.case_mix)
    show(result.evaluation, f"{predictor.version} on {result.source}")
    fused = result.evaluation.model("fused").metrics
    say(
        f"events / expected {result.observed_expected:.2f}; calibration in the large {fused['calibration_intercept']}, "
        f"slope {fused['calibration_slope']}"
    )
    say(f"\nthe whole report: {page}")
    if refused:
        raise Refused
    return result


def show_case_mix(mix: "CaseMix") -> None:
    """Who is here, beside whom the model was trained on."""
    from serve.console import say, table

    say(
        f"{mix.cases:,} cases, {mix.prevalence:.1%} with the event; trained on {mix.trained_cases:,}, "
        f"{mix.trained_prevalence:.1%}"
    )
    rows = [
        [p.pattern, p.cases, f"{p.share:.1%}", "" if p.trained is None else f"{p.trained:.1%}"] for p in mix.patterns
    ]
    table("What is there", ["streams present", "cases", "share", "in training"], rows[:SHIFTS_SHOWN])
    shown = [shift for shift in mix.shifts if shift.smd is not None][:SHIFTS_SHOWN]
    table(
        "Largest differences from the training cases, in standard deviations",
        ["", "here", "in training", "difference", "seen in", "in training"],
        [
            [
                f"{s.feature}{f', {s.unit}' if s.unit else ''}",
                f"{s.here:.3g}",
                f"{s.trained:.3g}",
                f"{s.smd:+.2f}",
                f"{s.seen:.0%}",
                "" if s.seen_trained is None else f"{s.seen_trained:.0%}",
            ]
            for s in shown
        ],
    )
    for feature, count in mix.unknown_levels.items():
        say(f"  {feature}: {count:,} values of levels that the model does not know count as missing")


def _cohort(
    opened: "Workspace", predictor: "Predictor", other: Path, *, mapping: str | None, issuer: str, timezone: str | None
) -> "tuple[Cohort, int]":
    """An aligned cohort as it is; a workspace's observations, or source files, aligned for the model.

    With it, how many records of the source files were refused.
    """
    from ingest.align.like import align_like
    from ingest.catalogue import read_catalogue
    from ingest.cohort import open_cohort
    from ingest.errors import InputError
    from ingest.identity.bearing import bearing_of
    from ingest.store import Observations
    from ingest.workspace import open_workspace
    from serve.commands.ingest import run_ingest
    from serve.console import progress, say
    from serve.options import vocabulary

    if (other / "task.json").is_file():
        return open_cohort(other), 0
    if not other.exists():
        raise InputError(str(other), expected="a cohort, a workspace, or source files", got="nothing of that name")
    place, refused = opened.root / "external" / _called(other), 0
    if (other / "telltale.txt").is_file():
        held = open_workspace(other)
    else:
        refused = run_ingest([other], place, mapping=mapping, issuer=issuer, timezone=timezone).total.refused
        held = open_workspace(place)
    out = place / "cohorts" / predictor.task.name
    with progress("aligning") as bar:
        report = align_like(
            Observations(held),
            predictor.task,
            predictor.statistics,
            out,
            vocabulary=vocabulary(),
            catalogue=read_catalogue(held.images),
            bearing=bearing_of(held.identities),
            progress=lambda stage, done, of: bar(done, of, stage),
        )
    say(f"{report.candidates:,} candidate cases of {report.subjects:,} subjects: {report.cases:,} cases")
    for reason, count in report.excluded.items():
        say(f"  excluded {count:,}: {reason}")
    for name, stream in report.streams.items():
        for reason, count in stream.left_out.items():
            say(f"  {name}, left out {count:,}: {reason}")
    return open_cohort(out), refused


def _called(other: Path) -> str:
    """What its files are called: its name, and a digest of where it is, since many folders are called `data`."""
    where = other.resolve()
    return f"{where.stem}-{hashlib.blake2b(str(where).encode(), digest_size=3).hexdigest()}"
