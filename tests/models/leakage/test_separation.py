"""AUROCs in the better direction, with intervals that hold at the border."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from models.leakage.separation import Separation, auroc_interval, best_auroc, cross_validated, separation


@given(st.integers(0, 10_000))
def test_the_better_direction_and_the_better_place_of_what_is_missing_are_taken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, target = rng.integers(0, 6, 40).astype(float), rng.integers(0, 2, 40)
    target[:2] = 0, 1
    values[rng.random(40) < 0.3] = np.nan
    every = [roc_auc_score(target, sign * np.where(np.isnan(values), end, values))
             for sign in (1, -1) for end in (-99, 99)]  # fmt: skip
    assert best_auroc(values, target) == pytest.approx(max(every))
    assert best_auroc(-values, target) == pytest.approx(best_auroc(values, target))


def test_the_interval_solves_the_score_equation() -> None:
    """Newcombe 2006, method 5, written out for m = 10, n = 90."""
    value, m, n, z = 0.8, 10, 90, 1.959964
    low, high = auroc_interval(value, m, n)
    for t in (low, high):
        q1, q2, size = t / (2 - t), 2 * t * t / (1 + t), (m + n) / 2 - 1
        variance = (t * (1 - t) + size * (q1 - t * t) + size * (q2 - t * t)) / (m * n)
        assert abs(value - t) == pytest.approx(z * np.sqrt(variance), abs=1e-9)
    assert low < value < high


def test_a_perfect_separation_of_few_events_has_a_wide_interval() -> None:
    lows = [auroc_interval(1.0, events, 90)[0] for events in (3, 10, 100)]
    assert lows == sorted(lows)
    assert lows[0] < 0.75 < 0.85 < lows[1]
    assert all(auroc_interval(1.0, events, 90)[1] == 1 for events in (3, 10, 100))


def test_the_interval_holds_the_truth() -> None:
    """Two normal distributions that lie 1.19 apart have an AUROC of 0.8: in 95 of 100 samples, give or take."""
    rng, inside = np.random.default_rng(0), 0
    target = np.repeat([0, 1], (60, 20))
    for _ in range(400):
        values = rng.normal(size=80) + 1.1902 * target
        low, high = auroc_interval(roc_auc_score(target, values), 20, 60)
        inside += low <= 0.8 <= high
    assert 0.92 <= inside / 400 <= 0.985


def test_few_events_make_a_look_of_what_would_be_an_alarm() -> None:
    def told(events: int) -> str:
        target = np.repeat([0, 1], (90, events))
        return separation(target.astype(float), target, np.arange(len(target))).verdict()

    assert [told(5), told(20)] == ["look", "alarm"]


def test_cases_of_one_subject_count_once() -> None:
    target = np.repeat([0, 1], (90, 20))
    subjects = np.append(np.arange(90), np.repeat([90, 91, 92, 93, 94], 4))
    told = separation(target.astype(float), target, subjects)
    assert told == Separation(1.0, *auroc_interval(1.0, 5, 90))
    assert told.verdict() == "look"


def test_what_is_said_of_a_case_never_rests_on_its_own_subject() -> None:
    """A tree that knows a subject by a number of his own says nothing of him that is right."""
    subjects = np.repeat(np.arange(60), 4)
    target = np.random.default_rng(0).integers(0, 2, 60)[subjects]
    columns = subjects[:, None].astype(float)
    said = cross_validated(lambda: DecisionTreeClassifier(random_state=0), columns, target, subjects, seed=0)
    assert said is not None
    assert roc_auc_score(target, DecisionTreeClassifier().fit(columns, target).predict(columns)) == 1
    assert abs(roc_auc_score(target, said) - 0.5) < 0.2


def test_one_subject_with_the_outcome_gives_no_folds() -> None:
    target = np.repeat([0, 1], (9, 3))
    subjects = np.repeat([0, 1, 2, 3], 3)
    assert cross_validated(DecisionTreeClassifier, np.ones((12, 1)), target, subjects, seed=0) is None
