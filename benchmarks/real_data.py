"""Real data by the ordinary commands: dermoscopy, COVID-19 radiographs, intensive care. Prints JSON.

    python benchmarks/real_data.py ham10000 PATH/skin-ham10000 [--folder DIR]
    python benchmarks/real_data.py covid-icu PATH/covid-cxr [--folder DIR]
    python benchmarks/real_data.py physionet2012-mortality PATH/icu-physionet2012 [--folder DIR]
    python benchmarks/real_data.py eicu-mortality PATH/icu-eicu-demo [--folder DIR]
    python benchmarks/real_data.py yaib-mortality PATH/icu-eicu-demo/hourly/mortality24 [--folder DIR]

Runs `telltale ingest`, `align`, `train` and `evaluate` with the built-in task and mapping, and reports the test split's
measures with their intervals. The pseudonym key is fixed, so the split is the same each time.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

MAPPINGS = {
    "ham10000": "ham10000",
    "covid-icu": "covid-cxr",
    "physionet2012-mortality": "physionet2012",
    "eicu-mortality": "eicu-demo",
    "yaib-mortality": "yaib-eicu",
}


def main() -> None:
    """Run the four commands and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=list(MAPPINGS))
    parser.add_argument("source", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the workspace here")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        key, workspace = folder / "key", folder / "workspace"
        key.write_text(f"benchmark {asked.task}\n")
        place = ["--workspace", str(workspace)]
        seconds = {}
        for verb, arguments in {
            "ingest": [str(asked.source), "--mapping", MAPPINGS[asked.task], "--key", str(key), *place],
            "align": ["--task", asked.task, *place],
            "train": ["--task", asked.task, "--seed", str(asked.seed), *place],
            "evaluate": ["--task", asked.task, *place],
        }.items():
            start = time.monotonic()
            subprocess.run([sys.executable, "-m", "serve.cli", verb, *arguments], check=True, stdout=sys.stderr)
            seconds[verb] = round(time.monotonic() - start)
        report = json.loads((workspace / "reports" / asked.task / "v0001.json").read_text())
    models = {m["name"]: {k: _shown(v) for k, v in m["metrics"].items()} for m in report["models"]}
    differences = {
        f"fused - {d['against']}": [*_shown(d["estimate"]), d["p"]]
        for d in report["differences"]
        if d["metric"] == "auroc"
    }
    counts = {key: report[key] for key in ("n", "events", "subjects")}
    print(
        json.dumps(
            {"task": asked.task, **counts, "models": models, "auroc_differences": differences, "seconds": seconds},
            indent=2,
        )
    )


def _shown(estimate: dict[str, float | None]) -> list[float | None]:
    return [estimate[key] for key in ("value", "low", "high")]


if __name__ == "__main__":
    main()
