"""What the documentation says to type works, and what it points to is there."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from functools import cache
from pathlib import Path

import pytest
import yaml

from ingest.task import parse_task

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = ["demo", "ingest", "tasks", "align", "pretrain", "train", "evaluate", "score", "explain", "dashboard",
         "retrain", "models", "vocabulary", "deidentify", "trace", "stale", "subjects", "export-meds", "validate",
         "audit", "tune", "draft"]  # fmt: skip
GROUPS = ("demo", "models", "subjects")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MY_TASK = """
name: my-task
title: ICU transfer or death within 48 h
index: {event: ENCOUNTER//IMP//START, offset_hours: 24}
exclude:
  - {name: in the ICU before the index time, codes: [LOCATION//ICU]}
target: {events: [LOCATION//ICU, MEDS_DEATH], horizon_hours: 48}
streams:
  record:
    kind: table
    features:
      - {name: age, derive: age, unit: a}
      - {name: heart failure, codes: [SNOMED//84114007], reduce: any}
  labs:
    kind: series
    window_hours: 48
    channels:
      - {name: C-reactive protein, codes: [LOINC//1988-5], unit: mg/L}
      - {name: lactate, codes: [LOINC//2524-7], unit: mmol/L}
split: {stratify: true}
model: {width: 16, members: 2, fusion: {heads: 2}, training: {alone_epochs: 3, epochs: 2}}
"""


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands() -> list[tuple[str, str]]:
    """(page, line) of everything to be typed, with continued lines joined."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    return found


def telltale(*words: str) -> list[str]:
    return [sys.executable, "-m", "serve.cli", *words]


@cache
def help_of(*verb: str) -> str:
    ended = subprocess.run(
        telltale(*verb, "--help"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert ended.returncode == 0, (verb, ended.stderr)
    return ended.stdout


def test_there_is_something_to_test() -> None:
    assert len(PAGES) >= 4
    assert sum(line.startswith("telltale ") for _, line in commands()) >= 7


@pytest.mark.parametrize(("page", "line"), [c for c in commands() if c[1].startswith("telltale ")])
def test_every_command_of_the_documentation_is_one_that_there_is(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    verb = tuple(words[: 2 if words[0] in GROUPS else 1])
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(*verb)))
    used = {word.split("=")[0] for word in words if word.startswith("-")}
    assert used <= known, f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), [c for c in commands() if c[1].startswith("make ")])
def test_every_make_target_of_the_documentation_is_one_that_there_is(page: str, line: str) -> None:
    targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(shlex.split(line, comments=True)[1:]) <= set(targets), page


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_documentation(verb: str) -> None:
    assert any(re.search(rf"telltale {verb}\b", page.read_text(encoding="utf-8")) for page in PAGES), verb


def test_the_verbs_are_all_that_there_are() -> None:
    listed = [line.split()[0] for line in help_of().split("Commands:")[1].splitlines() if line.strip()]
    assert sorted(listed) == sorted(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_task_in_the_documentation_is_a_task(page: Path) -> None:
    for block in blocks(page, "yaml"):
        raw = yaml.safe_load(block)
        if isinstance(raw, dict) and {"name", "streams"} <= raw.keys():
            parse_task(raw, page.name)


def test_the_page_on_tasks_holds_a_task() -> None:
    raw = [yaml.safe_load(block) for block in blocks(ROOT / "docs" / "tasks.md", "yaml")]
    assert any({"name", "streams"} <= part.keys() for part in raw)


@pytest.mark.slow
def test_the_readmes_own_data_commands_work_one_after_another(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Bring your own data")[1]
    lines = [line for line in BLOCK.findall(text)[0][1].splitlines() if line.strip()]
    assert [shlex.split(line)[1] for line in lines] == [
        "ingest", "align", "train", "evaluate", "score", "explain", "dashboard"
    ]  # fmt: skip
    (tmp_path / "my-task.yaml").write_text(MY_TASK)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    delivery = tmp_path / "path" / "to" / "delivery"
    make = ("demo", "make", str(delivery), "--patients", "150", "--seed", "3")
    subprocess.run(telltale(*make), cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)
    for line in lines[:-1]:
        ended = subprocess.run(
            telltale(*shlex.split(line)[1:]), cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False, timeout=600,
        )  # fmt: skip
        assert ended.returncode == 0, (line, ended.stderr)
        assert ended.stderr == "", line
        assert ended.stdout, line
    workspace = tmp_path / "my-workspace"
    assert (workspace / "scores" / "my-task" / "v0001.csv").is_file()
    assert (workspace / "reports" / "my-task" / "v0001.html").is_file()
    assert list((workspace / "explanations" / "my-task" / "v0001").glob("*.json"))
    port = free_port()
    words = [*shlex.split(lines[-1])[1:], "--port", str(port), "--headless"]
    with subprocess.Popen(
        telltale(*words), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert answers(port, seconds=60)
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def answers(port: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5) as reply:
                return bool(reply.read() == b"ok")
        except OSError:
            time.sleep(0.5)
    return False
