"""Real data in cross-validation, and every fusion on the demo ward. Prints JSON.

    python benchmarks/models.py ham10000 PATH/skin-ham10000 [--folder DIR]
    python benchmarks/models.py physionet2012-mortality PATH/icu-physionet2012 [--folder DIR]
    python benchmarks/models.py eicu-mortality24 PATH/icu-eicu-demo [--folder DIR] [--repeats 5]
    python benchmarks/models.py ward [--patients 2000] [--seeds 1 2 3] [--folder DIR]

A data set: read and aligned with its built-in task and mapping, then in each of 5 grouped folds, normalisation and all
fitted on that fold's training cases alone: the fused network with its experts, each single modality, their late
average, gradient boosting and logistic regression on the same columns; and for each modality the fused model with it
hidden against a model trained without it. The event-1 score, min(sensitivity, PPV), of each model takes the threshold
that is best on the other folds. With --folder a run that was stopped goes on.

The ward: encoders are trained once a seed, then every fusion on what they found, without the experts on columns, so
that nothing but the fusion differs.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `models` would be models.py

from clinical.demo import make_ward
from ingest.align.build import align
from ingest.align.refit import groups_of
from ingest.catalogue import read_catalogue
from ingest.cohort import Cohort, open_cohort
from ingest.run import ingest
from ingest.store import Observations
from ingest.workspace import Workspace, create_workspace, open_workspace
from models.config import ModelConfig, model_config
from models.evaluate.alerts import choose_threshold
from models.evaluate.bootstrap import draw_resamples, paired_difference
from models.evaluate.folds import cross_validate
from models.evaluate.metrics import auroc, measure
from models.evaluate.rivals import RIVALS, Part, network_risks
from models.features import with_frozen_features
from models.fusions import FUSIONS
from models.network import LATE, build_network
from models.prediction import Predictor
from models.score import predict_rows
from models.training.ablate import train_without
from models.training.run import Epoch
from models.training.train import TrainingOutcome, train
from serve.options import find_mapping, find_task, vocabulary

HIDDEN, WITHOUT = "hidden: ", "trained without: "
SOURCES: dict[str, list[tuple[str, str]]] = {  # task -> (folder below the source, mapping)
    "ham10000": [(".", "ham10000")],
    "physionet2012-mortality": [(".", "physionet2012")],
    "eicu-mortality24": [("hourly/mortality24", "yaib-eicu"), (".", "eicu-demo")],
}


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*SOURCES, "ward"])
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--folder", type=Path, help="keep the work here, and go on from it")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if asked.what == "ward":
            found: Any = [_ward(seed, asked.patients, folder) for seed in asked.seeds]
        else:
            found = _data_set(asked.what, asked.source, folder, asked.folds, asked.repeats)
    print(json.dumps(found, indent=2))


def _data_set(task: str, source: Path, folder: Path, folds: int, repeats: int) -> dict[str, Any]:
    workspace, cohort = _prepared(task, source, folder / "workspace")
    config = model_config(cohort.task)
    rivals = {**RIVALS, "network": _with_ablations}
    start = time.monotonic()
    result = cross_validate(
        cohort, config, folds=folds, repeats=repeats, groups=_groups(workspace, cohort), rivals=rivals,
        folder=folder / "validation", on_step=lambda what, done, of: print(f"{done}/{of} {what}", file=sys.stderr),
    )  # fmt: skip
    seconds = round(time.monotonic() - start)
    risks = pd.read_parquet(folder / "validation" / "out-of-fold.parquet")
    shown = [model for model in result.models if not model.name.startswith((HIDDEN, WITHOUT))]
    return {
        "task": task,
        **{key: getattr(result, key) for key in ("n", "events", "subjects", "folds", "repeats")},
        "seconds": seconds,
        "models": {
            model.name: {
                **{name: _rounded(e.value, e.low, e.high) for name, e in model.pooled.items()},
                "event1": _event1(risks, model.name),
            }
            for model in shown
        },
        "fused_less": {
            d.against: [*_rounded(d.estimate.value, d.estimate.low, d.estimate.high), d.p]
            for d in result.differences
            if d.metric == "auroc" and not d.against.startswith((HIDDEN, WITHOUT))
        },
        "hidden_less_trained_without": _gaps(risks),
    }


def _prepared(task: str, source: Path, place: Path) -> tuple[Workspace, Cohort]:
    """The workspace and the aligned cohort; those that are there already are used again."""
    if (place / "cohorts" / task / "task.json").is_file():
        workspace = open_workspace(place)
        return workspace, open_cohort(workspace.cohort(task))
    workspace = create_workspace(place, f"benchmark {task}".encode())
    meaning = vocabulary()
    for below, mapping in SOURCES[task]:
        ingest(workspace, [source / below], mapping=find_mapping(mapping), vocabulary=meaning)
    align(
        Observations(workspace), find_task(task), workspace.cohort(task),
        vocabulary=meaning, catalogue=read_catalogue(workspace.images),
    )  # fmt: skip
    return workspace, open_cohort(workspace.cohort(task))


def _groups(workspace: Workspace, cohort: Cohort) -> np.ndarray | None:
    return None if cohort.task.split.group_by is None else groups_of(cohort, Observations(workspace))


def _with_ablations(part: Part) -> dict[str, np.ndarray]:
    """The network, its single streams, and each stream hidden against a model trained without it."""
    outcome = train(part.cohort, part.config, seed=part.seed, version="v0001", run_folder=part.folder)
    risks = network_risks(outcome, part)
    names = outcome.predictor.stream_names
    if len(names) == 1:
        return risks
    for place, name in enumerate(names):
        keep = np.arange(len(names)) != place
        other = train_without(name, outcome, part.cohort, part.config, seed=part.seed)
        risks[HIDDEN + name] = _risk(outcome.predictor, part, keep)
        risks[WITHOUT + name] = _risk(other, part)
    return risks


def _risk(predictor: Predictor, part: Part, keep: np.ndarray | None = None) -> np.ndarray:
    featured = with_frozen_features(part.cohort, predictor.network, predictor.device)
    return predict_rows(predictor, featured, part.rows, keep).risk


def _event1(risks: pd.DataFrame, model: str) -> dict[str, float]:
    """min(sensitivity, PPV), each fold's threshold chosen on the others: mean over folds, and of all together."""
    mine = risks[risks["model"] == model]
    flagged = []
    for _, repeat in mine.groupby("repeat"):
        for fold, held in repeat.groupby("fold"):
            rest = repeat[repeat["fold"] != fold]
            threshold = choose_threshold(rest["target"].to_numpy(float), rest["risk"].to_numpy()).risk
            flagged.append((held["target"].to_numpy(float) == 1, held["risk"].to_numpy() >= threshold))
    together = [np.concatenate(parts) for parts in zip(*flagged, strict=True)]
    return {
        "mean_of_folds": round(float(np.mean([_smaller_share(*each) for each in flagged])), 4),
        "together": round(_smaller_share(*together), 4),
    }


def _smaller_share(happened: np.ndarray, flagged: np.ndarray) -> float:
    """min(sensitivity, PPV). Both (n,) bool."""
    return float((happened & flagged).sum() / max(happened.sum(), flagged.sum()))


def _gaps(risks: pd.DataFrame) -> dict[str, list[float]]:
    """AUROC with a stream hidden less that of a model trained without it: [value, low, high]."""
    once = risks[risks["repeat"] == 1]
    wide = once.pivot(index=["case_id", "subject_id", "target"], columns="model", values="risk").reset_index()
    target = wide["target"].to_numpy(float)
    resamples = draw_resamples(target, wide["subject_id"].to_numpy(), np.random.default_rng(0), 1000)
    gaps = {}
    for name in (column.removeprefix(HIDDEN) for column in wide.columns if column.startswith(HIDDEN)):
        pair = (wide[kind + name].to_numpy(float) for kind in (HIDDEN, WITHOUT))
        gap = paired_difference(auroc, target, *pair, resamples)
        gaps[name] = _rounded(gap.value, gap.low, gap.high)
    return gaps


def _ward(seed: int, patients: int, folder: Path) -> dict[str, Any]:
    """Every fusion on one ward."""
    kept = folder / f"fusions-{patients}-{seed}.json"
    if not kept.is_file():
        cohort = _ward_cohort(seed, patients, folder / f"ward-{seed}")
        kept.write_text(json.dumps({"seed": seed, "fusions": _fusions(cohort, seed)}))
    found: dict[str, Any] = json.loads(kept.read_text())
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def _ward_cohort(seed: int, patients: int, folder: Path) -> Cohort:
    make_ward(folder / "hospital", patients, seed)
    workspace = create_workspace(folder / "workspace", f"benchmark {seed}".encode())
    ingest(workspace, [folder / "hospital"])
    task = find_task("deterioration")
    align(Observations(workspace), task, workspace.cohort(task.name), catalogue=read_catalogue(workspace.images))
    return open_cohort(workspace.cohort(task.name))


def _fusions(cohort: Cohort, seed: int) -> dict[str, Any]:
    config = model_config(cohort.task).model_copy(update={"experts": ()})
    first = _trained(cohort, config, "attention", seed, None)
    found = {}
    for kind in [*FUSIONS, *LATE]:
        outcome, seconds = first if kind == "attention" else _trained(cohort, config, kind, seed, first[0])
        rows = cohort.rows("test")
        network = outcome.predictor.network
        parts = [network.evidence, network.readout, *([network.fusion] if network.fusion is not None else [])]
        found[kind] = {
            "auroc": measure(auroc, cohort.target[rows], predict_rows(outcome.predictor, cohort, rows).risk),
            "parameters": sum(p.numel() for part in parts for p in part.parameters()),
            "seconds_per_epoch": seconds,
        }
        print(f"seed {seed} {kind} {found[kind]}", file=sys.stderr, flush=True)
    return found


def _trained(
    cohort: Cohort, config: ModelConfig, kind: str, seed: int, first: TrainingOutcome | None
) -> tuple[TrainingOutcome, float | None]:
    """A model with this fusion on the encoders of `first`, and the median seconds of an epoch of the fusion."""
    config = config.model_copy(update={"fusion": config.fusion.model_copy(update={"kind": kind})})
    ticks: list[float] = []

    def tick(epoch: Epoch) -> None:
        if epoch.phase == "together":
            ticks.append(time.monotonic())

    start, settings = None, config
    if first is not None:
        start = _encoders_of(first, config, cohort)
        settings = config.model_copy(update={"training": config.training.model_copy(update={"alone_epochs": 0})})
    outcome = train(cohort, settings, seed=seed, version="v0001", start=start, on_epoch=tick)
    return outcome, float(np.median(np.diff(ticks))) if len(ticks) > 1 else None


def _encoders_of(first: TrainingOutcome, config: ModelConfig, cohort: Cohort) -> Predictor:
    """A new network of this configuration with the encoders of another's first phase."""
    network = build_network(config, cohort.statistics, cohort.task)
    state = network.state_dict()
    for name, single in first.alone.items():
        mine = (f"encoders.{name}.", f"alone.{name}.")
        state |= {key: tensor for key, tensor in single.network.state_dict().items() if key.startswith(mine)}
    network.load_state_dict(state)
    network.prior.copy_(first.predictor.network.prior)
    return replace(first.predictor, config=config, network=network)


def _rounded(*numbers: float | None) -> list[float | None]:
    return [None if number is None else round(float(number), 4) for number in numbers]


if __name__ == "__main__":
    main()
