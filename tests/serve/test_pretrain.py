"""`telltale pretrain`, and `telltale train --pretrained`, on a cohort that is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.workspace import open_workspace
from models import store

TASK = "deterioration-small"


def test_pretrain_then_train_from_it(telltale: Callable[..., Any], aligned: Path) -> None:
    where = ("--task", aligned.parent / "task.yaml", "--workspace", aligned)
    models = open_workspace(aligned).models(TASK)
    ran = telltale("pretrain", *where, "--streams", "record, labs", "--epochs", 2, "--seed", 1)
    assert (ran.code, ran.err) == (0, "")
    assert "masked-0001: " in ran.out
    assert "2 epochs, no outcome looked at" in ran.out
    assert f"telltale train --task {aligned.parent / 'task.yaml'} --pretrained masked-0001" in ran.out
    folder = models / ".pretrained" / "masked-0001"
    assert sorted(path.name for path in folder.iterdir()) == [
        "labs.safetensors", "manifest.json", "pretrained.json", "record.safetensors"
    ]  # fmt: skip
    assert json.loads((folder / "pretrained.json").read_text())["seed"] == 1
    assert not list((models / ".runs").glob("*"))

    trained = telltale("train", *where, "--pretrained", "masked-0001")
    assert (trained.code, trained.err) == (0, "")
    assert store.versions(models) == ["v0001"]
    note = store.read_facts(models / "v0001")["note"]
    assert note == "Began with masked-0001: encoders of record, labs, trained without labels."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pretrain", "--method", "guess"), "expected one of masked, contrastive, adversarial, got 'guess'"),
        (("pretrain", "--name", "A b"), "name 'A b': expected small letters"),
        (("pretrain", "--streams", "chart"), "streams ['chart']: expected some of record"),
        (
            ("pretrain", "--method", "adversarial", "--streams", "notes"),
            "stream notes: expected a stream of kind image",
        ),
        (("train", "--pretrained", "masked-0007"), "pretrained 'masked-0007': expected one of those kept"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_1(
    telltale: Callable[..., Any], aligned: Path, words: tuple[str, ...], said: str
) -> None:
    ran = telltale(*words, "--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_name_is_never_used_twice_and_found_out_before_the_work(telltale: Callable[..., Any], aligned: Path) -> None:
    words = ("pretrain", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--streams", "record",
             "--epochs", 1, "--name", "mine")  # fmt: skip
    assert telltale(*words).code == 0
    again = telltale(*words)
    assert again.code == 1
    assert "this name is taken" in again.err


def test_encoders_of_a_task_that_has_changed_since_are_refused(telltale: Callable[..., Any], aligned: Path) -> None:
    where = ("--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert telltale("pretrain", *where, "--streams", "record", "--epochs", 1).code == 0
    path = open_workspace(aligned).cohort(TASK) / "task.json"
    task = json.loads(path.read_text())
    task["model"]["width"] = 24
    path.write_text(json.dumps(task))
    ran = telltale("train", *where, "--pretrained", "masked-0001")
    assert ran.code == 1
    assert "stream record, width: expected 24, as the task has it, got 16; run `telltale pretrain` again" in ran.err
