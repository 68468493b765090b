"""What an alert budget gives, against counting by hand; ties, subjects and days too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from models.evaluate.alerts import (
    alert_point,
    alert_points,
    budget_of,
    choose_threshold,
    daily_alerts,
    event_1_score,
    flagged_share,
    number_needed,
)
from models.evaluate.bootstrap import draw_resamples
from models.evaluate.metrics import EvaluationError, OneClassError, measure
from models.evaluate.results import Estimate


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cases(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 1.4, n)
    return (rng.random(n) < sigmoid(x)).astype(float), sigmoid(x)


def test_a_budget_flags_the_riskiest_and_counts_what_it_claims() -> None:
    target, risk = cases()
    resamples = draw_resamples(target, np.arange(300), np.random.default_rng(0), 200)
    for point, share in zip(alert_points(target, risk, resamples), (0.05, 0.1, 0.2), strict=True):
        flagged = risk >= np.sort(risk)[::-1][round(300 * share) - 1]
        assert (point.budget, point.alerts, point.threshold) == (share, flagged.sum(), risk[flagged].min())
        assert point.positive_predictive_value.value == pytest.approx(precision_score(target, flagged))
        assert point.sensitivity.value == pytest.approx(recall_score(target, flagged))
        needed = point.number_needed_to_evaluate
        right = point.positive_predictive_value
        assert needed.value == pytest.approx(1 / precision_score(target, flagged))
        assert needed.low is not None
        assert needed.high is not None
        assert right.low is not None
        assert needed.low <= needed.value <= needed.high == pytest.approx(1 / right.low)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_ties_are_flagged_as_a_random_choice_among_them_is_on_average(
    given_cases: list[tuple[int, bool, int]],
) -> None:
    risk = np.array([r for r, _, _ in given_cases]) / 4
    weights = np.array([[w for _, _, w in given_cases], [1] * len(risk)], float)
    share = flagged_share(risk, weights, 0.3)
    allowed = np.floor(0.3 * weights.sum(1) + 1e-9)
    assert (weights * share).sum(1) == pytest.approx(allowed)
    copies = np.repeat(risk, weights[0].astype(int))
    ordered = np.sort(copies)[::-1]
    for r in np.unique(copies):
        tied, above = (copies == r).sum(), (ordered > r).sum()
        expected = np.clip((allowed[0] - above) / tied, 0, 1)
        assert share[0, risk == r] == pytest.approx(expected)


def test_a_constant_risk_flags_at_random_and_is_right_as_often_as_there_are_events() -> None:
    target, _ = cases()
    resamples = draw_resamples(target, np.arange(300), np.random.default_rng(0), 100)
    point = alert_point(0.1, target, np.full(300, 0.4), resamples)
    assert point.positive_predictive_value.value == pytest.approx(target.mean())
    assert point.sensitivity.value == pytest.approx(0.1)


def test_the_interval_of_the_ppv_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(-1, 1.4, 2_000_000)
    truth = sigmoid(x)[x >= np.quantile(x, 0.8)].mean()  # events are drawn from the risks
    covered = 0
    for seed in range(150):
        target, risk = cases(200, seed)
        resamples = draw_resamples(target, np.arange(200), np.random.default_rng(seed), 250)
        right = alert_point(0.2, target, risk, resamples).positive_predictive_value
        assert right.low is not None
        assert right.high is not None
        covered += right.low <= truth <= right.high
    assert 0.89 <= covered / 150 <= 0.99


def test_where_all_alerts_are_right_in_every_resample_there_is_no_interval() -> None:
    target = np.repeat([1.0, 0.0], [60, 40])
    risk = np.linspace(0.9, 0.1, 100)
    point = alert_point(0.1, target, risk, draw_resamples(target, np.arange(100), np.random.default_rng(0), 50))
    assert point.positive_predictive_value == Estimate(1.0, reason="same in all resamples")
    assert point.number_needed_to_evaluate == Estimate(1.0, reason="same in all resamples")


def test_a_budget_of_less_than_one_alert_says_so() -> None:
    target, risk = cases(15)
    point = alert_point(0.05, target, risk, draw_resamples(target, np.arange(15), np.random.default_rng(0), 20))
    assert (point.alerts, point.threshold) == (0, None)
    assert point.sensitivity == Estimate(None, reason="a budget of less than one alert in 15 cases")


def test_the_riskiest_of_each_day_are_not_the_riskiest_of_all() -> None:
    target = np.array([1, 0, 0, 1, 1, 0], float)
    risk = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    day = np.array(["mon", "mon", "mon", "tue", "tue", "tue"])
    resamples = draw_resamples(target, np.arange(6), np.random.default_rng(0), 50)
    point = daily_alerts(1, day, target, risk, resamples)
    assert (point.alerts, point.budget, point.threshold) == (2, pytest.approx(1 / 3), None)
    assert point.positive_predictive_value.value == 1
    assert point.sensitivity.value == pytest.approx(2 / 3)
    assert alert_point(1 / 3, target, risk, resamples).positive_predictive_value.value == 0.5
    assert daily_alerts(9, day, target, risk, resamples).alerts == 6


def test_alerts_a_day_become_a_share_of_the_cases() -> None:
    times = np.datetime64("2024-03-01T00:00") + np.arange(40) * np.timedelta64(6, "h")  # four a day, ten days
    assert budget_of(1, times) == pytest.approx(0.25)
    with pytest.raises(EvaluationError, match="above 0 and at most 1, got 2"):
        budget_of(8, times)
    with pytest.raises(EvaluationError, match="needs index times: 40 of 40 cases have none"):
        budget_of(1, np.full(40, "NaT", "datetime64[us]"))
    with pytest.raises(EvaluationError, match="above 0 and at most 1, got 0"):
        alert_point(0, *cases(20), draw_resamples(cases(20)[0], np.arange(20), np.random.default_rng(0), 5))
    with pytest.raises(EvaluationError, match="alerts per day: expected at least 1, got 0"):
        daily_alerts(0, times, *cases(40), draw_resamples(cases(40)[0], np.arange(40), np.random.default_rng(0), 5))


def test_the_number_needed_has_no_upper_bound_where_perhaps_no_alert_is_right() -> None:
    found = number_needed(Estimate(0.2, 0.0, 0.5))
    assert (found.value, found.low, found.high) == (5.0, None, None)
    assert str(found) == "5.000 (no upper bound: perhaps no alert is right)"
    assert number_needed(Estimate(0.0, 0.0, 0.0)).reason == "no alert is right"
    assert number_needed(Estimate(0.5, reason="why")) == Estimate(2.0, reason="why")
    assert number_needed(Estimate(None, reason="too few")).reason == "too few"


def test_event_1_is_the_smaller_of_sensitivity_and_ppv_and_the_chosen_threshold_is_its_best() -> None:
    target, risk = cases(120)
    risk = np.round(risk, 2)
    scores = {}
    for threshold in np.unique(risk):
        flagged = risk >= threshold
        scores[threshold] = min(recall_score(target, flagged), precision_score(target, flagged))
        assert measure(event_1_score(threshold), target, risk) == pytest.approx(scores[threshold])
    found = choose_threshold(target, risk)
    assert found.score == pytest.approx(max(scores.values()))
    assert found.risk == max(t for t, score in scores.items() if score == pytest.approx(found.score))
    assert measure(event_1_score(found.risk), target, risk) == pytest.approx(found.score)
    assert measure(event_1_score(1.1), target, risk) == 0


def test_event_1_of_resamples_is_that_of_the_cases_drawn() -> None:
    target, risk = cases(60)
    weights = np.random.default_rng(0).integers(0, 3, (20, 60))
    expected = []
    for w in weights:
        again = np.repeat(np.arange(60), w)
        expected.append(measure(event_1_score(0.4), target[again], risk[again]))
    assert event_1_score(0.4)(target, risk, weights.astype(float)) == pytest.approx(expected)


def test_a_threshold_needs_both_classes() -> None:
    with pytest.raises(OneClassError):
        choose_threshold(np.zeros(5), np.linspace(0, 1, 5))
