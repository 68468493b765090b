"""`telltale validate`, and `telltale evaluate --on`: what they say, write, and take up again."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ingest.cohort import open_cohort
from ingest.workspace import open_workspace
from models import store
from models.evaluate import folds
from models.evaluate.external import External
from models.evaluate.learning_curve import LearningCurve
from models.evaluate.pooled import CrossValidation
from models.evaluate.rivals import RIVALS
from models.score import predict_rows

TASK = "deterioration-small"


def ok(ran: Any) -> Any:
    assert ran.code == 0, ran
    assert ran.err == ""
    return ran


def test_validate_prints_the_table_keeps_the_risks_and_takes_them_up_again(
    telltale: Callable[..., Any], aligned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("validate", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--folds", 2,
             "--models", "logistic-regression, network", "--learning-curve")  # fmt: skip
    first = ok(telltale(*words))
    workspace = open_workspace(aligned)
    assert "2 folds: 100 left-out cases" in first.out
    for name in ("fused", "xray", "late average", "logistic regression"):
        assert re.search(rf"^ *{name} +0\.\d{{3}} \(0\.\d\d to \d\.\d\d\)", first.out, re.MULTILINE), name
    assert re.search(r"^ *fused - logistic regression +-?0\.\d{3}", first.out, re.MULTILINE)
    assert "gradient boosting" not in first.out
    raw = json.loads((workspace.reports(TASK) / "cross-validation.json").read_text())
    result = CrossValidation.from_json(raw)
    kept = pd.read_parquet(workspace.models(TASK) / ".validation" / "out-of-fold.parquet")
    fused = kept[kept["model"] == "fused"]
    assert result.model("fused").pooled["auroc"].value == pytest.approx(roc_auc_score(fused["target"], fused["risk"]))
    assert store.versions(workspace.models(TASK)) == []
    curve = LearningCurve.from_json(json.loads((workspace.reports(TASK) / "learning-curve.json").read_text()))
    assert [point.share for point in curve.points] == [0.1, 0.2, 0.4, 0.7, 1.0]
    assert set(curve.points[-1].models) == {model.name for model in result.models}
    page = (workspace.reports(TASK) / "cross-validation.html").read_text()
    assert "What more cases would bring" in page
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "")

    def never(part: object) -> dict[str, np.ndarray]:
        raise AssertionError("what is kept is used again")

    monkeypatch.setattr("models.evaluate.rivals.RIVALS", dict.fromkeys(RIVALS, never))
    assert ok(telltale(*words)).out == first.out


def test_validate_stopped_between_folds_goes_on(
    telltale: Callable[..., Any], aligned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("validate", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--folds", 3,
             "--models", "logistic-regression")  # fmt: skip
    done: list[int] = []
    honest = folds.risks_of

    def stopped(*given: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return honest(*given)

    with monkeypatch.context() as patch:
        patch.setattr(folds, "risks_of", stopped)
        ran = telltale(*words)
    assert ran.code == 130
    assert "run the same command to go on" in ran.err
    kept = sorted((open_workspace(aligned).models(TASK) / ".validation" / "folds").glob("*.parquet"))
    assert [path.name for path in kept] == [f"1-{fold}-logistic-regression.parquet" for fold in (1, 2)]
    times = [path.stat().st_mtime_ns for path in kept]
    assert "3 folds: 100 left-out cases" in ok(telltale(*words)).out
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_an_unknown_model_is_refused_before_anything_is_trained(telltale: Callable[..., Any], aligned: Path) -> None:
    ran = telltale("validate", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--models", "forest")
    assert ran.code == 1
    assert "expected some of network, gradient-boosting, logistic-regression, got forest" in ran.err


@pytest.fixture
def served(telltale: Callable[..., Any], delivery: Path, tmp_path: Path) -> Path:
    """A workspace with a champion of the task icu, from files."""
    where = ("--workspace", tmp_path / "home")
    ok(telltale("ingest", delivery, "--mapping", tmp_path / "mapping.yaml", *where))
    ok(telltale("align", "--task", tmp_path / "task.yaml", *where))
    ok(telltale("train", "--task", tmp_path / "task.yaml", *where))
    return tmp_path / "home"


def test_another_hospitals_files_are_read_apart_and_its_cases_judged_by_the_champion(
    telltale: Callable[..., Any], served: Path, more: Callable[[range], Path], tmp_path: Path
) -> None:
    """It measures no labs at all, and knows a sex that the model does not."""
    other = more(range(500, 560))
    (other / "labs.csv").write_text("who,at,value\n")
    stays = (
        (other / "stays.csv")
        .read_text()
        .replace("P501,2024-03-26T08:00:00Z,IN,male", "P501,2024-03-26T08:00:00Z,IN,other")
    )
    assert stays.count("other") == 1
    (other / "stays.csv").write_text(stays)
    words = ("evaluate", "--task", tmp_path / "task.yaml", "-w", served, "--on", other,
             "--mapping", tmp_path / "mapping.yaml")  # fmt: skip
    ran = ok(telltale(*words))
    workspace = open_workspace(served)
    assert "v0001 on delivery-500, external split: 60 cases" in ran.out
    assert "record, left out 1: unknown level" in ran.out
    (cohort_folder,) = (served / "external").glob("delivery-500-*/cohorts/icu")
    away, home = open_cohort(cohort_folder), open_cohort(workspace.cohort("icu"))
    assert (len(away), len(home)) == (60, 160)
    assert not away.present[:, away.stream_names.index("labs")].any()
    assert away.statistics == home.statistics
    (report,) = workspace.reports("icu").glob("external-*.json")
    found = External.from_json(json.loads(report.read_text()))
    predictor = store.load(workspace.models("icu") / "v0001")
    risk = predict_rows(predictor, away, away.rows()).risk
    assert found.evaluation.model("fused").metrics["auroc"].value == pytest.approx(roc_auc_score(away.target, risk))
    assert {pattern.pattern: pattern.cases for pattern in found.case_mix.patterns if pattern.cases} in (
        {"record": 59, "none": 1}, {"record": 60}
    )  # fmt: skip
    assert report.with_suffix(".html").is_file()
    assert not list(workspace.reports("icu").glob("v0001*"))
    again = telltale(*words)
    assert again.code == 0
    assert json.loads(report.read_text()) == found.to_json()


def test_a_workspace_or_a_cohort_serves_as_well_and_the_models_own_cases_do_not(
    telltale: Callable[..., Any], served: Path, more: Callable[[range], Path], tmp_path: Path
) -> None:
    other, task = tmp_path / "other", tmp_path / "task.yaml"
    ok(telltale("ingest", more(range(500, 560)), "--mapping", tmp_path / "mapping.yaml", "--workspace", other))
    ran = ok(telltale("evaluate", "--task", task, "-w", served, "--on", other))
    assert "v0001 on other, external split: 60 cases" in ran.out
    assert not (other / "cohorts").exists()  # it is theirs
    (aligned,) = (served / "external").glob("other-*/cohorts/icu")
    shutil.copytree(aligned, tmp_path / "their-cohort")
    ran = ok(telltale("evaluate", "--task", task, "-w", served, "--on", tmp_path / "their-cohort"))
    assert "v0001 on their-cohort, external split: 60 cases" in ran.out
    ran = telltale("evaluate", "--task", task, "-w", served, "--on", served)
    assert ran.code == 1
    assert "expected subjects that the model was not trained on" in ran.err
    ran = telltale("evaluate", "--task", task, "-w", served, "--on", tmp_path / "nowhere")
    assert ran.code == 1
    assert "expected a cohort, a workspace, or source files, got nothing of that name" in ran.err


def test_outcomes_of_one_class_are_refused_with_the_counts(
    telltale: Callable[..., Any], served: Path, more: Callable[[range], Path], tmp_path: Path
) -> None:
    other = more(range(500, 540))
    (other / "icu.csv").write_text("who,at,event\n")
    ran = telltale("evaluate", "--task", tmp_path / "task.yaml", "-w", served, "--on", other,
                   "--mapping", tmp_path / "mapping.yaml")  # fmt: skip
    assert ran.code == 1
    assert "evaluation needs both classes: 0 events in 40 cases of delivery-500" in ran.err
    assert not open_workspace(served).reports("icu").exists()
