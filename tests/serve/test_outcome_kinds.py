"""Every kind of outcome from the demo ward's files to an explained, evaluated model, by the commands one types."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from explain.explanation import TOLERANCE, Explanation
from ingest.cohort import open_cohort
from ingest.task import parse_task
from ingest.workspace import Workspace, open_workspace
from models import store
from models.objectives import build_objective
from models.retrain import has_unseen_cases
from models.score import predict_rows

PATIENTS = 150
DETERIORATES, GONE = ["LOCATION//ICU", "MEDS_DEATH"], ["ENCOUNTER//IMP//END"]
PULSE = "LOINC//8867-4"
TINY = {"width": 16, "members": 2, "fusion": {"heads": 2}, "training": {"alone_epochs": 1, "epochs": 1}}
STREAMS = {
    "record": {
        "kind": "table",
        "features": [
            {"name": "age", "derive": "age", "unit": "a"},
            {"name": "heart failure", "codes": ["SNOMED//84114007"], "reduce": "any"},
        ],
    },
    "labs": {
        "kind": "series",
        "window_hours": 48,
        "max_times": 8,
        "channels": [
            {"name": "C-reactive protein", "codes": ["LOINC//1988-5"], "unit": "mg/L"},
            {"name": "lactate", "codes": ["LOINC//2524-7"], "unit": "mmol/L"},
        ],
    },
}
SURVIVAL = {
    "kind": "survival", "causes": {"deterioration": DETERIORATES, "discharge": GONE}, "horizon_hours": 96,
    "intervals": 4, "follow_up": GONE,
}  # fmt: skip
# Asked early, so that some are lost to follow-up before the horizon, and numbers are still to come.
EARLY = {"index": {"event": "ENCOUNTER//IMP//START", "offset_hours": 12}}
KINDS: dict[str, dict[str, Any]] = {
    "survival": {"target": SURVIVAL},
    "censored": {
        **EARLY,
        "target": {**SURVIVAL, "causes": {"deterioration": DETERIORATES}, "horizon_hours": 20, "follow_up": [PULSE]},
    },
    "multiclass": {
        "target": {
            "kind": "multiclass", "classes": {"home": GONE, "worse": DETERIORATES, "still there": []},
            "risk": ["worse"], "horizon_hours": 72,
        }
    },
    "ordinal": {
        "target": {
            "kind": "ordinal", "classes": {"ward": [], "intensive care": ["LOCATION//ICU"], "death": ["MEDS_DEATH"]},
            "risk": ["intensive care", "death"], "horizon_hours": 300,
        }
    },
    "multilabel": {
        "target": {
            "kind": "multilabel", "risk": "worse",
            "labels": {
                "worse": {"events": DETERIORATES, "horizon_hours": 48},
                "home": {"events": GONE, "horizon_hours": 72},
            },
        }
    },
    "regression": {
        **EARLY,
        "target": {
            "kind": "regression", "value": PULSE, "unit": "/min", "reduce": "mean", "horizon_hours": 12, "above": 85
        },
    },
    "several": {
        "target": {"events": DETERIORATES, "horizon_hours": 48},
        "also": {
            "course": SURVIVAL,
            "pulse": {
                "kind": "regression", "value": PULSE, "unit": "/min", "reduce": "max", "horizon_hours": 12, "above": 95
            },
        },
    },
}  # fmt: skip
NO_TREES: dict[str, Any] = {"experts": []}


def raw_task(kind: str) -> dict[str, Any]:
    return {
        "name": kind,
        "title": f"Outcome: {kind}",
        "index": {"event": "ENCOUNTER//IMP//START", "offset_hours": 24},
        "exclude": [{"name": "gone before", "codes": [*GONE, *DETERIORATES]}],
        "streams": STREAMS,
        "split": {"stratify": True, "train": 0.5, "validation": 0.25, "test": 0.25},
        "model": TINY | (NO_TREES if kind in ("ordinal", "multilabel") else {}),
        **KINDS[kind],
    }


@pytest.fixture(scope="module")
def ward(telltale_process: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has read the demo ward."""
    folder = tmp_path_factory.mktemp("ward")
    for words in (("demo", "make", "hospital", "--patients", PATIENTS), ("ingest", "hospital", "-w", "workspace")):
        ran = telltale_process(*words, cwd=folder)
        assert ran.code == 0, ran.err
    return folder / "workspace"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_outcome_goes_through_every_command(
    kind: str, ward: Path, telltale: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / f"{kind}.yaml"
    file.write_text(yaml.safe_dump(raw_task(kind), sort_keys=False))

    def run(*words: object, of: str = "--task", what: object = file) -> str:
        ran = telltale(*words, of, what, "-w", ward)
        assert ran.code == 0, (words, ran.err, ran.out)
        return str(ran.out)

    run("align")
    run("train")
    run("score", of="--cohort", what=kind)
    said = run("evaluate")
    run("explain", "--top", 2)
    run("models", "show", "v0001")
    workspace = open_workspace(ward)
    check_scores(workspace, kind)
    check_explanations(workspace, kind)
    assert "auroc" in said.lower()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["censored", "several"])
def test_a_model_of_any_kind_is_retrained_behind_the_gate(
    kind: str, ward: Path, telltale: Callable[..., Any], telltale_process: Callable[..., Any], tmp_path: Path
) -> None:
    place = Path(shutil.copytree(ward, tmp_path / "workspace"))
    file = tmp_path / f"{kind}.yaml"
    file.write_text(yaml.safe_dump({**raw_task(kind), "name": f"{kind}-again"}, sort_keys=False))
    made = telltale_process("demo", "make", "second", "--patients", 60, "--seed", 2, cwd=tmp_path)
    assert made.code == 0, made.err
    for words in (("align",), ("train",), ("retrain", "--with", tmp_path / "second")):
        ran = telltale(*words, "--task", file, "-w", place)
        assert ran.code == 0, (words, ran.err, ran.out)
    assert "promoted" in ran.out
    workspace = open_workspace(place)
    models = workspace.models(f"{kind}-again")
    first, second = (store.read_facts(models / version)["cases"]["train"] for version in ("v0001", "v0002"))
    assert second > first
    cohort = open_cohort(workspace.cohort(f"{kind}-again"))
    assert second == cohort.known[cohort.rows("train")].sum()
    assert not has_unseen_cases(cohort, models), "cases lost to follow-up were learnt from too"


def check_scores(workspace: Workspace, kind: str) -> None:
    """What was stored says the same as what was trained, and the risk is that of the risk event."""
    cohort = open_cohort(workspace.cohort(kind))
    scores = pd.read_parquet(workspace.scores(kind) / "v0001.parquet")
    said = predict_rows(store.load(workspace.models(kind) / "v0001"), cohort, cohort.rows())
    given = ~scores["abstained"].to_numpy(bool)
    assert given.any()
    np.testing.assert_allclose(scores["risk"][given], said.risk[given], atol=1e-5)
    names = build_objective(parse_task(raw_task(kind), kind)).names
    assert said.probabilities.shape == (len(cohort), len(names))
    chances = dict(zip(names, said.probabilities.T, strict=True))
    np.testing.assert_allclose(said.risk, risk_of(kind, chances), atol=2e-5)
    if kind == "censored":
        assert np.isnan(cohort.target).any()
        assert scores["target"].isna().any()


def risk_of(kind: str, chances: dict[str, np.ndarray]) -> np.ndarray:
    """The risk, from the probabilities of everything."""
    if kind == "regression":
        mean, sd = chances.values()
        z = (mean - 85) / sd
        return np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
    if kind == "ordinal":
        return 1 - chances["ward"]
    named = {"survival": "deterioration by 96 h", "censored": "deterioration by 20 h", "several": "risk"}
    return chances[named.get(kind, "worse")]


def check_explanations(workspace: Workspace, kind: str) -> None:
    """The attributions of the risk's log-odds add up, whatever the outcome is."""
    files = sorted(workspace.explanations(kind, "v0001").glob("*.json"))
    assert files
    found = [Explanation.from_json(json.loads(file.read_text())) for file in files]
    assert max(one.additivity_error for one in found) <= TOLERANCE
    assert any(one.elements for one in found)
    scores = pd.read_parquet(workspace.scores(kind) / "v0001.parquet").set_index("case_id")
    for one in found:
        if not scores["abstained"][one.case_id]:
            assert one.logit == pytest.approx(scores["logit"][one.case_id], abs=1e-3)
