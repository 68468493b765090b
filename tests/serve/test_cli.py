"""The command line as a process: quick to help, and importing no more than it needs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve import cli
from serve.options import built_in_tasks

HEAVY = ("torch", "monai", "shap", "streamlit", "pandas", "sklearn", "scipy", "pyarrow", "transformers", "matplotlib")
VERBS = ("demo", "ingest", "tasks", "align", "train", "evaluate", "score", "explain", "dashboard", "retrain", "models")


def test_help_lists_every_command(telltale_process: Callable[..., Any]) -> None:
    ran = telltale_process("--help")
    assert ran.code == 0
    listed = {line.split()[0] for line in ran.out.split("Commands:")[1].splitlines() if line.strip()}
    assert listed >= set(VERBS)


def test_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import json, sys, serve.cli; print(json.dumps(sorted(sys.modules)))"
    root = Path(cli.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(json.loads(ended.stdout))
    assert "serve.cli" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_a_help_that_says_what_it_does(telltale: Callable[..., Any], verb: str) -> None:
    ran = telltale(verb, "--help")
    assert ran.code == 0
    assert "Usage:" in ran.out
    assert ran.err == ""


def test_no_command_at_all_shows_the_help(telltale: Callable[..., Any]) -> None:
    ran = telltale()
    assert "Commands:" in ran.out + ran.err


def test_the_built_in_tasks_are_listed(telltale_process: Callable[..., Any], tmp_path: Path) -> None:
    ran = telltale_process("tasks", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert built_in_tasks()
    for name in built_in_tasks():
        assert name in ran.out


def test_the_workspace_may_come_from_the_environment(telltale_process: Callable[..., Any], tmp_path: Path) -> None:
    ran = telltale_process("models", "list", "--task", "deterioration", env={"TELLTALE_WORKSPACE": str(tmp_path)})
    assert ran.code == 1
    assert ran.err.startswith(f"telltale: {tmp_path}: expected a workspace")


def test_a_ward_is_made_and_a_foreign_folder_is_left_alone(telltale: Callable[..., Any], tmp_path: Path) -> None:
    ran = telltale("demo", "make", tmp_path / "ward", "--patients", 3, "--seed", 7)
    assert ran.code == 0, ran.err
    assert "3 patients" in ran.out
    assert (tmp_path / "ward" / "fhir" / "Patient.ndjson").read_text().count("\n") == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    ran = telltale("demo", "make", tmp_path / "mine", "--patients", 3)
    assert (ran.code, [p.name for p in (tmp_path / "mine").iterdir()]) == (1, ["thesis.txt"])
    assert "thesis.txt" in ran.err


def test_a_demo_does_not_run_over_what_is_no_demo(telltale: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "thesis.txt").write_text("x")
    ran = telltale("demo", "run", tmp_path, "--patients", 3)
    assert ran.code == 1
    assert "expected a former demo or nothing" in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["workspace"]
