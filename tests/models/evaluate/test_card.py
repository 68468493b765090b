"""The model card says what the version is for, what it was made from, and how good it is, or that nobody knows yet."""

from collections.abc import Callable

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.assess import assess
from models.evaluate.card import model_card
from models.training.train import TrainingOutcome


@pytest.fixture
def training(outcome: TrainingOutcome) -> dict[str, object]:
    return {
        "cases": dict(outcome.cases), "events": dict(outcome.events), "seed": 1, "parent": None,
        "history": [vars(epoch) for epoch in outcome.history], "note": "Made for a test.",
    }  # fmt: skip


def test_it_states_cases_events_and_what_it_reads(outcome: TrainingOutcome, training: dict[str, object]) -> None:
    card = model_card(outcome.predictor, training, {})
    for split in ("train", "validation"):
        assert f"**{split.capitalize()} split**: {outcome.cases[split]} cases, {outcome.events[split]} events" in card
    assert "LOCATION//ICU, MEDS_DEATH within 48 h, 24 h after ENCOUNTER//IMP//START" in card
    assert "record (table), vitals (series), labs (series), xray (image), notes (text), sound (audio)" in card
    assert "Made for a test." in card
    assert "not validated" in card
    assert "parent none" in card


def test_without_an_evaluation_it_says_so(outcome: TrainingOutcome, training: dict[str, object]) -> None:
    assert model_card(outcome.predictor, training, {}).rstrip().endswith("Not evaluated yet.")


def test_an_evaluation_is_shown_with_its_intervals(
    outcome: TrainingOutcome, training: dict[str, object], synthetic_cohort: Callable[..., Cohort]
) -> None:
    result = assess(outcome.predictor, synthetic_cohort(n=160), baseline=False).to_json()
    card = model_card(outcome.predictor, training, result)
    auroc = next(model for model in result["models"] if model["name"] == "fused")["metrics"]["auroc"]
    assert f"| auroc | {auroc['value']:.3f} | {auroc['low']:.3f} to {auroc['high']:.3f} |" in card
    assert "Not evaluated yet" not in card
    assert np.isfinite(auroc["value"])
