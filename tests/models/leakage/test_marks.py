"""Marks that settle an outcome, beyond chance and beyond how common the outcome is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import fisher_exact

from models.leakage.marks import Marks, count_marks


def marks(*each: tuple[int, int], without: int = 200, with_: int = 100) -> Marks:
    """Marks of (cases without, cases with the outcome)."""
    return Marks(np.array(each).T, np.array([without, with_]), np.ones(2))


@given(st.integers(0, 50), st.integers(0, 30))
def test_the_chance_is_that_of_fishers_exact_test(a: int, b: int) -> None:
    found = marks((a, b), without=50, with_=30)
    table = np.array([[b, 30 - b], [a, 50 - a]])
    side = "greater" if found.outcome[0] == 1 else "less"
    assert found.chance[0] == pytest.approx(min(fisher_exact(table, alternative=side)[1], 1.0), rel=1e-6)


@given(st.integers(0, 1_000))
def test_counts_are_those_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    marked, target = rng.random((30, 4)) < 0.4, rng.integers(0, 2, 30)
    plain = [[sum(marked[i, k] and target[i] == label for i in range(30)) for k in range(4)] for label in (0, 1)]
    for form in (marked, sparse.csr_matrix(marked.astype(int))):
        assert count_marks(form, target).having.tolist() == plain


def test_a_mark_is_an_alarm_only_where_it_settles_a_rare_enough_outcome_for_enough_cases() -> None:
    assert marks((1, 40)).verdicts() == ["alarm"]
    assert marks((3, 37)).verdicts() == ["look"]  # 92 of 100
    assert marks((0, 4)).verdicts() == ["fine"]  # four cases
    assert marks((20, 40)).verdicts() == ["fine"]
    common = marks((600, 0), without=900, with_=100)
    assert (common.outcome[0], common.share[0]) == (0, 1.0)
    assert common.verdicts() == ["look"]  # nine of ten lack the outcome anyway


def test_many_marks_make_one_less_of_a_surprise() -> None:
    noise = [(10, 5)] * 5_000
    assert marks((0, 12)).verdicts()[0] == "alarm"
    assert marks((0, 12), *noise).verdicts()[0] != "alarm"


def test_what_nobody_has_settles_nothing() -> None:
    assert marks((0, 0), (200, 100)).verdicts() == ["fine", "fine"]
