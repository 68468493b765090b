"""Every failure is one line on standard error, with its exit code, nothing half-written and nobody's name in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.errors import TaskError
from models.fusions import FUSIONS
from models.network import LATE
from serve import cli, options

CANARY = "Ophelia Canary 1957-03-14"


def one_line(ran: Any) -> str:
    assert ran.code == 1, ran
    lines = str(ran.err).splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("telltale: ")
    assert "Traceback" not in ran.err + ran.out
    return lines[0]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of writing; the database's own journal files apart."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("app.db")
    }


def test_a_missing_source_is_told_and_no_workspace_is_made(telltale: Callable[..., Any], tmp_path: Path) -> None:
    said = one_line(telltale("ingest", tmp_path / "nowhere", "--workspace", tmp_path / "ws"))
    assert "nowhere: expected a file or a folder, got nothing of that name" in said
    assert not (tmp_path / "ws").exists()


def test_an_empty_folder_is_told_and_no_workspace_is_made(telltale: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = one_line(telltale("ingest", tmp_path / "empty", "--workspace", tmp_path / "ws"))
    assert "expected at least one file" in said
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mapping", "no-such-mapping"), "mapping 'no-such-mapping': expected a mapping file's path or one of"),
        (("--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("--key", "no-such-key"), "no-such-key: expected a file with a secret, got no such file"),
    ],
)
def test_a_wrong_option_of_ingest_is_told_and_no_workspace_is_made(
    telltale: Callable[..., Any], delivery: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in one_line(telltale("ingest", delivery, "--workspace", tmp_path / "ws", *words))
    assert not (tmp_path / "ws").exists()


def test_an_unknown_column_in_a_mapping_is_told_with_file_and_column(
    telltale: Callable[..., Any], delivery: Path, tmp_path: Path
) -> None:
    mapping = yaml.safe_load((tmp_path / "mapping.yaml").read_text())
    mapping["files"][-1]["columns"][0]["column"] = "valeu"
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    workspace = tmp_path / "ws"
    said = one_line(telltale("ingest", delivery, "--workspace", workspace, "--mapping", tmp_path / "mapping.yaml"))
    assert "labs.csv" in said
    assert "valeu" in said
    assert not list(workspace.glob("observations/*"))
    assert not list(workspace.glob("ingests/*.json"))


def test_a_misspelt_key_in_a_mapping_is_told(telltale: Callable[..., Any], delivery: Path, tmp_path: Path) -> None:
    mapping = yaml.safe_load((tmp_path / "mapping.yaml").read_text())
    mapping["files"][0]["subjekt"] = "who"
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    said = one_line(
        telltale("ingest", delivery, "--workspace", tmp_path / "ws", "--mapping", tmp_path / "mapping.yaml")
    )
    assert "mapping.yaml" in said
    assert "subjekt" in said
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize("verb", ["align", "train", "evaluate", "explain", "retrain"])
def test_an_unknown_task_is_told_with_the_known_ones(
    telltale: Callable[..., Any], aligned: Path, delivery: Path, verb: str
) -> None:
    words = ("--with", delivery) if verb == "retrain" else ()
    before = snapshot(aligned)
    said = one_line(telltale(verb, "--task", "deterioraton", "--workspace", aligned, *words))
    assert said == (
        f"telltale: task 'deterioraton': expected a task file's path or one of {', '.join(options.built_in_tasks())}"
    )
    assert snapshot(aligned) == before


def test_a_task_file_with_a_misspelt_key_is_told_with_the_key(
    telltale: Callable[..., Any], aligned: Path, tmp_path: Path
) -> None:
    task = yaml.safe_load((tmp_path / "task.yaml").read_text())
    task["streams"]["labs"]["chanels"] = task["streams"]["labs"].pop("channels")
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    before = snapshot(aligned)
    said = one_line(telltale("align", "--task", tmp_path / "task.yaml", "--workspace", aligned))
    assert "task.yaml, streams.labs.series.c" in said
    assert snapshot(aligned) == before


def test_a_task_file_that_is_no_yaml_or_no_file_is_told(
    telltale: Callable[..., Any], aligned: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("name: [unclosed\nstreams:\n")
    assert "broken.yaml: expected YAML" in one_line(telltale("align", "-t", tmp_path / "broken.yaml", "-w", aligned))
    assert "gone.yaml: no such task file" in one_line(telltale("align", "-t", tmp_path / "gone.yaml", "-w", aligned))


def test_a_task_of_a_stream_that_no_source_provides_is_told(
    telltale: Callable[..., Any], delivery: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    assert telltale("ingest", delivery, "-w", workspace, "--mapping", tmp_path / "mapping.yaml").code == 0
    task = yaml.safe_load((tmp_path / "task.yaml").read_text())
    task["streams"]["xray"] = {"kind": "image", "codes": ["DICOM//DX"]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    said = one_line(telltale("align", "-t", tmp_path / "task.yaml", "-w", workspace))
    assert "xray" in said
    assert "DICOM//DX" in said
    assert not list((workspace / "cohorts").glob("*/task.json"))


@pytest.mark.parametrize(
    "words",
    [
        ("align", "--task", "deterioration"),
        ("train", "--task", "deterioration"),
        ("evaluate", "--task", "deterioration"),
        ("score", "--cohort", "deterioration"),
        ("explain", "--task", "deterioration"),
        ("retrain", "--task", "deterioration", "--with", "."),
        ("models", "list", "--task", "deterioration"),
        ("models", "show", "v0001", "--task", "deterioration"),
        ("models", "promote", "v0001", "--task", "deterioration"),
        ("models", "rollback", "--task", "deterioration"),
        ("dashboard",),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_without_a_workspace_every_command_says_so_and_makes_none(
    telltale: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = one_line(telltale(*words, "--workspace", tmp_path / "ws"))
    assert "ws: expected a workspace, found none; `telltale ingest` makes one" in said
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--task", "deterioration"), "expected an aligned cohort, found none; run `telltale align` first"),
        (("train", "--task", "TASK", "--streams", "labs,mri"), "streams ['mri']: expected some of record, vitals"),
        (
            ("train", "--task", "TASK", "--fusion", "mean"),
            "fusion: expected one of " + ", ".join([*FUSIONS, *LATE]) + ", got 'mean'",
        ),
        (("evaluate", "--task", "TASK"), "expected a champion, found none; run `telltale train"),
        (("score", "--cohort", "TASK"), "expected a champion, found none"),
        (("score", "--cohort", "deterioration-small", "--version", "v7"), "version 'v7': expected one of the versions"),
        (("explain", "--task", "TASK"), "expected a champion, found none"),
        (("retrain", "--task", "TASK", "--with", "."), "expected a champion, found none"),
        (("models", "show", "v0003", "--task", "TASK"), "version 'v0003': expected one of the versions"),
        (("models", "rollback", "--task", "TASK"), "expected an earlier champion to go back to, found none"),
    ],
)
def test_what_is_not_there_yet_is_told_with_the_way_to_it(
    telltale: Callable[..., Any], aligned: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    before = snapshot(aligned)
    given = [tmp_path / "task.yaml" if word == "TASK" else word for word in words]
    if words[0] == "score" and words[2] == "TASK":
        given[2] = "deterioration-small"
    assert message in one_line(telltale(*given, "--workspace", aligned))
    assert snapshot(aligned) == before


@pytest.mark.parametrize(
    "words", [("frobnicate",), ("train",), ("train", "--tusk", "x"), ("ingest",), ("demo", "make"), ("models", "show")]
)
def test_a_usage_error_is_exit_1_since_2_means_refused_records(
    telltale: Callable[..., Any], words: tuple[str, ...]
) -> None:
    ran = telltale(*words)
    assert ran.code == 1
    assert "Traceback" not in ran.err


def test_refused_records_are_exit_2_and_the_rest_is_used(
    telltale: Callable[..., Any], delivery: Path, tmp_path: Path
) -> None:
    with (delivery / "labs.csv").open("a") as file:
        file.write(f"P1,2024-03-02T07:30:00Z,{CANARY}\n")
    workspace = tmp_path / "ws"
    ran = telltale("ingest", delivery, "-w", workspace, "--mapping", tmp_path / "mapping.yaml")
    assert ran.code == 2
    assert "+ refused 1 +" in ran.out
    assert "row 481, value" in ran.out
    assert "Ophelia" not in ran.out + ran.err
    assert telltale("align", "-t", tmp_path / "task.yaml", "-w", workspace).code == 0


def test_a_delivery_of_no_known_kind_is_exit_1_and_one_that_is_known_is_not(
    telltale: Callable[..., Any], delivery: Path, tmp_path: Path
) -> None:
    words = ("ingest", delivery, "-w", tmp_path / "ws")
    for _ in range(2):
        ran = telltale(*words)
        assert ran.code == 1
        assert "in 3 = used 0 + refused 0 + skipped 3" in ran.out
        assert ran.err == (
            "telltale: SOURCES: expected a file of a known kind, or a mapping that names it, "
            "got table that no mapping names: .csv\n"
        )
    for _ in range(2):
        assert telltale(*words, "--mapping", tmp_path / "mapping.yaml").code == 0
    (delivery / "fhir").mkdir()
    (delivery / "fhir" / "p.json").write_text('{"resourceType": "Practitioner", "id": "1"}')
    assert telltale("ingest", delivery / "fhir", "-w", tmp_path / "other").code == 0


def test_an_unexpected_exception_shows_no_traceback_and_nobodys_name(
    telltale: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError(CANARY)

    monkeypatch.delenv("TELLTALE_DEBUG", raising=False)
    monkeypatch.setattr(options, "built_in_tasks", broken)
    said = one_line(telltale("tasks"))
    assert said == "telltale: unexpected KeyError: a defect of Telltale; TELLTALE_DEBUG=1 shows where"
    monkeypatch.setenv("TELLTALE_DEBUG", "1")
    with pytest.raises(KeyError):
        telltale("tasks")


def test_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    """The interpreter's own hook must not print what main() kept back."""
    code = (
        "import sys, serve.options\n"
        f"def broken(): raise RuntimeError({CANARY!r})\n"
        "serve.options.built_in_tasks = broken\n"
        "sys.argv = ['telltale', 'tasks']\n"
        "from serve.cli import main\n"
        "main()\n"
    )
    root = Path(cli.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root), "TELLTALE_DEBUG": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("telltale: unexpected RuntimeError")
    assert len(ended.stderr.splitlines()) == 1
    assert "Ophelia" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_disk_error_names_the_file_and_what_is_wrong(
    telltale: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "scores.parquet")

    monkeypatch.setattr(options, "built_in_tasks", full)
    assert one_line(telltale("tasks")).startswith("telltale: no room is left on the disk for scores.parquet;")


def test_an_error_of_several_lines_is_told_in_one(
    telltale: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wordy() -> None:
        raise TaskError("one\n  two\tthree")

    monkeypatch.setattr(options, "built_in_tasks", wordy)
    assert one_line(telltale("tasks")) == "telltale: one two three"


def test_ctrl_c_says_that_it_can_go_on(tmp_path: Path) -> None:
    code = (
        "import sys, time, serve.options\n"
        "def slow(): print('ready', flush=True); time.sleep(60)\n"
        "serve.options.built_in_tasks = slow\n"
        "sys.argv = ['telltale', 'tasks']\n"
        "from serve.cli import main\n"
        "main()\n"
    )
    root = Path(cli.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "telltale: stopped; what was finished is kept, run the same command to go on\n"
