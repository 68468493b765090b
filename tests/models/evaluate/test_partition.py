"""Parts hold whole groups, and each its share of cases and of events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluate.metrics import EvaluationError
from models.evaluate.partition import check_groups, check_whole, deal


@given(
    sizes=st.lists(st.integers(1, 5), min_size=12, max_size=60),
    share=st.floats(0.1, 0.9),
    parts=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_groups_stay_whole_and_cases_and_events_are_level(
    sizes: list[int], share: float, parts: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    target = (rng.random(len(groups)) < share).astype(float)
    shuffled = rng.permutation(len(groups))
    groups, target = groups[shuffled], target[shuffled]
    part = deal(groups, target, parts, np.random.default_rng(seed))
    assert set(part) <= set(range(parts))
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1
    events = np.bincount(part, target, parts)
    largest = max(np.bincount(groups, target))
    assert np.ptp(events) <= largest
    np.testing.assert_array_equal(part, deal(groups, target, parts, np.random.default_rng(seed)))


def test_subjects_of_one_case_are_dealt_out_to_the_last_one() -> None:
    target = np.repeat([1.0, 0.0], [23, 77])
    part = deal(np.arange(100), target, 5, np.random.default_rng(0))
    assert sorted(np.bincount(part, target)) == [4, 4, 5, 5, 5]
    assert np.bincount(part).tolist() == [20] * 5
    assert (part != deal(np.arange(100), target, 5, np.random.default_rng(1))).any()


def test_an_unknown_outcome_counts_as_none_and_groups_may_be_texts() -> None:
    groups = np.array(["a", "a", "b", "c", "d"])
    part = deal(groups, np.array([1, np.nan, 0, np.nan, 1]), 2, np.random.default_rng(3))
    assert part[0] == part[1] != part[4]


def test_too_few_groups_and_torn_subjects_are_refused_with_the_counts() -> None:
    with pytest.raises(
        EvaluationError, match=r"in 3 folds: expected at least 3 .* got 2 with and 3 without, in 6 cases"
    ):
        check_groups(np.array([1, 1, 2, 3, 4, 5]), np.array([1, 1, 1, 0, 0, 0]), 3, "cross-validation in 3 folds")
    check_groups(np.array([1, 2, 3, 4]), np.array([1, 1, 0, 0]), 2, "two")
    with pytest.raises(EvaluationError, match="expected each subject in one, got 1 in several, such as 8"):
        check_whole(np.array(["a", "b", "b"]), np.array([8, 8, 9]))
