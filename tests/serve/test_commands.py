"""The commands one after another, on small data: what each says, writes, and leaves alone."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from explain.explanation import Explanation
from ingest.cohort import open_cohort
from ingest.workspace import open_workspace
from models import aliases, retrain, store

TASK = "deterioration-small"


@pytest.fixture
def task(aligned: Path) -> Path:
    return aligned.parent / "task.yaml"


def ok(ran: Any) -> Any:
    assert ran.code == 0, ran
    assert ran.err == ""
    return ran


def test_train_score_evaluate_and_show(telltale: Callable[..., Any], aligned: Path, task: Path) -> None:
    where = ("--workspace", aligned)
    workspace = open_workspace(aligned)
    trained = ok(telltale("train", "--task", task, *where, "--seed", 3))
    assert "v0001 is the champion of deterioration-small" in trained.out
    assert not (workspace.models(TASK) / ".runs" / "v0001").exists()
    second = ok(telltale("train", "--task", task, *where, "--fusion", "concat", "--epochs", 1))
    assert "champion" not in second.out
    assert store.load(workspace.models(TASK) / "v0002").config.fusion.kind == "concat"
    assert aliases.champion(workspace.database, TASK) == "v0001"

    scored = ok(telltale("score", "--cohort", TASK, *where))
    assert "100 cases scored by v0001" in scored.out
    frame = pd.read_parquet(workspace.scores(TASK) / "v0001.parquet")
    assert len(frame) == 100
    assert set(frame["model_version"]) == {"v0001"}
    ok(telltale("score", "--cohort", workspace.cohort(TASK), *where, "--split", "test", "--out", aligned / "mine"))
    assert set(pd.read_csv(aligned / "mine" / "v0001.csv")["split"]) == {"test"}

    evaluated = ok(telltale("evaluate", "--task", task, *where, "--no-alone"))
    assert "v0001, test split" in evaluated.out
    facts = store.read_facts(workspace.models(TASK) / "v0001")
    assert facts["metrics"]["n"] == len(open_cohort(workspace.cohort(TASK)).rows("test"))
    assert (workspace.reports(TASK) / "v0001.html").is_file()
    assert json.loads((workspace.reports(TASK) / "v0001.json").read_text()) == facts["metrics"]
    store.load(workspace.models(TASK) / "v0001")  # still whole

    listed = ok(telltale("models", "list", "--task", task, *where)).out
    assert re.search(r"v0001 \(champion\) .* 0\.\d{3}", listed)
    assert re.search(r"v0002 .*not evaluated", listed)
    card = ok(telltale("models", "show", "v0001", "--task", task, *where)).out
    assert "| auroc |" in card
    ok(telltale("models", "promote", "v0002", "--task", task, *where, "--reason", "to try it"))
    assert aliases.history(workspace.database, TASK)[-1].reason == "to try it"
    assert "v0001 is the champion" in ok(telltale("models", "rollback", "--task", task, *where)).out


def test_one_stream_can_be_trained_by_name_and_is_no_champion(
    telltale: Callable[..., Any], aligned: Path, task: Path
) -> None:
    ran = ok(telltale("train", "--task", task, "--workspace", aligned, "--streams", " labs "))
    assert "champion" not in ran.out
    workspace = open_workspace(aligned)
    assert store.load(workspace.models(TASK) / "v0001").stream_names == ["labs"]
    assert aliases.history(workspace.database, TASK) == []


def test_explanations_of_chosen_cases_add_up_to_their_scores(
    telltale: Callable[..., Any], aligned: Path, task: Path
) -> None:
    where = ("--workspace", aligned)
    workspace = open_workspace(aligned)
    ok(telltale("train", "--task", task, *where))
    ok(telltale("score", "--cohort", TASK, *where))
    scores = pd.read_parquet(workspace.scores(TASK) / "v0001.parquet").set_index("case_id")
    chosen = list(scores.index[:2])
    ran = ok(telltale("explain", "--task", task, *where, "--case", chosen[0], "--case", chosen[1],
                      "--permutations", 2))  # fmt: skip
    assert "2 cases explained by stream, 2 of them by element" in ran.out
    assert "0 withheld" in ran.out
    for case in chosen:
        raw = json.loads((workspace.explanations(TASK, "v0001") / f"{case}.json").read_text())
        explanation = Explanation.from_json(raw)
        assert explanation.logit == pytest.approx(scores.loc[case, "logit"], abs=1e-4)
    ran = ok(telltale("explain", "--task", task, *where, "--top", 0, "--split", "test"))
    test_cases = len(open_cohort(workspace.cohort(TASK)).rows("test"))
    assert f"{test_cases} cases explained by stream, 0 of them by element" in ran.out
    ran = telltale("explain", "--task", task, *where, "--case", "nobody-0")
    assert (ran.code, ran.err) == (1, "telltale: case nobody-0: no such case in the cohort of deterioration-small\n")


def test_an_altered_model_is_never_used(telltale: Callable[..., Any], aligned: Path, task: Path) -> None:
    ok(telltale("train", "--task", task, "--workspace", aligned))
    weights = open_workspace(aligned).models(TASK) / "v0001" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for words in (("score", "--cohort", TASK), ("evaluate", "--task", task), ("explain", "--task", task),
                  ("models", "promote", "v0001", "--task", task)):  # fmt: skip
        ran = telltale(*words, "--workspace", aligned)
        assert ran.code == 1
        assert "model.safetensors: expected SHA-256" in ran.err
    assert not open_workspace(aligned).scores(TASK).exists()


def test_a_model_does_not_explain_or_score_a_cohort_that_means_something_else(
    telltale: Callable[..., Any], aligned: Path, task: Path
) -> None:
    ok(telltale("train", "--task", task, "--workspace", aligned))
    statistics = open_workspace(aligned).cohort(TASK) / "statistics.json"
    statistics.write_text(statistics.read_text().replace('"mmol/L"', '"mg/dL"'))
    for words in (("score", "--cohort", TASK), ("evaluate", "--task", task), ("explain", "--task", task)):
        ran = telltale(*words, "--workspace", aligned)
        assert ran.code == 1
        assert "stream labs, units: expected" in ran.err


def test_a_test_split_without_events_is_refused_with_the_counts_and_nothing_is_trained_for_it(
    telltale: Callable[..., Any], aligned: Path, task: Path
) -> None:
    workspace = open_workspace(aligned)
    for path in workspace.cohort(TASK).glob("shards/*/index.parquet"):
        index = pd.read_parquet(path)
        index.loc[index["split"] == "test", "target"] = np.float32(0)
        index.to_parquet(path)
    ok(telltale("train", "--task", task, "--workspace", aligned, "--streams", "record,labs"))
    aliases.set_alias(workspace.database, TASK, "v0001", "by hand")
    shutil.rmtree(store.alone_folder(workspace.models(TASK), "v0001"), ignore_errors=True)
    ran = telltale("evaluate", "--task", task, "--workspace", aligned)
    cases = len(open_cohort(workspace.cohort(TASK)).rows("test"))
    assert ran.code == 1
    assert ran.err == f"telltale: evaluation needs both classes: 0 events in {cases} cases of the test split\n"
    assert not workspace.reports(TASK).exists()
    assert not store.alone_folder(workspace.models(TASK), "v0001").exists()


@pytest.fixture
def served(telltale: Callable[..., Any], delivery: Path, tmp_path: Path) -> Path:
    """A workspace of a small delivery with a champion."""
    workspace, task = tmp_path / "ws", tmp_path / "task.yaml"
    ok(telltale("ingest", delivery, "-w", workspace, "--mapping", tmp_path / "mapping.yaml"))
    aligned = ok(telltale("align", "-t", task, "-w", workspace))
    assert "160 cases" in aligned.out
    ok(telltale("train", "-t", task, "-w", workspace, "--epochs", 1))
    return workspace


def test_new_data_grow_a_challenger_behind_the_gate(
    telltale: Callable[..., Any], served: Path, more: Callable[[range], Path], tmp_path: Path
) -> None:
    workspace = open_workspace(served)
    before = open_cohort(workspace.cohort("icu")).index.set_index("case_id")["split"]
    words = ("retrain", "-t", tmp_path / "task.yaml", "-w", served, "--mapping", tmp_path / "mapping.yaml")
    ran = ok(telltale(*words, "--with", more(range(160, 220))))
    assert "60 cases" in ran.out
    for measure in ("auroc", "log_loss", "brier"):
        assert re.search(rf"^ *{measure} .* (not )?worse *$", ran.out, re.MULTILINE), ran.out
    promoted = re.search(r"^(not )?promoted: (v0002 is .*)$", ran.out, re.MULTILINE)
    assert promoted is not None
    history = aliases.history(workspace.database, "icu")
    assert [change.version for change in history] == (["v0001"] if promoted[1] else ["v0001", "v0002"])
    facts = store.read_facts(workspace.models("icu") / "v0002")
    assert (facts["parent"], facts["note"]) == ("v0001", promoted[2])
    index = open_cohort(workspace.cohort("icu")).index.set_index("case_id")
    assert len(index) == 220
    assert index.loc[before.index, "split"].equals(before)  # nobody changes their split
    again = ok(telltale(*words, "--with", tmp_path / "delivery-160"))
    assert "no new case: no challenger is trained, the champion stays" in again.out
    assert store.versions(workspace.models("icu")) == ["v0001", "v0002"]


def test_a_retrain_killed_while_training_is_made_good_by_the_same_command(
    telltale: Callable[..., Any], served: Path, more: Callable[[range], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    workspace = open_workspace(served)
    words = ("retrain", "-t", tmp_path / "task.yaml", "-w", served, "--mapping", tmp_path / "mapping.yaml",
             "--with", more(range(160, 220)))  # fmt: skip

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "train", killed)
        assert telltale(*words).code == 130
    assert store.versions(workspace.models("icu")) == ["v0001"]
    ran = ok(telltale(*words))
    assert "promoted: v0002" in ran.out
    assert store.versions(workspace.models("icu")) == ["v0001", "v0002"]
    assert "no new case" in ok(telltale(*words)).out


def test_refused_records_in_new_data_are_exit_2_after_the_gate(
    telltale: Callable[..., Any], served: Path, more: Callable[[range], Path], tmp_path: Path
) -> None:
    delivery = more(range(160, 200))
    with (delivery / "labs.csv").open("a") as file:
        file.write("P161,2024-03-02T07:30:00Z,high\n")
    ran = telltale("retrain", "-t", tmp_path / "task.yaml", "-w", served, "--mapping", tmp_path / "mapping.yaml",
                   "--with", delivery)  # fmt: skip
    assert (ran.code, ran.err) == (2, "")
    assert "promoted: v0002" in ran.out
