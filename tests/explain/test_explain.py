"""Whole explanations of cases."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from explain.explain import EXPLAINERS, explain_cases
from explain.explanation import TOLERANCE, Explanation
from explain.kept import read_explanation, write_explanation
from explain.shares import explain_streams
from ingest.cohort import Cohort, open_cohort
from models.features import with_frozen_features
from models.prediction import Predictor


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=60)


@pytest.fixture(scope="module")
def found(cohort: Cohort, predictor: Predictor) -> list[Explanation]:
    return list(explain_cases(predictor, cohort, cohort.rows("test"), permutations=4, grid=(4, 4)))


def test_everything_sums_to_the_log_odds_for_every_test_case(
    cohort: Cohort, predictor: Predictor, found: list[Explanation]
) -> None:
    assert [e.case_id for e in found] == list(cohort.batch(cohort.rows("test")).case_ids)
    for row, explanation in zip(cohort.rows("test"), found, strict=True):
        logit = float(predictor.predict(cohort.batch([row])).logit[0])
        elements = sum(e.value for es in explanation.elements.values() for e in es)
        assert abs(explanation.base_logit + elements - logit) < TOLERANCE
        assert explanation.additivity_error < 1e-5
        assert set(explanation.elements) == set(explanation.streams) == set(explanation.kinds)
        for name, es in explanation.elements.items():
            assert sum(e.value for e in es) == pytest.approx(explanation.streams[name], abs=1e-5)


def test_elements_name_what_was_observed(cohort: Cohort, found: list[Explanation]) -> None:
    texts = cohort.texts("notes")
    explanation = next(e for e in found if set(e.streams) == set(cohort.stream_names))
    record = {e.name: e.shown for e in explanation.elements["record"]}
    assert record["age"].endswith(" years")
    assert record["heart failure"].startswith(("yes", "no"))
    assert record.get("sex", "male").startswith(("male", "female"))
    assert "/min at −" in {e.name: e.shown for e in explanation.elements["vitals"]}["heart rate"]
    text = texts[explanation.case_id]
    for word in explanation.elements["notes"]:
        start, end = (int(p) for p in word.position)
        assert text[start:end] == word.name
    assert [e.name for e in explanation.elements["notes"]] == text.split()
    assert {e.position for e in explanation.elements["xray"]} == {(r, c, 4, 4) for r in range(4) for c in range(4)}


def test_the_seed_decides_and_the_company_does_not(cohort: Cohort, predictor: Predictor) -> None:
    rows = np.flatnonzero(cohort.present.all(1))[:2]
    settings: dict[str, Any] = {"permutations": 4, "grid": (4, 4)}
    both = list(explain_cases(predictor, cohort, rows, seed=1, **settings))
    alone = next(explain_cases(predictor, cohort, rows[1:], seed=1, **settings))
    other = next(explain_cases(predictor, cohort, rows[1:], seed=2, **settings))
    assert both[1] == alone
    assert other.elements["xray"] != alone.elements["xray"]
    assert other.streams == alone.streams


def test_streams_only_agrees_with_whole_explanations(cohort: Cohort, build_predictor: Callable[..., Predictor]) -> None:
    predictor = build_predictor(cohort, streams=["record", "labs", "sound"])
    rows = cohort.rows("test")[:5]
    heard: list[tuple[int, int]] = []
    quick = list(EXPLAINERS["streams"](predictor, cohort, rows, progress=lambda done, of: heard.append((done, of))))
    whole = list(EXPLAINERS["owen"](predictor, cohort, rows))
    assert heard == [(i + 1, 5) for i in range(5)]
    for a, b in zip(quick, whole, strict=True):
        assert not a.elements
        assert a.streams == pytest.approx(b.streams, abs=1e-5)


class Noise(nn.Module):
    """A head that never says the same twice."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.calls = 0

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(fused)
        self.calls += 1
        return logits + 0.1 * self.calls**2


@pytest.mark.parametrize("elements", [True, False])
def test_a_model_that_is_not_deterministic_has_its_explanations_withheld(
    cohort: Cohort, build_predictor: Callable[..., Predictor], tmp_path: Path, elements: bool
) -> None:
    predictor = build_predictor(cohort, streams=["record", "vitals"])
    predictor.network.readout = Noise(predictor.network.readout)
    explanation = next(explain_cases(predictor, cohort, [0], elements=elements))
    assert explanation.withheld
    path = write_explanation(tmp_path, explanation)
    kept = read_explanation(path)
    assert kept.withheld
    assert kept.additivity_error == explanation.additivity_error > TOLERANCE
    assert not kept.streams
    assert not kept.elements
    assert not kept.coalitions
    assert kept.logit == explanation.logit


def test_dropout_left_on_is_found_out(cohort: Cohort, build_predictor: Callable[..., Predictor]) -> None:
    predictor = build_predictor(cohort)
    predictor.network.train()
    assert all(e.withheld for e in explain_streams(predictor, cohort.batch(range(8))))


def test_weights_that_are_not_numbers_are_withheld_too(
    cohort: Cohort, build_predictor: Callable[..., Predictor], tmp_path: Path
) -> None:
    predictor = build_predictor(cohort, streams=["record"])
    next(predictor.network.readout.parameters()).data.fill_(float("nan"))
    explanation = next(explain_cases(predictor, cohort, [0]))
    assert explanation.withheld
    assert read_explanation(write_explanation(tmp_path, explanation)).withheld


def test_kept_features_of_a_frozen_encoder_give_way_to_raw_values(
    cohort: Cohort, build_predictor: Callable[..., Predictor], tmp_path: Path
) -> None:
    own = open_cohort(Path(shutil.copytree(cohort.folder, tmp_path / "cohort")))
    predictor = build_predictor(own, streams=["record", "xray"], encoders={"xray": {"frozen": True}})
    featured = with_frozen_features(own, predictor.network, predictor.device)
    row = int(np.flatnonzero(own.present.all(1))[0])
    explanation = next(explain_cases(predictor, featured, [row], permutations=4, grid=(4, 4)))
    said = float(predictor.predict(featured.batch([row])).logit[0])
    assert explanation.additivity_error < 1e-5
    assert explanation.logit == pytest.approx(said, abs=1e-2)
    assert explanation.logit_from_features == (said if abs(said - explanation.logit) > 1e-3 else None)
    assert len(explanation.elements["xray"]) == 16
    by_streams = next(explain_cases(predictor, featured, [row], elements=False))
    assert by_streams.logit == said


def test_features_that_are_far_off_are_told(
    cohort: Cohort, build_predictor: Callable[..., Predictor], tmp_path: Path
) -> None:
    own = open_cohort(Path(shutil.copytree(cohort.folder, tmp_path / "cohort")))
    predictor = build_predictor(own, streams=["record", "xray"], encoders={"xray": {"frozen": True}})
    featured = with_frozen_features(own, predictor.network, predictor.device)
    path = own.features_file(0, "xray", featured.features["xray"])
    np.save(path, np.random.default_rng(0).normal(size=np.load(path).shape).astype(np.float16))
    row = int(np.flatnonzero(own.present.all(1))[0])
    explanation = next(explain_cases(predictor, featured.with_features(featured.features), [row], permutations=4))
    assert explanation.logit_from_features is not None
    assert abs(explanation.logit_from_features - explanation.logit) > 1e-3
