"""A result is corrected after it was scored: the score is stale until made again; the old explanation is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ingest.cohort import open_cohort
from ingest.stale import changed_cases, stale_cases, superseded
from ingest.workspace import open_workspace

TINY = {"width": 16, "members": 2, "fusion": {"heads": 2}, "training": {"alone_epochs": 1, "epochs": 1}}


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """160 patients with two labs each, which are known again by their number; mapping.yaml, task.yaml beside them."""
    folder = tmp_path / "delivery"
    folder.mkdir()
    stays, icu, labs = ["who,at,event"], ["who,at,event"], ["number,who,at,value"]
    for patient in range(160):
        rng = np.random.default_rng(patient)
        ill, day = rng.normal(), f"2024-03-{1 + patient % 28:02d}"
        stays.append(f"P{patient},{day}T08:00:00Z,IN")
        if rng.random() < 1 / (1 + np.exp(-2.5 * ill)):
            icu.append(f"P{patient},{day}T20:00:00Z,ICU")
        labs += [f"{patient}-{hour},P{patient},{day}T0{hour}:00:00Z,{100 + 20 * ill:.2f}" for hour in (5, 6)]
    for name, lines in (("stays", stays), ("icu", icu), ("labs", labs)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    common = {"subject": {"column": "who", "issuer": "ward"}, "time": {"column": "at"}}
    lab = {"code": "CRP", "column": "value", "kind": "numeric", "unit": "mg/L"}
    mapping = {
        "files": [
            {"path": "stays.csv", **common, "columns": [{"code": "IN", "column": "event"}]},
            {"path": "icu.csv", **common, "columns": [{"code": "ICU", "column": "event"}]},
            {"path": "labs.csv", **common, "key": ["number"], "columns": [lab]},
        ]
    }
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
    channel = {"name": "CRP", "codes": ["CRP"], "unit": "mg/L"}
    task = {
        "name": "icu",
        "title": "ICU within 24 h",
        "index": {"event": "IN"},
        "target": {"events": ["ICU"], "horizon_hours": 24},
        "streams": {
            "labs": {"kind": "series", "channels": [channel]},
            "record": {"kind": "table", "features": [{**channel, "reduce": "max"}]},
        },
        "split": {"stratify": True},
        "model": TINY,
    }
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    return folder


def correct(folder: Path, number: str, value: float) -> Path:
    """A later delivery that says another value of one lab."""
    folder.mkdir()
    patient = int(number.split("-")[0])
    row = f"{number},P{patient},2024-03-{1 + patient % 28:02d}T0{number[-1]}:00:00Z,{value}"
    (folder / "labs.csv").write_text(f"number,who,at,value\n{row}\n")
    return folder


@pytest.mark.slow
def test_a_corrected_result_makes_its_score_stale_until_it_is_scored_again(
    ward: Path, telltale: Callable[..., Any], tmp_path: Path
) -> None:
    """FAULTS 14: the case is scored again, and the old explanation is kept as superseded."""
    where = ("--workspace", tmp_path / "ws")
    task = ("--task", tmp_path / "task.yaml")
    mapping = ("--mapping", tmp_path / "mapping.yaml")

    def run(*words: object) -> str:
        ran = telltale(*words)
        assert ran.code == 0, ran.err
        return str(ran.out)

    run("ingest", ward, *where, *mapping)
    run("align", *task, *where)
    run("train", "--epochs", 1, *task, *where)
    run("score", "--cohort", "icu", *where)
    run("explain", "--split", "test", *task, *where)
    workspace = open_workspace(tmp_path / "ws")
    before = open_cohort(workspace.cohort("icu"))
    scores = workspace.scores("icu") / "v0001.parquet"
    assert json.loads(run("stale", *task, *where, "--json")) == {"cases": {}, "scores": {}}
    assert changed_cases(workspace, "icu") == {}

    patient, case_id = of_the_test_split(run, before, task, where)
    run("ingest", correct(tmp_path / "later", f"{patient}-6", 7.5), *where, *mapping)
    said = stale_cases(workspace, "icu")
    assert list(said) == [case_id]
    assert said[case_id].startswith("rests on delivery/labs.csv@")
    assert "corrected" in said[case_id]
    assert list(changed_cases(workspace, "icu")) == [case_id]
    found = json.loads(run("stale", *task, *where, "--json"))
    assert list(found["cases"]) == list(found["scores"]) == [case_id]
    assert "1 cases of the cohort and 1 scores no longer stand" in run("stale", *task, *where)

    run("align", *task, *where)
    after = open_cohort(workspace.cohort("icu"))
    changed = before.index["inputs"].to_numpy() != after.index["inputs"].to_numpy()
    assert before.index["case_id"][changed].tolist() == [case_id], "only the digest of what was corrected changes"
    assert before.index["split"].tolist() == after.index["split"].tolist()
    found = json.loads(run("stale", *task, *where, "--json"))
    assert found == {"cases": {}, "scores": {case_id: "what it was scored on has changed since: score again"}}

    run("score", "--cohort", "icu", *where)
    assert json.loads(run("stale", *task, *where, "--json")) == {"cases": {}, "scores": {}}
    assert not superseded(pd.read_parquet(scores), after).any()

    folder = workspace.explanations("icu", "v0001")
    old = (folder / f"{case_id}.json").read_bytes()
    run("explain", *task, *where, "--split", "test", "--top", 0)
    kept = list((folder / "superseded").glob(f"{case_id}-*.json"))
    assert [path.read_bytes() for path in kept] == [old]
    assert json.loads((folder / f"{case_id}.json").read_bytes())["inputs"] == after.inputs(
        int(np.flatnonzero(changed)[0])
    )
    assert len(list((folder / "superseded").iterdir())) == 1, "no other explanation was touched"


def of_the_test_split(run: Callable[..., str], cohort: Any, task: Any, where: Any) -> tuple[int, str]:
    """(number, case) of a patient whose case is in the test split, found as a user finds it: by the identifier."""
    for patient in range(160):
        words = ("--identifier", "--issuer", "ward", "--subject", f"P{patient}", "--stream", "labs", "--json")
        (traced,) = json.loads(run("trace", *task, *where, *words))
        if cohort.index.set_index("case_id")["split"][traced["case_id"]] == "test":
            assert [e["sources"][0]["record"] for e in traced["elements"]] == [f"row {2 * patient + n}" for n in (1, 2)]
            return patient, str(traced["case_id"])
    raise AssertionError("nobody is in the test split")
