"""Subgroups: each group's measures are those of its cases, and a difference that was put in is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ingest.cohort import Cohort, presence_pattern
from models.evaluate import Evaluation, EvaluationError, evaluate
from models.evaluate.bootstrap import draw_resamples
from models.evaluate.metrics import calibration_intercept, calibration_slope, measure
from models.evaluate.results import Estimate, SubgroupResult
from models.evaluate.subgroups import (
    AGE_BANDS,
    FEWEST_RESAMPLES,
    PATTERNS,
    SUBGROUP_METRICS,
    cohort_groupings,
    fewer_for,
    subgroup_results,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cases(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes and risks, calibrated for `a`; in `b` the risk says little and is too low."""
    rng = np.random.default_rng(seed)
    group = np.where(rng.random(n) < 0.4, "b", "a")
    x = rng.normal(-1.2, 1.3, n)
    logit = np.where(group == "a", x, 0.2 * x + 0.5)
    return (rng.random(n) < sigmoid(logit)).astype(float), sigmoid(x), group


@pytest.fixture(scope="module")
def results() -> tuple[SubgroupResult, ...]:
    target, risk, group = cases()
    resamples = draw_resamples(target, np.arange(600) // 2, np.random.default_rng(0), 300)
    return subgroup_results({"ward": group}, target, risk, resamples)


def test_measures_are_those_of_the_cases_of_the_group_with_one_threshold_for_all(
    results: tuple[SubgroupResult, ...],
) -> None:
    target, risk, group = cases()
    flagged = risk >= np.sort(risk)[::-1][59]
    assert [(r.grouping, r.group) for r in results] == [("ward", "a"), ("ward", "b")]
    for result in results:
        here = group == result.group
        assert (result.n, result.events) == (here.sum(), target[here].sum())
        assert result.subjects == len(np.unique((np.arange(600) // 2)[here]))
        expected = {
            "auroc": roc_auc_score(target[here], risk[here]),
            "calibration_slope": measure(calibration_slope, target[here], risk[here]),
            "calibration_intercept": measure(calibration_intercept, target[here], risk[here]),
            "sensitivity": flagged[here & (target == 1)].mean(),
            "positive_predictive_value": target[here & flagged].mean(),
        }
        assert {name: estimate.value for name, estimate in result.metrics.items()} == pytest.approx(expected)
        for name, estimate in result.metrics.items():
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.value is not None
            assert estimate.low <= estimate.value <= estimate.high, name


def test_what_was_put_in_is_found_and_two_groups_differ_from_each_other_the_same(
    results: tuple[SubgroupResult, ...],
) -> None:
    a, b = results
    for name in SUBGROUP_METRICS:
        one, other = a.differences[name], b.differences[name]
        assert one.value == pytest.approx(a.metrics[name].value - b.metrics[name].value)  # type: ignore[operator]
        assert one.value == pytest.approx(-other.value)  # type: ignore[operator]
    auroc, intercept = b.differences["auroc"], b.differences["calibration_intercept"]
    assert auroc.high is not None
    assert intercept.low is not None
    assert auroc.high < 0 < intercept.low


def test_the_interval_of_a_difference_that_is_none_covers_0_as_often_as_it_says() -> None:
    covered: dict[str, list[bool]] = {name: [] for name in SUBGROUP_METRICS}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.normal(-0.5, 1.3, 240)
        target, group = (rng.random(240) < sigmoid(x)).astype(float), np.where(rng.random(240) < 0.5, "a", "b")
        resamples = draw_resamples(target, np.arange(240), rng, 120)
        result = subgroup_results({"g": group}, target, sigmoid(x), resamples)[0]
        for name, difference in result.differences.items():
            if difference.low is not None:  # a share of all or none has no interval
                covered[name].append(not difference.excludes_zero)
    for name, each in covered.items():
        assert len(each) >= 25, name
        assert np.mean(each) >= 0.82, name


def test_a_group_with_too_few_of_a_class_says_so_and_so_does_one_without_a_rest() -> None:
    target, risk, group = cases()
    events = np.flatnonzero(target == 1)
    group = group.astype("U5")
    group[events[:3]] = "rare"
    resamples = draw_resamples(target, np.arange(600), np.random.default_rng(0), 50)
    found = {r.group: r for r in subgroup_results({"ward": group}, target, risk, resamples)}
    assert (found["rare"].reason, found["rare"].metrics, found["rare"].differences) == ("too few: 3 events", {}, {})
    most = np.where(np.isin(np.arange(600), events[:3]), "few", "most")
    result = subgroup_results({"ward": most}, target, risk, resamples)[0]
    assert result.metrics["auroc"].value is not None
    assert result.differences["auroc"] == Estimate(None, reason="too few: 3 events in the rest")
    assert subgroup_results({"ward": np.full(600, "all")}, target, risk, resamples) == ()


def test_a_few_alerts_or_a_share_of_all_or_none_say_nothing_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    target = (np.arange(400) % 4 == 0).astype(float)
    risk = sigmoid(rng.normal(size=400))
    group = np.where(np.arange(400) < 200, "a", "b")
    riskiest = np.argsort(-risk)
    low = np.isin(np.arange(400), riskiest[:40])  # everybody who is flagged is of b, but for three of a
    group[low] = np.where(np.arange(40) < 3, "a", "b")
    resamples = draw_resamples(target, np.arange(400), rng, 60)
    found = {r.group: r for r in subgroup_results({"g": group}, target, risk, resamples)}
    assert found["a"].metrics["positive_predictive_value"].reason == "too few: 3 alerts"
    assert found["a"].differences["positive_predictive_value"].reason == "too few: 3 alerts"
    assert found["b"].metrics["positive_predictive_value"].value is not None
    assert found["b"].differences["positive_predictive_value"].reason == "too few: 3 alerts in the rest"
    target[riskiest[:40]] = np.where(np.arange(40) < 8, 1.0, 0.0)
    group[riskiest[:40]] = np.where(np.arange(40) < 6, "a", "b")  # the six alerts of a are all right
    right = subgroup_results({"g": group}, target, risk, draw_resamples(target, np.arange(400), rng, 60))
    for result in right:
        difference = result.differences["positive_predictive_value"]
        assert difference.reason == "one is all or none"
        assert abs(difference.value or 0) == pytest.approx(1 - 2 / 34)
        assert not difference.excludes_zero


def test_a_grouping_of_other_cases_is_refused() -> None:
    target, risk, group = cases()
    resamples = draw_resamples(target, np.arange(600), np.random.default_rng(0), 5)
    with pytest.raises(EvaluationError, match=r"grouping 'ward': expected one group for each of 600 cases, got \(9,\)"):
        subgroup_results({"ward": group[:9]}, target, risk, resamples)


def test_many_cases_get_fewer_resamples() -> None:
    resamples = draw_resamples(np.arange(40_000) % 2, np.arange(40_000) // 1000, np.random.default_rng(0), 1000)
    assert len(fewer_for(resamples).counts) == FEWEST_RESAMPLES
    assert len(fewer_for(replace(resamples, group=resamples.group[:500])).counts) == 1000


def test_a_cohort_groups_by_sex_age_and_streams(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=160)
    rows = cohort.rows("test")
    found = cohort_groupings(cohort, rows)
    assert list(found) == ["age", "sex", PATTERNS]
    stream = cohort.batch(rows, ["record"]).streams["record"]
    age, sex = stream.values[:, 0].numpy(), stream.values[:, 1].numpy()
    for band, low, high in zip(AGE_BANDS, (0, 40, 65, 80), (40, 65, 80, 200), strict=True):
        assert ((found["age"] == band) == ((age >= low) & (age < high))).all()
    observed = stream.observed[:, 1].numpy()
    assert (found["sex"][observed] == np.array(["female", "male"])[sex[observed].astype(int)]).all()
    assert set(found["sex"][~observed]) == {"not known"}
    assert set(found[PATTERNS]) == set(presence_pattern(cohort.present[rows], cohort.stream_names))
    many = np.unique(cohort_groupings(cohort, cohort.rows())[PATTERNS], return_counts=True)
    assert len(many[0]) == 12
    rarer = next(label for label in many[0] if label.endswith(" rarer patterns"))
    patterns, counts = np.unique(presence_pattern(cohort.present, cohort.stream_names), return_counts=True)
    assert rarer == f"{len(patterns) - 11} rarer patterns"
    assert many[1][many[0] == rarer] == np.sort(counts)[: len(patterns) - 11].sum()


def test_a_cohort_without_its_table_is_not_known(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=60, absent={"record": 1.0})
    found = cohort_groupings(cohort, cohort.rows())
    assert set(found["age"]) == set(found["sex"]) == {"not known"}


def inputs() -> dict[str, Any]:
    target, risk, group = cases(200)
    other = sigmoid(np.random.default_rng(1).normal(size=200) + target)
    return {
        "predictions": {"fused": risk, "gradient boosting": other},
        "target": target,
        "subject_ids": np.arange(200) // 2,
        "patterns": np.full(200, "record"),
        "available": {},
        "groupings": {"ward": group},
        "n_bootstrap": 60,
        "rng": np.random.default_rng(2),
    }


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(**inputs())


def test_an_evaluation_holds_subgroups_alerts_and_delongs_p_and_goes_to_json_and_back(evaluation: Evaluation) -> None:
    assert [r.group for r in evaluation.subgroups] == ["a", "b"]
    assert [a.budget for a in evaluation.alerts] == [0.05, 0.1, 0.2]
    assert evaluation.bootstrap.subgroup_resamples == 60
    difference = evaluation.difference("gradient boosting")
    assert difference.p is not None
    assert difference.delong_p == pytest.approx(difference.p, abs=0.12)
    assert evaluation.difference("gradient boosting", "brier").delong_p is None
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_an_evaluation_written_before_there_were_subgroups_is_read(evaluation: Evaluation) -> None:
    raw = evaluation.to_json()
    for new in ("alerts", "subgroups"):
        del raw[new]
    del raw["bootstrap"]["subgroup_resamples"]
    for difference in raw["differences"]:
        del difference["delong_p"]
    read = Evaluation.from_json(raw)
    assert (read.alerts, read.subgroups, read.difference("gradient boosting").delong_p) == ((), (), None)
    assert read.models == evaluation.models


def test_groupings_change_nothing_else(evaluation: Evaluation) -> None:
    without = evaluate(**{**inputs(), "groupings": None})
    bootstrap = replace(evaluation.bootstrap, subgroup_resamples=0)
    assert without == replace(evaluation, subgroups=(), bootstrap=bootstrap)
