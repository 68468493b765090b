"""FAULTS 30: a model that gives the same output for different inputs is found out, in training and in scoring."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ingest.batch import Stream
from ingest.cohort import Cohort
from models.encoders.tokens import Tokens
from models.network import Network
from models.prediction import Predictor
from models.score import score
from models.training import train as training
from models.training.train import TrainingOutcome
from models.trust.selfcheck import SelfCheck


class Constant(nn.Module):
    """An encoder that looks at nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(width))

    def forward(self, stream: Stream) -> Tokens:
        present = stream.present[:, None]
        return Tokens(self.token * present[..., None], present)


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=160)


def blind(predictor: Predictor, *names: str) -> Predictor:
    network: Network = deepcopy(predictor.network)
    for name in names:
        network.encoders[name] = Constant(network.width)
    return replace(predictor, network=network)


def alarms(predictor: Predictor, cohort: Cohort, rows: np.ndarray) -> list[str]:
    check = SelfCheck(predictor.stream_names)
    for batch in cohort.batches(rows, 50):
        tokens = predictor.encode(batch)
        check.see(batch, tokens, predictor.logits(tokens).numpy())
    return check.alarms()


def test_a_model_that_looks_at_its_input_raises_no_alarm(outcome: TrainingOutcome, cohort: Cohort) -> None:
    assert list(outcome.alarms) == []
    assert alarms(outcome.predictor, cohort, cohort.rows()) == []


def test_an_image_encoder_that_is_constant_is_named(outcome: TrainingOutcome, cohort: Cohort) -> None:
    images = int(cohort.present[:, cohort.stream_names.index("xray")].sum())
    found = alarms(blind(outcome.predictor, "xray"), cohort, cohort.rows())
    assert len(found) == 1
    assert found[0].startswith(f"xray: the encoder gives the same output for {images} different inputs")


def test_a_risk_that_is_the_same_for_everybody_is_named(outcome: TrainingOutcome, cohort: Cohort) -> None:
    rows = np.flatnonzero(cohort.present.all(1))
    found = alarms(blind(outcome.predictor, *outcome.predictor.stream_names), cohort, rows)
    assert len(found) == 7
    assert found[-1].startswith(f"the risk is the same for {len(rows)} different cases")


def test_equal_inputs_may_have_equal_outputs(outcome: TrainingOutcome, cohort: Cohort) -> None:
    row = np.flatnonzero(cohort.present.all(1))[0]
    assert alarms(outcome.predictor, cohort, np.full(40, row)) == []


def test_scores_of_such_a_model_bear_the_alarm(outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path) -> None:
    assert score(outcome.predictor, cohort, tmp_path / "sound").alarms == ()
    (alarm,) = score(blind(outcome.predictor, "xray"), cohort, tmp_path / "blind").alarms
    assert alarm.startswith("xray: ")


def test_training_says_so_when_it_ends(
    cohort: Cohort, tiny_config: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(network: Network, *_: object) -> None:
        network.encoders["labs"] = Constant(network.width)

    monkeypatch.setattr(training, "add_experts", spoilt)
    found = training.train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=["record", "labs"])  # type: ignore[arg-type]
    assert [alarm.split(":")[0] for alarm in found.alarms] == ["labs"]
