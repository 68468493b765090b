"""Splits: whole subjects, stable for ever, in the stated shares."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.align.split import PARTS, assign_splits
from ingest.task import Split


def split(subject: Any, times: Any = None, groups: Any = None, **more: Any) -> list[str]:
    subject = np.asarray(subject, np.int64)
    times = np.zeros(len(subject), np.int64) if times is None else np.asarray(times, np.int64)
    options = {key: more.pop(key) for key in ("settled", "boundaries") if key in more}
    return list(assign_splits(Split(**more), subject, times, groups, **options))


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1), st.lists(st.integers(0, 2**63 - 1)), st.integers(0, 9))
def test_more_subjects_change_nobodys_part(some: list[int], more: list[int], seed: int) -> None:
    assert split(some + more, seed=seed)[: len(some)] == split(some, seed=seed)


def test_the_shares_are_as_stated() -> None:
    parts = split(range(20_000))
    for part, share in zip(PARTS, (0.6, 0.15, 0.25), strict=True):
        assert parts.count(part) / 20_000 == pytest.approx(share, abs=0.015)
    assert split(range(100)) != split(range(100), seed=1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1000)), min_size=1))
def test_a_subject_is_in_one_part_by_time_too(cases: list[tuple[int, int]]) -> None:
    subjects, times = zip(*cases, strict=True)
    parts = split(subjects, times, by="time")
    for subject in set(subjects):
        assert len({part for s, part in zip(subjects, parts, strict=True) if s == subject}) == 1


def test_by_time_the_earliest_train_and_the_latest_test() -> None:
    times = np.random.default_rng(0).permutation(100)
    parts = np.array(split(range(100), times, by="time"))
    assert [int((parts == part).sum()) for part in PARTS] == [60, 15, 25]
    assert times[parts == "train"].max() < times[parts == "validation"].min()
    assert times[parts == "validation"].max() < times[parts == "test"].min()


def test_by_time_a_returning_subject_stays_where_it_began() -> None:
    assert split([*range(10), 0], [*range(10), 99], by="time")[-1] == "train"


def test_groups_stay_together_and_a_missing_group_is_its_own() -> None:
    groups = {subject: f"hospital {subject % 5}" for subject in range(100)}
    parts = split(range(200), groups=groups)
    for hospital in range(5):
        assert len(set(parts[hospital:100:5])) == 1
    assert set(parts[100:]) == set(PARTS)
    assert parts[100:] == split(range(200))[100:]


def test_what_an_earlier_cohort_decided_stays() -> None:
    assert split([1, 2], settled={1: "test", 2: "validation"}) == ["test", "validation"]
    assert split([1, 2, 3], [5, 15, 25], by="time", boundaries=(10, 20)) == ["train", "validation", "test"]


def test_nobody_needs_no_part() -> None:
    assert split([]) == []
    assert split([], by="time") == []


def test_a_stratified_split_has_exact_fractions_in_each_class() -> None:
    subject = np.arange(120)
    outcome = (subject % 6 == 0).astype(np.float32)
    split = Split(stratify=True, train=0.5, validation=0.25, test=0.25)
    parts = assign_splits(split, subject, np.zeros(120, np.int64), outcome=outcome)
    events = {part: int(outcome[parts == part].sum()) for part in PARTS}
    assert events == {"train": 10, "validation": 5, "test": 5}
    assert {part: int((parts == part).sum()) for part in PARTS} == {"train": 60, "validation": 30, "test": 30}


def test_a_stratified_split_keeps_groups_whole() -> None:
    subject = np.arange(60)
    groups = {int(s): f"hospital {s // 5}" for s in subject}
    outcome = (subject % 7 == 0).astype(np.float32)
    parts = assign_splits(Split(stratify=True), subject, np.zeros(60, np.int64), groups, outcome=outcome)
    assert all(len(set(parts[start : start + 5])) == 1 for start in range(0, 60, 5))
