"""How long an explanation takes at the sizes of the demo ward, and how well it adds up. Prints JSON.

    python benchmarks/explaining.py [--cases 10] [--cohort 500] [--permutations 8]

Random weights and random values with the shapes of clinical/tasks/deterioration.yaml: the time does not depend on them.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from explain.explain import explain_cases
from ingest.align.spectrum import count_frames
from ingest.cohort import Cohort, open_cohort
from ingest.notes.tokenizer import load_tokenizer
from ingest.statistics import Statistics, StreamStatistics
from ingest.task import AudioStream, ImageStream, SeriesStream, TableStream, Task, TextStream, load_task
from models.config import model_config
from models.network import build_network
from models.prediction import Predictor
from models.trust.calibrate import Calibration
from models.trust.logits import LogitCalibration

TASK = Path(__file__).parent.parent / "clinical" / "tasks" / "deterioration.yaml"
WORDS = "patient seen on round no fever more short of breath than before walking to the bath eats well plan continue"
ABSENT = {"xray": 1 / 3, "sound": 1 / 2, "notes": 1 / 5}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10, help="cases with all streams, explained with elements")
    parser.add_argument("--cohort", type=int, default=500, help="cases explained by stream only")
    parser.add_argument("--permutations", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cohort = write_cohort(Path(folder), arguments.cohort)
        predictor = build_predictor(cohort)
        passes = count_passes(predictor)
        whole = np.flatnonzero(cohort.present.all(1))[: arguments.cases]
        list(explain_cases(predictor, cohort, whole[:1], permutations=4))  # warm
        out = {
            "threads": 1,
            "elements": measure(predictor, cohort, whole, passes, permutations=arguments.permutations),
            "streams_only": measure(predictor, cohort, np.arange(len(cohort)), passes, elements=False),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    print(json.dumps(out, indent=2))


def measure(
    predictor: Predictor, cohort: Cohort, rows: np.ndarray, passes: Counter[str], **options: Any
) -> dict[str, Any]:
    """Seconds, passes and errors of explaining these cases."""
    passes.clear()
    start, start_cpu = time.perf_counter(), time.process_time()
    found = list(explain_cases(predictor, cohort, rows, **options))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    errors = [element.standard_error for e in found for es in e.elements.values() for element in es]
    return {
        "cases": len(found),
        "seconds": round(seconds, 2),
        "seconds_per_case": round(seconds / len(found), 4),
        "cpu_seconds_per_case": round(cpu_seconds / len(found), 4),
        "elements_per_case": round(sum(len(es) for e in found for es in e.elements.values()) / len(found), 1),
        "encoded_per_case": round(passes["encoded"] / len(found), 1),
        "fused_per_case": round(passes["fused"] / len(found), 1),
        "worst_additivity_error": max(e.additivity_error for e in found),
        "withheld": sum(e.withheld for e in found),
        "median_standard_error": float(np.median(errors)) if errors else None,
    }


def count_passes(predictor: Predictor) -> Counter[str]:
    """A counter of the streams encoded and the coalitions fused from now on."""
    passes: Counter[str] = Counter()

    def encoded(module: nn.Module, inputs: tuple[Any, ...], tokens: Any) -> None:
        passes["encoded"] += len(tokens.values)

    def fused(module: nn.Module, inputs: tuple[Any, ...], out: torch.Tensor) -> None:
        passes["fused"] += len(out)

    for encoder in predictor.network.encoders.values():
        encoder.register_forward_hook(encoded)
    predictor.network.fusion.register_forward_hook(fused)
    return passes


def build_predictor(cohort: Cohort) -> Predictor:
    """The default model of the task with random weights."""
    torch.manual_seed(0)
    config = model_config(cohort.task)
    network = build_network(config, cohort.statistics, cohort.task).eval()
    return Predictor(
        "v0001",
        cohort.task,
        config,
        cohort.statistics,
        network,
        LogitCalibration((Calibration(1.2, -0.1),), network.meaning.groups),
        torch.device("cpu"),
    )


def write_cohort(folder: Path, n: int) -> Cohort:
    """A cohort of random values with the task's own shapes."""
    rng = np.random.default_rng(0)
    task = load_task(TASK)
    shard = folder / "shards" / "00000"
    shard.mkdir(parents=True)
    index = pd.DataFrame(
        {
            "case_id": [f"case-{i:05d}" for i in range(n)],
            "subject_id": np.arange(n, dtype=np.int64),
            "index_time": np.datetime64("2026-01-01", "us") + np.arange(n) * np.timedelta64(1, "h"),
            "target": (rng.random(n) < 0.2).astype(np.float32),
            "split": "test",
        }
    )
    statistics = {}
    for name in task.streams:
        has = rng.random(n) >= ABSENT.get(name, 0.0)
        index[f"{name}_row"] = np.where(has, np.cumsum(has) - 1, -1)
        values, observed, texts, statistics[name] = random_stream(task, name, int(has.sum()), rng)
        hours = np.where(observed.reshape(*observed.shape[:2], -1).any(2), -rng.random(observed.shape[:2]) * 24, 0)
        for part, array in {"values": values, "observed": observed, "hours": hours.astype(np.float32)}.items():
            np.save(shard / f"{name}.{part}.npy", array)
        if texts:
            pd.DataFrame({"row": np.arange(len(texts)), "text": texts}).to_parquet(shard / f"{name}.text.parquet")
    index.to_parquet(shard / "index.parquet")
    (folder / "task.json").write_text(task.model_dump_json())
    (folder / "statistics.json").write_text(json.dumps(Statistics(statistics, n, 0.2).to_json()))
    return open_cohort(folder)


def random_stream(
    task: Task, name: str, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[str], StreamStatistics]:
    """values, observed, texts and statistics of n cases of one stream."""
    spec = task.streams[name]
    if isinstance(spec, TextStream):
        return random_notes(spec, n, rng)
    shapes: dict[type, Any] = {
        TableStream: lambda s: (len(s.features),),
        SeriesStream: lambda s: (s.max_times, len(s.channels)),
        ImageStream: lambda s: (s.max_images, s.channels, *s.shape),
        AudioStream: lambda s: (count_frames(round(s.seconds * s.sample_rate_hz), s.sample_rate_hz), s.mels),
    }
    shape = shapes[type(spec)](spec)
    values = rng.normal(size=(n, *shape)).astype(np.float32)
    named = getattr(spec, "features", ()) or (getattr(spec, "channels", ()) if isinstance(spec, SeriesStream) else ())
    levels = {f.name: f.levels for f in named if isinstance(f.levels, tuple)}
    for place, feature in enumerate(named):
        if feature.name in levels:
            values[..., place] = values[..., place] > 0
    observed = rng.random(values.shape) < 0.8 if spec.kind == "series" else np.ones(values.shape[:2], bool)
    width = 1 if spec.kind == "image" else shape[-1]
    return (
        values * (observed if observed.ndim == values.ndim else 1),
        observed,
        [],
        StreamStatistics(
            kind=spec.kind,
            elements=shape[0],
            feature_shape=tuple(shape[1:]),
            names=tuple(f.name for f in named),
            units=tuple(f.unit or "" for f in named),
            mean=(0.0,) * width,
            std=(1.0,) * width,
            levels=levels,
        ),
    )


def random_notes(
    spec: TextStream, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[str], StreamStatistics]:
    """Notes of 6 to 12 sentences of 8 words."""
    tokenizer = load_tokenizer(spec.tokenizer)
    values = np.zeros((n, spec.max_tokens), np.int64)
    texts = []
    for row in range(n):
        sentences = [" ".join(rng.choice(WORDS.split(), 8)).capitalize() + "." for _ in range(rng.integers(6, 13))]
        texts.append(" ".join(sentences))
        ids = tokenizer.tokenize(texts[-1])[0][-spec.max_tokens :]
        values[row, : len(ids)] = ids
    statistics = StreamStatistics("text", spec.max_tokens, (), vocabulary_size=tokenizer.vocabulary_size)
    return values, values > 0, texts, statistics


if __name__ == "__main__":
    main()
