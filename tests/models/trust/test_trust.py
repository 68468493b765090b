"""FAULTS 29 and 42: what is unlike training gets no risk, with the reason; what is missing widens the interval."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from explain.shapley import exact_values
from explain.shares import coalition_worth
from ingest.batch import Batch
from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.config import AbstainConfig, CalibrationConfig, ConformalConfig, ModelConfig
from models.prediction import Predictor
from models.score import predict_rows
from models.training.train import TrainingOutcome, train
from models.trust.calibrate import Calibration
from models.trust.conflict import conflict_words, spread
from models.trust.groups import Groups

STREAMS = ["record", "vitals", "labs", "xray", "notes", "sound"]
XRAY = STREAMS.index("xray")


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=480, seed=4)


@pytest.fixture(scope="module")
def trained(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> TrainingOutcome:
    config = tiny_config(cohort).model_copy(
        update={"conformal": ConformalConfig(levels=(0.9, 0.7), group="record.sex")}
    )
    return train(cohort, config, seed=0, version="v0001")


@pytest.fixture(scope="module")
def batch(cohort: Cohort) -> Batch:
    rows = cohort.rows("test")
    return cohort.batch(rows[cohort.present[rows][:, XRAY]][:30])


def changed(batch: Batch, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    stream = batch.streams[name]
    shown = stream.observed.reshape(stream.observed.shape + (1,) * (stream.values.ndim - stream.observed.ndim))
    return batch.with_streams({**batch.streams, name: replace(stream, values=change(stream.values.clone()) * shown)})


def only(batch: Batch, row: int) -> Batch:
    one = torch.tensor([row])
    return Batch(
        batch.case_ids[[row]],
        batch.subject_ids[[row]],
        batch.index_times[[row]],
        {name: stream.rows(one) for name, stream in batch.streams.items()},
        batch.target[one],
        batch.outcome[one],
    )


def absurd(values: torch.Tensor) -> torch.Tensor:
    values[..., 0] = 900.0
    return values


KINDS = {
    "noise": lambda v: torch.rand(v.shape, generator=torch.Generator().manual_seed(0)),
    "inverted": lambda v: 1 - v,
    "8-bit": lambda v: 255 * v,
    "empty": torch.zeros_like,
    "turned": lambda v: v.flip(-2).flip(-1),  # where there is an opacity to see
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_another_kind_gets_no_risk_and_the_reason_names_it(
    trained: TrainingOutcome, batch: Batch, kind: str
) -> None:
    found = trained.predictor.predict(changed(batch, "xray", KINDS[kind]))
    assert found.abstained.mean() > (0.8 if kind == "turned" else 0.99)
    assert np.isnan(found.shown_risk[found.abstained]).all()
    assert np.isfinite(found.risk).all()
    reasons = found.reason[found.abstained]
    assert all("xray: not the kind of image that the model was trained on" in reason for reason in reasons)


def test_absurd_values_get_no_risk_and_the_reason_names_them(trained: TrainingOutcome, batch: Batch) -> None:
    found = trained.predictor.predict(changed(batch, "vitals", absurd))
    assert found.abstained.all()
    assert found.reason[0].startswith("vitals: heart rate 900 /min is far outside what was seen in training (")


def test_cases_of_the_trained_kind_are_seldom_refused(trained: TrainingOutcome, cohort: Cohort) -> None:
    found = predict_rows(trained.predictor, cohort, cohort.rows("test"))
    assert found.abstained.mean() <= 0.02
    assert np.array_equal(np.isnan(found.shown_risk), found.abstained)


def test_a_stream_that_is_hidden_is_no_reason(trained: TrainingOutcome, batch: Batch) -> None:
    odd = changed(batch, "xray", KINDS["noise"])
    hidden = trained.predictor.predict(odd, np.arange(6) != XRAY)
    gone = trained.predictor.predict(odd.without("xray"))
    for found in (hidden, gone):
        assert not found.unfamiliar[:, XRAY].any()
        assert found.abstained.mean() < 0.1
    assert np.array_equal(hidden.reason, gone.reason)


def test_a_case_is_judged_the_same_alone_and_among_others(trained: TrainingOutcome, batch: Batch) -> None:
    odd = changed(batch, "sound", lambda v: 5 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1)))
    together = trained.predictor.predict(odd)
    assert 0 < together.abstained.sum() < 30
    for row in (0, 7, 29):
        alone = trained.predictor.predict(only(odd, row))
        assert alone.reason[0] == together.reason[row]
        assert alone.unfamiliar[0] == pytest.approx(together.unfamiliar[row], rel=1e-3)


def test_too_little_is_a_reason_as_far_as_the_task_says(trained: TrainingOutcome, batch: Batch) -> None:
    def with_rule(**rule: object) -> Predictor:
        config = trained.predictor.config.model_copy(update={"abstain": AbstainConfig(**rule)})  # type: ignore[arg-type]
        return replace(trained.predictor, config=config)

    nothing = batch.without(*STREAMS)
    assert set(with_rule().predict(nothing).reason) == {"0 of 6 streams are there, at least 1 needed"}
    assert not with_rule(least_streams=0).predict(nothing).abstained.any()
    few = batch.without("vitals", "labs", "notes", "sound")
    assert set(with_rule(least_streams=3).predict(few).reason) == {"2 of 6 streams are there, at least 3 needed"}
    found = with_rule(least_observed=0.5).predict(few)
    assert found.observed == pytest.approx(2 / 6, abs=0.06)
    assert all("of what a case usually has was observed, at least 50% needed" in reason for reason in found.reason)
    odd = with_rule(unfamiliar=False).predict(changed(batch, "xray", KINDS["noise"]))
    assert not odd.abstained.any()
    assert all("xray" in warning for warning in odd.warning)


def test_streams_that_contradict_each_other_are_named(trained: TrainingOutcome, batch: Batch) -> None:
    usual = trained.predictor.predict(batch)
    assert (usual.disagreement > 1).mean() < 0.1
    strict = replace(trained.predictor, trust=replace(trained.predictor.trust, apart=1e-3))
    found = strict.predict(batch)
    assert all("contradict each other" in warning for warning in found.warning)
    assert np.array_equal(found.reason, usual.reason)
    config = strict.config.model_copy(update={"abstain": AbstainConfig(conflict=True)})
    assert replace(strict, config=config).predict(batch).abstained.all()
    assert spread(np.array([[1.0, np.nan, -2.0], [3.0, np.nan, np.nan]])).tolist() == [3.0, 0.0]
    words = conflict_words(np.array([np.nan, 2.0, -2.0]), ["a", "b", "c"])
    assert words == "b and c contradict each other: alone, b says 88 % and c 12 %"


def test_the_groups_of_a_coverage_are_levels_parts_of_a_number_or_patterns(cohort: Cohort, batch: Batch) -> None:
    present = np.stack([s.present.numpy() for s in batch.streams.values()], 1)
    record, statistics = batch.streams["record"], cohort.statistics
    sex = Groups("record.sex").of(batch, present, STREAMS, statistics)
    levels = np.array(["female", "male"])
    assert np.array_equal(sex, np.where(record.observed[:, 1], levels[record.values[:, 1].int()], "unknown"))
    age = Groups("record.age", (50.0, 70.0)).of(batch, present, STREAMS, statistics)
    assert set(age) <= {"below 50", "50 to below 70", "70 or more"}
    assert (age == "70 or more").tolist() == (record.values[:, 0] >= 70).tolist()
    hidden = Groups("record.age", (50.0,)).of(batch, np.zeros_like(present), STREAMS, statistics)
    assert set(hidden) == {"unknown"}
    assert Groups("pattern").of(batch, np.eye(6, dtype=bool)[:1].repeat(30, 0), STREAMS, statistics)[0] == "record"
    for by, edges in (("record.height", ()), ("vitals.heart rate", (1.0,)), ("record.age", ())):
        with pytest.raises(TaskError, match=r"model\.conformal\.group"):
            Groups(by, edges).check(statistics)


def test_sets_hold_the_outcome_of_new_cases_about_as_often_as_promised(
    trained: TrainingOutcome, cohort: Cohort
) -> None:
    rows = cohort.rows("test")
    found = predict_rows(trained.predictor, cohort, rows)
    assert found.conformal_set.shape == (len(rows), 2, 2)
    inside = found.conformal_set[np.arange(len(rows)), :, cohort.target[rows].astype(int)].mean(0)
    assert inside[0] > 0.9 - 3 * np.sqrt(0.09 / len(rows)) - 0.05  # its own scatter, and that of 70 validation cases
    assert inside[1] < inside[0]


@pytest.fixture(scope="module")
def by_pattern(trained: TrainingOutcome) -> Predictor:
    own = (Calibration(0.7, 0.4, 0.01, 0.02, 0.0),)
    calibration = replace(trained.predictor.calibration, patterns={"110110": own, "111111": own, "100000": own})
    return replace(trained.predictor, calibration=calibration)


def test_with_a_map_per_pattern_shares_still_add_up_and_an_absent_stream_says_nothing(
    by_pattern: Predictor, batch: Batch
) -> None:
    worth = coalition_worth(by_pattern, by_pattern.encode(batch))
    found = by_pattern.predict(batch)
    shares = exact_values(worth)
    assert worth[:, 0] + shares.sum(1) == pytest.approx(found.logit, abs=1e-5)
    assert shares[~found.present] == pytest.approx(0.0, abs=1e-9)
    tokens = by_pattern.encode(batch)
    for keep in (np.array([1, 1, 0, 1, 1, 0], bool), np.array([1, 0, 0, 0, 0, 0], bool)):
        logits = by_pattern.logits(tokens, torch.from_numpy(np.tile(keep, (30, 1)))).numpy()
        assert logits == pytest.approx(by_pattern.predict(batch, keep).logit, abs=1e-6)
        gone = batch.without(*(n for n, kept in zip(STREAMS, keep, strict=True) if not kept))
        assert logits == pytest.approx(by_pattern.predict(gone).logit, abs=1e-5)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_missing_modality_widens_the_interval_whatever_the_calibration(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig], method: str
) -> None:
    """FAULTS 42."""
    calibration = CalibrationConfig(method=method, per_pattern=True)  # type: ignore[arg-type]
    config = tiny_config(cohort).model_copy(update={"calibration": calibration})
    predictor = train(cohort, config, seed=0, version="v0001", streams=["record", "vitals"]).predictor
    assert "11" in predictor.calibration.patterns
    rows = cohort.rows("test")
    whole, hidden = (predict_rows(predictor, cohort, rows, keep) for keep in (None, np.array([True, False])))
    assert predictor.absence_variance["vitals"] > 0
    assert hidden.logit_std.mean() > whole.logit_std.mean()
    assert np.isfinite(whole.logit_std).all()
