"""Predictions are calibrated log-odds with an interval, from the streams that may be used and no others."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import Batch
from ingest.cohort import Cohort
from models.prediction import INTERVAL_Z, Predictor, expit
from models.score import predict_rows
from models.training.train import TrainingOutcome
from models.trust.calibrate import Calibration
from models.trust.logits import LogitCalibration


@pytest.fixture(scope="module")
def batch(synthetic_cohort: Callable[..., Cohort]) -> Batch:
    return synthetic_cohort(n=160).batch(np.arange(40))


@pytest.fixture(scope="module")
def predictor(outcome: TrainingOutcome) -> Predictor:
    parts = (Calibration(1.4, -0.3, 0.02, 0.05, -0.01),)
    return replace(outcome.predictor, calibration=LogitCalibration(parts, (slice(0, 1),)))


def test_the_risk_is_the_logistic_of_the_calibrated_mean_of_the_members(predictor: Predictor, batch: Batch) -> None:
    prediction = predictor.predict(batch)
    with torch.inference_mode():
        members = predictor.network(batch.streams)[..., 0].double().numpy()
    logit = 1.4 * members.mean(1) - 0.3
    assert prediction.logit == pytest.approx(logit, abs=1e-6)
    assert prediction.risk == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_the_interval_holds_the_members_spread_the_calibrations_error_and_what_is_absent(
    predictor: Predictor, batch: Batch
) -> None:
    prediction = predictor.predict(batch)
    with torch.inference_mode():
        members = predictor.network(batch.streams)[..., 0].double().numpy()
    raw = members.mean(1)
    absent = sum(predictor.absence_variance[n] * ~s.present.numpy() for n, s in batch.streams.items())
    variance = 1.4**2 * members.var(1, ddof=1) + (0.02 * raw**2 - 2 * 0.01 * raw + 0.05) + absent
    assert prediction.logit_std == pytest.approx(np.sqrt(variance), rel=1e-4)
    assert prediction.low == pytest.approx(expit(prediction.logit - INTERVAL_Z * np.sqrt(variance)), abs=1e-6)
    assert prediction.high == pytest.approx(expit(prediction.logit + INTERVAL_Z * np.sqrt(variance)), abs=1e-6)
    assert (prediction.low <= prediction.risk).all()
    assert (prediction.risk <= prediction.high).all()


def test_masks_for_all_cases_and_for_each_agree(predictor: Predictor, batch: Batch) -> None:
    mask = np.array([True, False, True, False, True, False])
    one, each = predictor.predict(batch, mask), predictor.predict(batch, np.tile(mask, (40, 1)))
    gone = predictor.predict(batch.without("vitals", "xray", "sound"))
    assert np.array_equal(one.logit, each.logit)
    assert one.logit == pytest.approx(gone.logit, abs=1e-5)
    assert np.array_equal(one.present, gone.present)
    assert not one.present[:, ~mask].any()


def test_tokens_computed_once_serve_every_coalition(predictor: Predictor, batch: Batch) -> None:
    tokens = predictor.encode(batch)
    for stream in range(6):
        keep = np.arange(6) != stream
        logits = predictor.logits(tokens, torch.from_numpy(np.tile(keep, (40, 1)))).numpy()
        assert logits.dtype == np.float64
        assert logits == pytest.approx(predictor.predict(batch, keep).logit, abs=1e-6)


def test_with_nothing_there_every_case_has_the_same_risk(predictor: Predictor, batch: Batch) -> None:
    nothing = predictor.predict(batch.without(*predictor.stream_names))
    assert np.isfinite(nothing.risk).all()
    assert np.ptp(nothing.logit) < 1e-5
    assert not nothing.present.any()


def test_a_batch_without_one_of_its_streams_is_refused_rather_than_guessed(predictor: Predictor, batch: Batch) -> None:
    fewer = batch.with_streams({n: s for n, s in batch.streams.items() if n != "labs"})
    with pytest.raises(ValueError, match=r"lacks the streams \['labs'\]; absent streams are given as masks"):
        predictor.predict(fewer)


def test_one_member_has_no_spread_and_the_interval_is_the_calibrations(predictor: Predictor, batch: Batch) -> None:
    certain = replace(predictor, calibration=LogitCalibration.identity(predictor.network.meaning))
    members = torch.zeros(3, 1, 1, dtype=torch.float64)
    said = certain._risk(members, torch.ones(3, 6, dtype=torch.bool))
    assert said["low"].tolist() == said["high"].tolist() == [0.5] * 3


@given(st.floats(-1e4, 1e4))
def test_the_logistic_function_never_overflows_and_is_symmetric(logit: float) -> None:
    p, q = float(expit(np.array(logit))), float(expit(np.array(-logit)))
    assert 0 <= p <= 1
    assert p + q == pytest.approx(1)


def test_a_missing_modality_widens_the_interval(
    outcome: TrainingOutcome, synthetic_cohort: Callable[..., Cohort]
) -> None:
    trained, cohort = outcome.predictor, synthetic_cohort(n=160)
    rows = cohort.rows("test")
    whole = predict_rows(trained, cohort, rows)
    for place, name in enumerate(trained.stream_names):
        hidden = predict_rows(trained, cohort, rows, np.arange(len(trained.stream_names)) != place)
        had = whole.present[:, place]
        assert trained.absence_variance[name] > 0
        assert hidden.logit_std[had].mean() > whole.logit_std[had].mean()
        assert not hidden.present[:, place].any()
