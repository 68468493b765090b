"""With shuffled outcomes nothing is learnt, unless the splits share cases."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cohort import Cohort
from models.leakage.scope import scope_of
from models.leakage.shuffled import chance_error, shuffled, shuffled_findings, units_of


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_an_honest_split_gives_chance(synthetic_cohort: Callable[..., Cohort], seed: int) -> None:
    (found,) = shuffled_findings(scope_of(synthetic_cohort(n=240, seed=seed), seed), {})
    assert found.verdict == "fine"
    assert found.value == pytest.approx(0.5, abs=0.15)


def test_subjects_on_both_sides_of_the_split_are_an_alarm(garden: Any) -> None:
    """Twelve cases a subject, whose record says who it is, dealt out among the splits."""
    planted = garden(480, cases_per_subject=12)
    cohort = planted.cohort
    person = np.random.default_rng(0).normal(size=(40, 3))[np.arange(480) // 12]
    planted.change("record.values", lambda values: person.astype(values.dtype))
    planted.change("record.observed", np.ones_like)
    (honest,) = shuffled_findings(scope_of(planted.cohort, 0), {})
    assert honest.verdict == "fine"
    dealt = np.random.default_rng(0).choice(["train", "validation", "test"], 480, p=[0.6, 0.15, 0.25])
    (found,) = shuffled_findings(scope_of(replace(planted.cohort, index=cohort.index.assign(split=dealt)), 0), {})
    assert (found.check, found.verdict) == ("shuffled outcomes", "alarm")
    assert "--resplit" in found.step


def test_copies_under_other_names_keep_one_outcome(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=120, cases_per_subject=2)
    inputs = [f"digest {i % 100}" for i in range(120)]  # the last twenty are the first once more
    scope = scope_of(replace(cohort, index=cohort.index.assign(inputs=inputs)), 0)
    unit = units_of(scope, {1000: "ward", 1049: "ward"})
    plain: dict[int, set[int]] = {i: {i // 2} for i in range(120)}
    same = [{i, i + 100} for i in range(20)] + [{2 * s, 2 * s + 1} for s in range(60)] + [{0, 1, 98, 99}]
    for _ in range(3):
        for group in same:
            joined = set().union(*(plain[i] for i in group))
            for i in group:
                plain[i] = joined
    expected = {frozenset(i for i in range(120) if plain[i] & plain[j]) for j in range(120)}
    assert {frozenset(np.flatnonzero(unit == u).tolist()) for u in unit} == expected


@given(st.integers(0, 1_000))
def test_a_unit_has_one_outcome_and_as_many_have_it_as_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit, target = rng.integers(0, 9, 40), rng.integers(0, 2, 40)
    dealt = shuffled(target, unit, rng)
    outcomes = [set(dealt[unit == u].tolist()) for u in np.unique(unit)]
    assert all(len(each) == 1 for each in outcomes)
    assert sum(each == {1} for each in outcomes) == sum(target[unit == u].mean() >= 0.5 for u in np.unique(unit))


def test_the_error_of_chance_is_that_of_many_shuffles() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    target = np.repeat([0, 1], (40, 15))
    drawn = [roc_auc_score(target, rng.random(55)) for _ in range(800)]
    assert chance_error(target, np.arange(55)) == pytest.approx(np.std(drawn), rel=0.1)


def test_a_cohort_without_a_test_split_is_not_asked(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=100)
    assert shuffled_findings(scope_of(replace(cohort, index=cohort.index.assign(split="train")), 0), {}) == []
