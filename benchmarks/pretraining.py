"""What pretraining is worth with few labels: a linear probe on frozen features of the synthetic cohort. Prints JSON.

    python benchmarks/pretraining.py [--cases 600] [--epochs 20] [--draws 5] [--shared]

Streams of the synthetic cohort share nothing but the outcome, so that contrast between them has nothing to find; with
--shared one latent number drives them all. Every representation is probed on the same draws of labelled cases.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from ingest.cohort import Cohort, open_cohort
from models.config import model_config
from models.evaluate.metrics import auroc, measure
from models.pretrain.pretrain import METHODS, pretrain
from models.pretrain.probe import build_encoders, compare, mean_tokens
from models.pretrain.reducers import KINDS, fit_reducer

SHARES = (0.1, 0.3, 1.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--draws", type=int, default=5, help="of the labelled cases, where not all are")
    parser.add_argument("--shared", action="store_true", help="one latent number drives all streams")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_cohort(Path(folder), arguments.cases, shared=arguments.shared)
        features, seconds = representations(cohort, arguments.epochs)
        found = compare(cohort, features, SHARES, draws=arguments.draws)
        out = {
            "cases": len(cohort),
            "training_cases": len(cohort.rows("train")),
            "best_attainable": best_attainable(cohort),
            "seconds_to_fit": seconds,
            "auroc": {
                name: {str(share): summary(each) for share, each in shares.items()} for name, shares in found.items()
            },
        }
    print(json.dumps(out, indent=2))


def representations(cohort: Cohort, epochs: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """(N, K) of all cases by name, and how long each took to fit."""
    config = model_config(cohort.task)
    rows, train = cohort.rows(), cohort.rows("train")
    random = build_encoders(cohort, config, cohort.stream_names)
    features = {"random encoders": mean_tokens(cohort, random, rows)}
    seconds = {"random encoders": 0.0}
    for method in METHODS:
        start = time.perf_counter()
        states = pretrain(cohort, config, method, seed=0, epochs=epochs).encoders
        seconds[method] = round(time.perf_counter() - start, 1)
        # A stream that the method is not for keeps its random encoder.
        encoders = build_encoders(cohort, config, cohort.stream_names, states=states)
        features[method] = mean_tokens(cohort, encoders, rows)
    for kind in KINDS:
        start = time.perf_counter()
        features[kind] = fit_reducer(kind, cohort, train).reduce(cohort, rows)
        seconds[kind] = round(time.perf_counter() - start, 1)
    return features, seconds


def make_cohort(folder: Path, cases: int, *, shared: bool) -> Cohort:
    """The synthetic cohort of the tests; with `shared` its streams are drawn again from one latent number."""
    path = Path(__file__).parents[1] / "tests" / "synthetic.py"
    specification = importlib.util.spec_from_file_location("synthetic", path)
    assert specification is not None
    assert specification.loader is not None
    synthetic: Any = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(synthetic)
    cohort = open_cohort(synthetic.write_cohort(folder / "cohort", cases))
    if not shared:
        return cohort
    rng = np.random.default_rng(1)
    latent = rng.normal(size=len(cohort))
    for name, spec in cohort.task.streams.items():
        arrays = synthetic.stream_arrays(spec, name, latent + 0.7 * rng.normal(size=len(cohort)), rng)
        has = cohort.index[f"{name}_row"].to_numpy() >= 0
        for part in ("values", "observed", "hours"):
            np.save(cohort.shard_folder(0) / f"{name}.{part}.npy", arrays[part][has])
    risk = 1 / (1 + np.exp(1.1 - 2 * latent))
    index = cohort.shard_folder(0) / "index.parquet"
    pd.read_parquet(index).assign(target=(rng.random(len(cohort)) < risk).astype(np.float32)).to_parquet(index)
    pd.DataFrame({"case_id": cohort.index["case_id"], "risk": risk}).to_parquet(cohort.folder / "truth.parquet")
    return open_cohort(cohort.folder)


def best_attainable(cohort: Cohort) -> float:
    """The test split's AUROC of the risk that its outcomes were drawn from."""
    rows = cohort.rows("test")
    risk = pd.read_parquet(cohort.folder / "truth.parquet")["risk"].to_numpy()
    return round(measure(auroc, cohort.target[rows], risk[rows]), 3)


def summary(each: list[float]) -> dict[str, float]:
    """The mean over the draws, and their standard deviation."""
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else 0.0
    return {"mean": round(float(np.mean(each)), 3), "sd": round(spread, 3)}


if __name__ == "__main__":
    main()
