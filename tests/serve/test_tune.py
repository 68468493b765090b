"""`telltale tune`, and `telltale train --tuned`: what they say and write, and that a kill costs next to nothing."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.workspace import open_workspace
from models import store
from models.config import model_config
from models.tune.overlay import laid_over, read_overlay

pytestmark = pytest.mark.slow  # searches train many small models

TASK = "deterioration-small"
ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = ["telltale", *sys.argv[1:]]
from serve.cli import main
main()
"""


def words(aligned: Path, *more: object) -> list[str]:
    return ["tune", "--task", str(aligned.parent / "task.yaml"), "--workspace", str(aligned), *map(str, more)]


def test_tune_prints_the_trials_and_train_takes_the_best(telltale: Callable[..., Any], aligned: Path) -> None:
    ran = telltale(*words(aligned, "--trials", 3, "--encoders", "off", "--fusions", "attention, sum, gated"))
    assert (ran.code, ran.err) == (0, "")
    assert "The best 3 of 3 trials, on the validation split" in ran.out
    assert re.search(
        r"^ *0 \(the task\) +\d\.\d{4} \(0\.\d{3}\) +0\.\d{3} +\d+ +attention +- *$", ran.out, re.MULTILINE
    )
    assert "3 complete, 0 given up early, 0 failed" in ran.out
    assert "the best of 3 looks better than it is" in ran.out
    models = open_workspace(aligned).models(TASK)
    overlay = read_overlay(models / ".tuning" / "best.yaml")
    assert overlay.found["trials"] == 3
    assert store.versions(models) == []

    trained = telltale("train", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--tuned")
    assert (trained.code, trained.err) == (0, "")
    version = store.load(models / "v0001")
    assert version.config == model_config(laid_over(version.task, overlay))
    assert version.config.members == 2
    note = store.read_facts(models / "v0001")["note"]
    where = f"study {overlay.found['study']}, trial {overlay.found['trial']}, trials 3"
    assert note == f"Tuned ({where}): its validation loss is what it was chosen by, and flatters it."
    assert note in (models / "v0001" / "card.md").read_text()


def test_a_search_that_was_killed_goes_on(telltale: Callable[..., Any], aligned: Path) -> None:
    folder = open_workspace(aligned).models(TASK) / ".tuning"
    command = [sys.executable, "-m", "serve.cli", *words(aligned, "--trials", 2, "--encoders", "off")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 120
        while not list(folder.glob("encoders/labs-*")) and time.monotonic() < until:
            assert process.poll() is None, process.stderr
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("encoders/record-*/*")}
    assert kept
    ran = telltale(*words(aligned, "--trials", 2, "--encoders", "off"))
    assert (ran.code, ran.err) == (0, "")
    assert "The best 2 of 2 trials" in ran.out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not trained again


def test_train_without_a_search_is_told_what_to_do(telltale: Callable[..., Any], aligned: Path) -> None:
    ran = telltale("train", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--tuned")
    assert ran.code == 1
    assert ran.err.endswith("best.yaml: expected what tuning found, got no such file; run `telltale tune` first\n")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--fusions", "sum,magic"), "--fusions: expected some of attention, "),
        (("--fusions", " , "), "got none"),
    ],
)
def test_a_wrong_option_is_told(
    telltale: Callable[..., Any], aligned: Path, more: tuple[str, ...], message: str
) -> None:
    ran = telltale(*words(aligned, *more))
    assert ran.code == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_without_the_extra_it_is_named(
    telltale: Callable[..., Any], aligned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    ran = telltale(*words(aligned))
    assert (ran.code, ran.err) == (1, "telltale: tuning needs the extra: pip install 'telltale[tune]'\n")


def test_a_full_disk_is_told_in_one_line(telltale: Callable[..., Any], aligned: Path) -> None:
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, *words(aligned, "--trials", 1, "--encoders", "off")],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert full.returncode == 1
    assert len(full.stderr.splitlines()) == 1, full.stderr
    assert re.search(r"study\.db: expected a study, got .*; make room, or remove it to tune anew$", full.stderr)
    (open_workspace(aligned).models(TASK) / ".tuning" / "study.db").unlink()
    assert telltale(*words(aligned, "--trials", 1, "--encoders", "off")).code == 0
