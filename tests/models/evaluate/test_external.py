"""Another hospital: the model as it is, on all of its cases, and how they differ from those it learnt from."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score

from ingest.cohort import Cohort, open_cohort
from ingest.errors import ModelError
from models.evaluate.external import (
    RECALIBRATED,
    External,
    case_mix,
    evaluate_external,
    read_as,
    standardised_difference,
)
from models.evaluate.metrics import OneClassError
from models.score import predict_rows
from models.training.train import TrainingOutcome

MakeCohort = Callable[..., Cohort]


def elsewhere(cohort: Cohort, folder: Path, *, older: float = 0.0) -> Cohort:
    """A copy of a cohort whose subjects are others, `older` by so many years."""
    shutil.copytree(cohort.folder, folder)
    path = folder / "shards/00000/index.parquet"
    index = pd.read_parquet(path)
    index.assign(subject_id=index["subject_id"] + 10**6).to_parquet(path)
    values = np.load(folder / "shards/00000/record.values.npy")
    values[:, 0] += older
    np.save(folder / "shards/00000/record.values.npy", values)
    return open_cohort(folder)


@pytest.fixture(scope="module")
def home(synthetic_cohort: MakeCohort) -> Cohort:
    """What `outcome` was trained on."""
    return synthetic_cohort(n=160)


@pytest.fixture(scope="module")
def away(synthetic_cohort: MakeCohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Another hospital: no sound at all, fewer images, everybody nine years older."""
    made = synthetic_cohort(n=110, seed=8, absent={"sound": 1.0, "xray": 0.7})
    return elsewhere(made, tmp_path_factory.mktemp("away") / "cohort", older=9.0)


@pytest.fixture(scope="module")
def found(outcome: TrainingOutcome, home: Cohort, away: Cohort) -> External:
    return evaluate_external(
        outcome.predictor, away, source="ward B", trained=home, single=outcome.alone, resamples=100
    )


def test_all_cases_count_whatever_their_split_and_the_model_is_as_it_was(
    found: External, outcome: TrainingOutcome, away: Cohort
) -> None:
    risk = predict_rows(outcome.predictor, away, away.rows()).risk
    evaluation = found.evaluation
    assert (evaluation.n, evaluation.split, found.version) == (110, "external", "v0001")
    assert evaluation.model("fused").metrics["auroc"].value == pytest.approx(roc_auc_score(away.target, risk))
    assert found.observed_expected == pytest.approx(away.target.sum() / risk.sum())
    names = {model.name for model in evaluation.models}
    assert names == {"fused", RECALIBRATED, *away.stream_names, "gradient boosting", "logistic regression"}
    assert External.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_recalibrated_the_risks_add_up_to_the_events_and_the_order_stays(
    found: External, outcome: TrainingOutcome, away: Cohort
) -> None:
    """The intercept is where the mean risk is the share of events: the score equation, solved by bisection."""
    logit = predict_rows(outcome.predictor, away, away.rows()).logit
    expected = brentq(lambda a: (1 / (1 + np.exp(-logit - a))).sum() - away.target.sum(), -9, 9)
    assert found.intercept == pytest.approx(expected, abs=1e-3)
    fused, mended = (found.evaluation.model(name).metrics for name in ("fused", RECALIBRATED))
    assert fused["calibration_intercept"].value == pytest.approx(expected, abs=1e-3)
    assert mended["calibration_intercept"].value == pytest.approx(0, abs=1e-3)
    assert mended["auroc"].value == pytest.approx(fused["auroc"].value)
    assert mended["calibration_slope"].value == pytest.approx(fused["calibration_slope"].value, abs=1e-3)


def test_the_case_mix_says_who_is_older_and_what_is_absent(found: External, home: Cohort, away: Cohort) -> None:
    mix = found.case_mix
    assert (mix.cases, mix.trained_cases) == (110, len(home.rows("train")))
    assert mix.prevalence == pytest.approx(away.target.mean())
    assert sum(pattern.cases for pattern in mix.patterns) == 110
    assert not any("sound" in pattern.pattern for pattern in mix.patterns if pattern.cases)
    assert sum(pattern.trained or 0 for pattern in mix.patterns) == pytest.approx(1)
    (age,) = [shift for shift in mix.shifts if shift.feature == "record: age"]
    here = np.load(away.folder / "shards/00000/record.values.npy")[:, 0].astype(float)
    there = np.load(home.folder / "shards/00000/record.values.npy")[home.rows("train"), 0].astype(float)
    assert age.smd == pytest.approx((here.mean() - there.mean()) / np.sqrt((here.var() + there.var()) / 2), abs=1e-4)
    assert age.here == pytest.approx(here.mean())
    assert age.unit == "a"
    assert (age.seen, age.seen_trained) == (1, 1)
    assert [abs(s.smd or 0) for s in mix.shifts] == sorted((abs(s.smd or 0) for s in mix.shifts), reverse=True)
    assert {s.feature for s in mix.shifts} >= {"record: sex = female", "record: sex = male", "labs: lactate"}
    assert mix.unknown_levels == {}


def test_without_the_training_cohort_the_model_is_evaluated_all_the_same(
    outcome: TrainingOutcome, away: Cohort, found: External
) -> None:
    alone = evaluate_external(outcome.predictor, away, source="ward B", resamples=100)
    assert [model.name for model in alone.evaluation.models] == ["fused", RECALIBRATED]
    assert alone.evaluation.model("fused").roc == found.evaluation.model("fused").roc
    assert {pattern.trained for pattern in alone.case_mix.patterns} == {None}
    assert not any("sex" in shift.feature for shift in alone.case_mix.shifts)


def test_levels_in_another_order_are_read_as_the_models_and_unknown_ones_are_missing(
    outcome: TrainingOutcome, home: Cohort, away: Cohort
) -> None:
    """The other hospital numbered its levels itself; what it calls 0 is a sex that the model has never seen."""
    record = away.statistics.streams["record"]
    other = replace(record, levels={"sex": ("unknown", "female")})
    statistics = replace(away.statistics, streams={**away.statistics.streams, "record": other})
    renamed = replace(away, statistics=statistics)
    view, unknown = read_as(outcome.predictor, renamed)
    before = renamed.batch(renamed.rows(), ["record"]).streams["record"]
    after = view.batch(view.rows(), ["record"]).streams["record"]
    was_known = before.observed[:, 1] & (before.values[:, 1] == 1)
    assert (after.observed[:, 1] == was_known).all()
    assert (after.values[:, 1] == 0).all()  # the model's place of female
    assert unknown == {"record: sex": int((before.observed[:, 1] & (before.values[:, 1] == 0)).sum())}
    result = evaluate_external(outcome.predictor, renamed, source="ward B", trained=home, resamples=100)
    assert result.case_mix.unknown_levels == unknown
    shares = {s.feature: s.here for s in result.case_mix.shifts if "sex" in s.feature}
    assert shares == {"record: sex = female": 1.0, "record: sex = male": 0.0}


def test_one_class_another_task_other_units_and_known_subjects_are_refused(
    outcome: TrainingOutcome, home: Cohort, away: Cohort, with_targets: Callable[..., Cohort]
) -> None:
    predictor = outcome.predictor
    with pytest.raises(OneClassError, match=r"^evaluation needs both classes: 0 events in 110 cases of ward B$"):
        evaluate_external(predictor, with_targets(away, np.zeros(110, np.float32)), source="ward B")
    with pytest.raises(OneClassError, match="0 events in 0 cases of ward B"):
        evaluate_external(predictor, with_targets(away, np.full(110, np.nan, np.float32)), source="ward B")
    another = replace(away, task=away.task.model_copy(update={"name": "readmission"}))
    with pytest.raises(ModelError, match=r"is of the task deterioration-small; cohort .* is of readmission"):
        evaluate_external(predictor, another, source="ward B")
    labs = replace(away.statistics.streams["labs"], units=("mg/L", "mg/dL"))
    streams = {**away.statistics.streams, "labs": labs}
    with pytest.raises(ModelError, match="stream labs, units"):
        evaluate_external(
            predictor, replace(away, statistics=replace(away.statistics, streams=streams)), source="ward B"
        )
    with pytest.raises(ModelError, match=r"^home: expected subjects that the model was not trained on, got"):
        evaluate_external(predictor, home, source="home", trained=home)


def test_unknown_outcomes_are_left_aside(
    outcome: TrainingOutcome, away: Cohort, with_targets: Callable[..., Cohort]
) -> None:
    target = away.target.copy()
    target[:20] = np.nan
    mix = case_mix(outcome.predictor, away, np.arange(20, 110))
    result = evaluate_external(outcome.predictor, with_targets(away, target), source="ward B", resamples=100)
    assert result.evaluation.n == 90
    assert result.case_mix == mix


def test_a_standardised_difference_is_in_standard_deviations_and_of_shares_austins() -> None:
    """Austin 2009 calls 0.1 negligible: by equation 2, shares of 0.55 and 0.50 are just that far apart."""
    p, q = 0.55, 0.5
    assert standardised_difference(p, np.sqrt(p * (1 - p)), q, np.sqrt(q * (1 - q))) == pytest.approx(0.1003, abs=1e-4)
    assert standardised_difference(3.0, 1.0, 1.0, np.sqrt(7.0)) == pytest.approx(1.0)
    assert standardised_difference(1, 0, 0, 0) is None
