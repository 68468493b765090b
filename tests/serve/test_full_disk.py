"""FAULTS 40: a limit on the size of files stands for a disk that is full; what was kept before stays whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["telltale", *sys.argv[2:]]
from serve.cli import main
main()
"""


@pytest.mark.parametrize("room", [0, 300, 1_500])
def test_a_cohort_is_there_whole_or_not_at_all(telltale: Callable[..., Any], delivery: Path, room: int) -> None:
    workspace, task = delivery.parent / "ws", delivery.parent / "task.yaml"
    mapping = delivery.parent / "mapping.yaml"
    assert telltale("ingest", delivery, "--mapping", mapping, "--workspace", workspace).code == 0
    words = ["align", "--task", str(task), "--workspace", str(workspace)]
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, str(room), *words], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert len(full.stderr.strip().splitlines()) == 1, full.stderr
    line = full.stderr.strip()
    assert line.startswith("telltale: no room is left on the disk")
    assert line.endswith("nothing half-written is kept: make room, run the same again")
    assert not list((workspace / "cohorts").rglob("*.npy"))
    assert telltale(*words).code == 0


def test_a_table_that_leaves_is_there_whole_or_not_at_all(telltale: Callable[..., Any], delivery: Path) -> None:
    workspace, mapping = delivery.parent / "ws", delivery.parent / "mapping.yaml"
    assert telltale("ingest", delivery, "--mapping", mapping, "--workspace", workspace).code == 0
    words = ["export-meds", str(delivery.parent / "meds"), "--workspace", str(workspace)]
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, "300", *words], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert full.stderr.startswith("telltale: no room is left on the disk")
    assert not list(delivery.parent.glob("meds/**/*.parquet"))
    assert telltale(*words).code == 0
