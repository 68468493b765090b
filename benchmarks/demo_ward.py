"""The demo ward at 2,000 patients, several seeds: does the fusion earn its keep? Prints JSON.

    python benchmarks/demo_ward.py --patients 2000 --seeds 1 2 3 4 5 [--folder DIR] [--without N]

For each seed a new ward is made, read, aligned, and a model is trained and evaluated on its test split. Reported per
seed and over the pooled test cases: the AUROC of the fused model, its share of the best attainable AUROC, its
lead over the best single modality (networks trained on one stream alone), and calibration. With --without N, for each
modality: the full model with that modality hidden against a model trained without it, on the same cases.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from clinical.demo import make_ward
from ingest.align.build import align
from ingest.catalogue import read_catalogue
from ingest.cohort import open_cohort
from ingest.run import ingest
from ingest.store import Observations
from ingest.workspace import create_workspace
from models.config import model_config
from models.evaluate.bootstrap import draw_resamples, paired_difference, paired_ratio
from models.evaluate.calibration_curve import calibration_error, ece, floors
from models.evaluate.metrics import auroc, brier, calibration_slope, measure
from models.score import predict_rows
from models.training.ablate import train_without
from models.training.train import train
from serve.commands.evaluate import read_truth
from serve.options import find_task

SINGLE = "alone: "
HIDDEN = "hidden: "


def main() -> None:
    """Run every seed, then pool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--folder", type=Path, help="keep each seed's predictions here, and go on from them")
    parser.add_argument("--without", type=int, default=0, help="for this many seeds, also train without each modality")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            _seed(seed, asked.patients, folder, without=place < asked.without) for place, seed in enumerate(asked.seeds)
        ]
    print(
        json.dumps(
            {"per_seed": [p["summary"] for p in parts], "pooled": _pooled([p["predictions"] for p in parts])}, indent=2
        )
    )


def _seed(seed: int, patients: int, folder: Path, *, without: bool) -> dict[str, Any]:
    """One seed's predictions and their summary; what is kept from an earlier run is used again."""
    kept = folder / f"{patients}-{seed}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(_predict(seed, patients, folder / f"ward-{seed}", without=without)))
    predictions = json.loads(kept.read_text())
    said = {"seed": seed, **predictions.pop("about"), **_summary(predictions)}
    print(json.dumps(said), file=sys.stderr, flush=True)
    return {"predictions": predictions, "summary": said}


def _predict(seed: int, patients: int, folder: Path, *, without: bool) -> dict[str, Any]:
    start = time.monotonic()
    make_ward(folder / "hospital", patients, seed)
    workspace = create_workspace(folder / "workspace", f"benchmark {seed}".encode())
    ingest(workspace, [folder / "hospital"])
    task = find_task("deterioration")
    align(Observations(workspace), task, workspace.cohort(task.name), catalogue=read_catalogue(workspace.images))
    cohort = open_cohort(workspace.cohort(task.name))
    prepared = time.monotonic() - start
    config = model_config(task)
    outcome = train(cohort, config, seed=seed, version="v0001")
    trained = time.monotonic() - start - prepared
    rows = cohort.rows("test")
    truth = read_truth(workspace, folder / "hospital" / "truth.parquet", cohort.index)
    risks = {
        "fused": predict_rows(outcome.predictor, cohort, rows).risk,
        "best attainable": np.array([truth[case] for case in cohort.index["case_id"].to_numpy(str)[rows]]),
        **{SINGLE + name: predict_rows(model, cohort, rows).risk for name, model in outcome.alone.items()},
    }
    if without:
        for place, name in enumerate(cohort.stream_names):
            keep = np.arange(len(cohort.stream_names)) != place
            risks[f"hidden: {name}"] = predict_rows(outcome.predictor, cohort, rows, keep).risk
            other = train_without(name, outcome, cohort, config, seed=seed)
            risks[f"trained without: {name}"] = predict_rows(other, cohort, rows).risk
    return {
        "about": {"prepare_seconds": round(prepared), "train_seconds": round(trained)},
        "target": cohort.target[rows].tolist(),
        "risks": {name: np.asarray(risk).tolist() for name, risk in risks.items()},
    }


def _summary(predictions: dict[str, Any]) -> dict[str, Any]:
    target = np.array(predictions["target"])
    risks = {name: np.array(risk) for name, risk in predictions["risks"].items()}
    scores = {name: round(measure(auroc, target, risk), 4) for name, risk in risks.items()}
    fused = risks["fused"]
    return {
        "n": len(target),
        "events": int(target.sum()),
        "auroc": scores,
        "share_of_attainable": round(scores["fused"] / scores["best attainable"], 4),
        "calibration_error": round(measure(calibration_error, target, fused), 4),
        "calibration_slope": round(measure(calibration_slope, target, fused), 3),
        "brier": round(measure(brier, target, fused), 4),
    }


def _pooled(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """All seeds' test cases together. Risks are calibrated, so they may be ranked across seeds."""
    target = np.concatenate([part["target"] for part in parts])
    risks = {
        name: np.concatenate([part["risks"][name] for part in parts])
        for name in parts[0]["risks"]
        if not name.startswith((HIDDEN, "trained"))
    }
    rng = np.random.default_rng(0)
    resamples = draw_resamples(target, np.arange(len(target)), rng, 1000)
    fused = risks["fused"]
    singles = {name: measure(auroc, target, risk) for name, risk in risks.items() if name.startswith(SINGLE)}
    best = max(singles, key=lambda name: singles[name])
    share = paired_ratio(auroc, target, fused, risks["best attainable"], resamples)
    lead = paired_difference(auroc, target, fused, risks[best], resamples)
    ici_floor, ece_floor = floors(fused, rng)
    found: dict[str, Any] = {
        "n": len(target),
        "events": int(target.sum()),
        "fused_auroc": measure(auroc, target, fused),
        "share_of_attainable": [share.value, share.low, share.high],
        "best_single": best,
        "lead_over_best_single": [lead.value, lead.low, lead.high],
        "calibration_error": measure(calibration_error, target, fused),
        "calibration_error_floor": ici_floor.mean,
        "ece": measure(ece, target, fused),
        "ece_floor": ece_floor.mean,
    }
    more = [part for part in parts if any(name.startswith(HIDDEN) for name in part["risks"])]
    if more:
        found["hidden_less_trained_without"] = {"seeds": len(more), **_gaps(more, rng)}
    return found


def _gaps(parts: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, list[float]]:
    """AUROC of the full model with a modality hidden, less that of a model trained without it: [value, low, high]."""
    target = np.concatenate([part["target"] for part in parts])
    resamples = draw_resamples(target, np.arange(len(target)), rng, 1000)
    gaps = {}
    for name in (n.removeprefix(HIDDEN) for n in parts[0]["risks"] if n.startswith(HIDDEN)):
        hidden, without = (
            np.concatenate([part["risks"][f"{kind}: {name}"] for part in parts])
            for kind in ("hidden", "trained without")
        )
        gap = paired_difference(auroc, target, hidden, without, resamples)
        gaps[name] = [gap.value, gap.low, gap.high]
    return gaps


if __name__ == "__main__":
    main()
