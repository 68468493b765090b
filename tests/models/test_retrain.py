"""A challenger serves only where it is not worse than the champion on cases that neither was trained on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from ingest.errors import ModelError
from models import aliases, retrain, store
from models.config import ModelConfig
from models.evaluate.metrics import OneClassError
from models.network import build_network
from models.prediction import Predictor
from models.retrain import challenge, compare
from models.score import predict_rows
from models.training.train import TrainingOutcome, train
from models.training.weights import seeded

TASK = "deterioration-small"


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=300, seed=3, strength=2.0)


@pytest.fixture(scope="module")
def trained(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> TrainingOutcome:
    """The champion: trained until it tells something."""
    config = tiny_config(cohort, alone_epochs=8, epochs=3, learning_rate=1e-2)
    return train(cohort, config, seed=0, version="v0001", streams=["record", "vitals", "notes"])


@pytest.fixture
def models(trained: TrainingOutcome, tmp_path: Path) -> Path:
    """A models folder whose one version is champion, beside its database."""
    folder = tmp_path / "models"
    store.save(folder, trained)
    aliases.set_alias(tmp_path / "app.db", TASK, "v0001", "the first version")
    return folder


def ruined(predictor: Predictor) -> Predictor:
    """The same model with its encoders' weights thrown into disorder."""
    other = build_network(predictor.config, predictor.statistics, predictor.task).eval()
    with seeded(1), torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return replace(predictor, network=other, version="v0002")


def test_a_challenger_that_is_no_worse_is_promoted(
    cohort: Cohort, models: Path, monkeypatch: pytest.MonkeyPatch, trained: TrainingOutcome
) -> None:
    """An equal one: the champion itself under the next version's name."""
    equal = replace(trained, predictor=replace(trained.predictor, version="v0002"), alone={})
    monkeypatch.setattr(retrain, "train", lambda *args, **kwargs: equal)
    database = models.parent / "app.db"
    comparison = challenge(cohort, models, database, seed=0)
    assert comparison.not_worse
    assert all(check.difference == check.low == check.high == 0 for check in comparison.checks)
    assert aliases.champion(database, TASK) == "v0002"
    last = aliases.history(database, TASK)[-1]
    assert last.reason == comparison.reason
    assert "v0002 is not worse than v0001" in last.reason
    assert store.read_facts(models / "v0002")["parent"] == "v0001"


def test_a_worse_challenger_is_kept_with_the_reason_and_does_not_serve(
    cohort: Cohort, models: Path, monkeypatch: pytest.MonkeyPatch, trained: TrainingOutcome
) -> None:
    worse = replace(trained, predictor=ruined(trained.predictor), alone={})
    monkeypatch.setattr(retrain, "train", lambda *args, **kwargs: worse)
    database = models.parent / "app.db"
    before = {path.name: path.read_bytes() for path in (models / "v0001").iterdir()}
    comparison = challenge(cohort, models, database, seed=0)
    assert not comparison.not_worse
    assert aliases.champion(database, TASK) == "v0001"
    assert len(aliases.history(database, TASK)) == 1
    assert {path.name: path.read_bytes() for path in (models / "v0001").iterdir()} == before
    facts = store.read_facts(models / "v0002")
    assert facts["note"] == comparison.reason
    assert "v0002 is worse than v0001" in facts["note"]
    assert "auroc -" in facts["note"]


def test_a_challenger_really_grows_from_the_champion_and_reads_the_same_streams(cohort: Cohort, models: Path) -> None:
    comparison = challenge(cohort, models, models.parent / "app.db", seed=5)
    assert not (models / ".runs" / "v0002").exists()
    challenger = store.load(models / "v0002")
    assert challenger.stream_names == ["record", "vitals", "notes"]
    assert challenger.statistics == store.load(models / "v0001").statistics
    expected = "v0002" if comparison.not_worse else "v0001"
    assert aliases.champion(models.parent / "app.db", TASK) == expected


def test_the_numbers_are_those_of_another_computation(cohort: Cohort, trained: TrainingOutcome) -> None:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    other = ruined(trained.predictor)
    comparison = compare(trained.predictor, other, cohort, seed=0)
    rows = cohort.rows("test")
    target = cohort.target[rows]
    assert (comparison.cases, comparison.events) == (len(rows), int(target.sum()))
    for check, measure in zip(comparison.checks, (roc_auc_score, log_loss, brier_score_loss), strict=True):
        old, new = (measure(target, predict_rows(p, cohort, rows).risk) for p in (trained.predictor, other))
        assert check.champion == pytest.approx(old, abs=1e-6), check.measure
        assert check.challenger == pytest.approx(new, abs=1e-6), check.measure
        assert check.difference == pytest.approx(new - old, abs=1e-6), check.measure
        assert check.low <= check.difference <= check.high
    assert [check.measure for check in comparison.checks] == ["auroc", "log_loss", "brier"]


def test_a_comparison_is_plain_values(cohort: Cohort, trained: TrainingOutcome) -> None:
    raw = json.loads(json.dumps(compare(trained.predictor, ruined(trained.predictor), cohort, seed=0).to_json()))
    assert raw["not_worse"] is False
    assert raw["champion"] == "v0001"
    assert len(raw["checks"]) == 3


def test_held_back_cases_of_one_class_are_refused_with_the_counts(
    cohort: Cohort, trained: TrainingOutcome, with_targets: Callable[[Cohort, Any], Cohort]
) -> None:
    target = cohort.target.copy()
    rows = cohort.rows("test")
    target[rows] = 0
    with pytest.raises(OneClassError, match=f"0 events in {len(rows)} cases of the test split"):
        compare(trained.predictor, trained.predictor, with_targets(cohort, target), seed=0)


def test_unknown_outcomes_are_not_compared_on(
    cohort: Cohort, trained: TrainingOutcome, with_targets: Callable[[Cohort, Any], Cohort]
) -> None:
    target = cohort.target.copy()
    target[cohort.rows("test")[:5]] = np.nan
    comparison = compare(trained.predictor, trained.predictor, with_targets(cohort, target), seed=0)
    assert comparison.cases == len(cohort.rows("test")) - 5


def test_without_a_champion_nothing_is_trained(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a champion, found none"):
        challenge(cohort, tmp_path / "models", tmp_path / "app.db", seed=0)
    assert not (tmp_path / "models").exists()
