"""How fast training is, against a bare loop of the same network over tensors that lie in memory. Prints JSON.

    python benchmarks/training.py [--device cpu|cuda] [--cases 512] [--rounds 5] [--only table,image,volume]
        [--from-disk]

For cohorts of tables, of a table and an image, and of a table and a volume, in each phase: samples per second of the
training's own steps (reading from disk, hidden elements, clipping, moving average, watch for what is not finite) and
of the bare loop (the same loss with forward, backward and step, on the same batches read beforehand), in turns; the
best of the rounds. ratio: 1 is as fast; the median over the rounds, each of which is held against the turn beside it,
by the clock and by the time of all processors (which counts what a thread reads). busy: the share of the time in which
the GPU computes, by its kernels' intervals; null on a CPU. Values are random: the time does not depend on them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from ingest.cohort import Cohort, open_cohort
from ingest.statistics import Statistics, StreamStatistics
from ingest.task import Task, parse_task
from models.config import model_config
from models.training import loader
from models.training.phases import plan
from models.training.run import Run
from models.training.steps import Steps

TABLE = {f"table-{i}": {"kind": "table", "features": [{"name": f"f{j}", "codes": [f"C//{j}"], "unit": "1"}
         for j in range(20)]} for i in range(2)}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "table": TABLE,
    "image": {
        "table-0": TABLE["table-0"],
        "image": {"kind": "image", "codes": ["DICOM//DX"], "window_hours": 48, "shape": [96, 96]},
    },
    "volume": {
        "table-0": TABLE["table-0"],
        "volume": {"kind": "image", "codes": ["DICOM//CT"], "window_hours": 48, "shape": [24, 48, 48]},
    },
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--from-disk", action="store_true", help="keep no stream in memory, however small")
    arguments = parser.parse_args()
    if arguments.from_disk:
        loader.KEPT_AT_MOST = 0
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    out: dict[str, Any] = {"device": arguments.device, "threads": torch.get_num_threads()}
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            cohort = write_cohort(Path(folder), VARIANTS[name], arguments.cases)
            out[name] = measure(cohort, arguments.rounds)
    print(json.dumps(out, indent=2))


def measure(cohort: Cohort, rounds: int) -> dict[str, Any]:
    """Samples per second by phase."""
    found: dict[str, Any] = {}
    for scheme in ("staged", "joint"):
        config = model_config(cohort.task, {"experts": [], "training": {"scheme": scheme}})
        splits = {split: cohort.rows(split) for split in ("train", "validation")}
        run = Run(cohort, config, cohort.statistics, splits, 0)
        for phase in plan(config.training, run.network):
            steps = run.steps(phase, run.begin(phase))
            ours, bare = _ours(run, steps), _bare(run, steps)
            times = [(*_seconds(ours, run.device), *_seconds(bare, run.device)) for _ in range(rounds + 1)][1:]  # warm
            wall, processor, bare_wall, bare_processor = np.array(times).T
            cases = len(splits["train"])
            found[phase.name] = {
                "samples_per_second": round(cases / wall.min(), 1),
                "bare_samples_per_second": round(cases / bare_wall.min(), 1),
                "ratio": round(float(np.median(bare_wall / wall)), 3),
                "processor_ratio": round(float(np.median(bare_processor / processor)), 3),
                "busy": _busy(ours, run.device),
            }
    return found


def _ours(run: Run, steps: Steps) -> Callable[[], object]:
    return lambda: run.epoch(steps, 1, steps.phase.watched)


def _bare(run: Run, steps: Steps) -> Callable[[], object]:
    """Forward, backward and step on what the pass gives its loss, read beforehand."""
    given = list(steps.arguments(list(steps.parts(1)), 1, steps.phase.watched))
    parameters = [parameter for _, parameter in steps.named]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)

    def loop() -> None:
        steps.loss.train()
        for arguments in given:
            with run.fabric.autocast():
                value = steps.loss(*arguments)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    return loop


def _seconds(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Of the clock, and of the processors."""
    _wait(device)
    start, start_processor = time.perf_counter(), time.process_time()
    work()
    _wait(device)
    return time.perf_counter() - start, time.process_time() - start_processor


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _busy(work: Callable[[], object], device: torch.device) -> float | None:
    """The union of the kernels' intervals, as a share of the time; without CUDA there is nothing to ask."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        seconds, _ = _seconds(work, device)
    events = [e.time_range for e in profile.events() or [] if e.device_type == torch._C._autograd.DeviceType.CUDA]
    total, end = 0.0, -np.inf
    for start, stop in sorted((e.start, e.end) for e in events):
        total, end = total + max(stop - max(start, end), 0.0), max(end, stop)
    return round(total / 1e6 / seconds, 3)


def write_cohort(folder: Path, streams: dict[str, Any], cases: int) -> Cohort:
    """Random values of these shapes, the training split large."""
    rng = np.random.default_rng(0)
    raw = {
        "name": "speed", "title": "speed", "index": {"event": "ENCOUNTER//IMP//START", "offset_hours": 24},
        "target": {"events": ["LOCATION//ICU"], "horizon_hours": 48}, "streams": streams,
    }  # fmt: skip
    task = parse_task(raw, "speed")
    shard = folder / "shards" / "00000"
    shard.mkdir(parents=True)
    index = pd.DataFrame(
        {
            "case_id": [f"case-{i:06d}" for i in range(cases)],
            "subject_id": np.arange(cases),
            "index_time": np.datetime64("2024-01-01", "us") + np.arange(cases) * np.timedelta64(1, "h"),
            "target": (rng.random(cases) < 0.4).astype(np.float32),
            "split": np.where(np.arange(cases) < 0.9 * cases, "train", "validation"),
            **{f"{name}_row": np.arange(cases) for name in streams},
        }
    )
    index.to_parquet(shard / "index.parquet")
    statistics = Statistics(dict(_streams(task, shard, cases, rng)), int(0.9 * cases), 0.4)
    for name, value in (("task", task.model_dump(mode="json")), ("statistics", statistics.to_json())):
        (folder / f"{name}.json").write_text(json.dumps(value))
    return open_cohort(folder)


def _streams(task: Task, shard: Path, cases: int, rng: np.random.Generator) -> Iterator[tuple[str, StreamStatistics]]:
    for name, spec in task.streams.items():
        if spec.kind == "table":
            values = rng.normal(size=(cases, 20)).astype(np.float32)
            names = tuple(f"f{j}" for j in range(20))
            told = StreamStatistics("table", 20, (), names=names, units=("1",) * 20, mean=(0.0,) * 20, std=(1.0,) * 20)
        else:
            shape = tuple(spec.shape)  # type: ignore[union-attr]  # an image's
            values = rng.integers(0, 256, (cases, 1, 1, *shape), np.uint8)
            told = StreamStatistics("image", 1, (1, *shape), mean=(0.5,), std=(0.3,))
        elements = values.shape[1]
        np.save(shard / f"{name}.values.npy", values)
        np.save(shard / f"{name}.observed.npy", np.ones((cases, elements), bool))
        np.save(shard / f"{name}.hours.npy", np.full((cases, elements), -1, np.float32))
        yield name, told


if __name__ == "__main__":
    main()
