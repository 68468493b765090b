"""Pages of tasks that ask for more than one risk: what is predicted is said in the task's own words."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboard import outcome_figures, words
from dashboard.predicted import COLUMN, names_of, predicted
from ingest.task import Task, parse_task
from ingest.workspace import Workspace
from models.objectives import build_objective

PAGES = ("worklist", "case", "model", "data")
SURVIVAL = {
    "kind": "survival", "causes": {"death": ["MEDS_DEATH"], "discharge": ["END"]}, "follow_up": ["END"],
    "horizon_hours": 48, "intervals": 4,
}  # fmt: skip
PLACE = {
    "kind": "multiclass", "classes": {"home": ["END"], "ward": [], "ICU & <b>beds</b>": ["LOCATION//ICU"]},
    "risk": ["ICU & <b>beds</b>"], "horizon_hours": 72,
}  # fmt: skip
STAY = {"kind": "regression", "value": "LOS", "unit": "d", "above": 7, "horizon_hours": 720}
LABELS = {
    "kind": "multilabel", "risk": "ICU",
    "labels": {name: {"events": [code], "horizon_hours": 48} for name, code in (("ICU", "ICU"), ("death", "DEATH"))},
}  # fmt: skip
EVENT = {"events": ["LOCATION//ICU", "MEDS_DEATH"], "horizon_hours": 48}
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "survival": ({"target": SURVIVAL}, "Risk of: death within 48 h ("),
    "multiclass": ({"target": PLACE}, "Risk of: ICU & <b>beds</b> within 72 h ("),
    "regression": ({"target": STAY}, "Risk of: a value above 7 d within 720 h ("),
    "multilabel": ({"target": LABELS}, "Risk of: ICU within 48 h ("),
    "several": ({"target": EVENT, "also": {"stay": STAY, "course": SURVIVAL}}, "Risk of: ICU transfer or death within"),
}


def retold(workspace: Workspace, changed: dict[str, Any], name: str) -> Task:
    """The workspace's cohort and scores as those of a task with other outcomes, whose predictions are made up."""
    file = workspace.cohort(name) / "task.json"
    raw = {**json.loads(file.read_text()), **changed}
    task = parse_task(raw, "changed")
    file.write_text(json.dumps(raw))
    for config in workspace.models(name).glob("*/config.json"):
        config.write_text(json.dumps({"task": raw}))
    path = next((workspace.root / "scores").glob("*/*.parquet"))
    scores = pd.read_parquet(path)
    scores.loc[: len(scores) // 2, "target"] = np.nan  # lost to follow-up before the horizon
    names = names_of(task)
    for place, one in enumerate(names):
        if one != "risk":
            scores[COLUMN + one] = (place + 1) / (len(names) + 1)
    scores.to_parquet(path)
    return task


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_says_what_the_risk_is_of(kind: str, workspace: Workspace, run_app: Any, built: Any) -> None:
    changed, asked = KINDS[kind]
    retold(workspace, changed, built.TASK)
    for page in PAGES:
        app = run_app(workspace.root, page=page)
        assert not app.exception, (page, app.exception)
        text = "\n".join(str(e.value) for part in ("markdown", "caption", "subheader") for e in app.get(part))
        if page in ("worklist", "case"):
            assert asked in text.replace("\\", "")
        if page == "case":
            assert ("expected" in text) == (kind in ("regression", "several"))
            assert ("How soon" in text) == (kind == "survival")
            assert ("Course: how soon" in text.replace("\\", "")) == (kind == "several")
            assert ("Which one comes" in text) == (kind == "multiclass")


def test_a_score_that_says_no_more_than_the_risk_shows_no_more(workspace: Workspace, run_app: Any, built: Any) -> None:
    """Such as those written before there was more to say, and those of a model that abstained."""
    task = retold(workspace, {"target": SURVIVAL}, built.TASK)
    path = next((workspace.root / "scores").glob("*/*.parquet"))
    scores = pd.read_parquet(path)
    assert predicted(task, scores.iloc[0].to_dict())
    empty = {name: np.nan if name.startswith(COLUMN) else value for name, value in scores.iloc[0].to_dict().items()}
    assert predicted(task, empty) == []
    scores.drop(columns=[name for name in scores if name.startswith(COLUMN)]).to_parquet(path)
    app = run_app(workspace.root, page="case")
    assert not app.exception
    assert not [e for e in app.subheader if "soon" in e.value]


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_of_the_objective(kind: str) -> None:
    raw = {
        "name": "t", "title": "T", "index": {"event": "IN"}, **KINDS[kind][0],
        "streams": {"notes": {"kind": "text", "codes": ["N"]}},
    }  # fmt: skip
    task = parse_task(raw, kind)
    assert tuple(names_of(task)) == build_objective(task).names


def test_curves_begin_at_nothing_and_hold_every_interval(workspace: Workspace, built: Any) -> None:
    task = retold(workspace, {"target": SURVIVAL}, built.TASK)
    score = pd.read_parquet(next((workspace.root / "scores").glob("*/*.parquet"))).iloc[0].to_dict()
    (one,) = predicted(task, score)
    assert one.curves["death"] == ((0.0, 0.0), (12.0, 1 / 9), (24.0, 2 / 9), (36.0, 3 / 9), (48.0, 4 / 9))
    drawn = outcome_figures.incidence(one.curves, "dark").to_dict()
    rows = next(rows for rows in drawn["datasets"].values() if "Cause" in rows[0])
    assert [row["chance"] for row in rows if row["Cause"] == "discharge"] == [0, *(j / 9 for j in (5, 6, 7, 8))]


def test_bars_keep_the_order_of_the_task_and_say_their_number() -> None:
    drawn = outcome_figures.chances({"low": 0.031, "middle": 0.9, "high": 0.069}, "light").to_dict()
    (rows,) = drawn["datasets"].values()
    assert [(row["what"], row["said"]) for row in rows] == [
        ("low", words.percent(0.031)), ("middle", words.percent(0.9)), ("high", words.percent(0.069)),
    ]  # fmt: skip
    assert drawn["layer"][0]["encoding"]["y"]["sort"] == ["low", "middle", "high"]
