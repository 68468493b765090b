"""The command line called as a person calls it, in this process or in one of its own, on a workspace that is there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from ingest.cohort import Cohort
from ingest.workspace import create_workspace
from serve import cli

ROOT = Path(__file__).parents[2]
TASK = "deterioration-small"
TINY = {"width": 16, "members": 2, "fusion": {"heads": 2}, "training": {"alone_epochs": 1, "epochs": 1}}


@dataclass(frozen=True)
class Ran:
    """What a command gave back: its exit code, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def telltale(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`telltale("train", "--task", ...)` in this process."""

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["telltale", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def telltale_process() -> Callable[..., Ran]:
    """`telltale_process("tasks")` in a process of its own; cwd and env as of `subprocess.run`."""

    def run(*words: object, cwd: Path = ROOT, env: dict[str, str] | None = None, timeout: float = 120) -> Ran:
        given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})}
        command: Sequence[str] = [sys.executable, "-m", "serve.cli", *map(str, words)]
        ended = subprocess.run(
            command, cwd=cwd, env=given, capture_output=True, text=True, timeout=timeout, check=False
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def aligned(synthetic_cohort: Callable[..., Cohort], tmp_path: Path) -> Path:
    """A workspace with an aligned cohort of 100 cases, made by hand, and its task file `task.yaml` beside it."""
    workspace = create_workspace(tmp_path / "ws")
    folder = workspace.cohort(TASK)
    shutil.copytree(synthetic_cohort(n=100).folder, folder)
    task = json.loads((folder / "task.json").read_text())
    task["model"] = TINY
    (folder / "task.json").write_text(json.dumps(task))
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    return workspace.root


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    """A small hospital as CSV, with its mapping and task: a lab value tells the outcome."""
    return write_delivery(tmp_path / "delivery", patients=range(160))


@pytest.fixture
def more(tmp_path: Path) -> Callable[[range], Path]:
    """A factory: another delivery, of these patients."""
    return lambda patients: write_delivery(tmp_path / f"delivery-{patients.start}", patients)


def write_delivery(folder: Path, patients: range) -> Path:
    """stays.csv, icu.csv and labs.csv in `folder`; mapping.yaml and task.yaml beside it."""
    folder.mkdir()
    stays, transfers, labs = ["who,at,event,sex"], ["who,at,event"], ["who,at,value"]
    for patient in patients:
        rng = np.random.default_rng(patient)
        ill = rng.normal()
        day = f"2024-03-{1 + patient % 28:02d}"
        stays.append(f"P{patient},{day}T08:00:00Z,IN,{('female', 'male')[patient % 2]}")
        if rng.random() < 1 / (1 + np.exp(-2.5 * ill)):
            transfers.append(f"P{patient},{day}T20:00:00Z,ICU")
        for hour in (5, 6, 7):
            labs.append(f"P{patient},{day}T{hour:02d}:00:00Z,{100 + 20 * (ill + 0.3 * rng.normal()):.2f}")
    (folder / "stays.csv").write_text("\n".join(stays) + "\n")
    (folder / "icu.csv").write_text("\n".join(transfers) + "\n")
    (folder / "labs.csv").write_text("\n".join(labs) + "\n")
    who, at = {"column": "who", "issuer": "ward"}, {"column": "at"}
    mapping = {
        "files": [
            {"path": "stays.csv", "subject": who, "time": at,
             "columns": [{"code": "IN", "column": "event"}, {"code": "SEX", "column": "sex"}]},
            {"path": "icu.csv", "subject": who, "time": at, "columns": [{"code": "ICU", "column": "event"}]},
            {"path": "labs.csv", "subject": who, "time": at,
             "columns": [{"code": "CRP", "column": "value", "kind": "numeric", "unit": "mg/L"}]},
        ]
    }  # fmt: skip
    (folder.parent / "mapping.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
    task = {
        "name": "icu",
        "title": "ICU within 24 h",
        "index": {"event": "IN"},
        "target": {"events": ["ICU"], "horizon_hours": 24},
        "streams": {
            "record": {"kind": "table", "features": [{"name": "sex", "codes": ["SEX"], "levels": ["female", "male"]}]},
            "labs": {"kind": "series", "channels": [{"name": "CRP", "codes": ["CRP"], "unit": "mg/L"}]},
        },
        "split": {"stratify": True},
        "model": TINY,
    }
    (folder.parent / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    return folder
