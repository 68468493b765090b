"""Notes that are nearly the same, and forms that many share."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.leakage.near_notes import (
    ALIKE,
    BANDS,
    ROWS,
    hashed_runs,
    jaccard,
    near_note_findings,
    near_pairs,
)
from models.leakage.scope import scope_of


def sets_of_runs(tokens: list[int]) -> set[tuple[int, ...]]:
    return {tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)}


@given(st.lists(st.integers(1, 4), min_size=4, max_size=30), st.lists(st.integers(1, 4), min_size=4, max_size=30))
def test_the_shared_part_is_that_of_the_sets_of_runs(first: list[int], second: list[int]) -> None:
    tokens, observed = np.zeros((2, 30), np.int64), np.zeros((2, 30), bool)
    for row, mine in enumerate((first, second)):
        tokens[row, : len(mine)], observed[row, : len(mine)] = mine, True
    hashed, there = hashed_runs(tokens, observed)
    a, b = sets_of_runs(first), sets_of_runs(second)
    runs = [np.unique(hashed[row][there[row]]) for row in (0, 1)]
    assert [len(mine) for mine in runs] == [len(a), len(b)]
    assert jaccard(*runs) == len(a & b) / len(a | b)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_the_candidates_hold_all_pairs_that_are_alike(seed: int) -> None:
    """Against every pair by brute force; the chance to miss one of 0.9 is below one in a thousand."""
    rng = np.random.default_rng(seed)
    notes = [list(rng.integers(1, 500, 80)) for _ in range(40)]
    for note in notes[:10]:
        altered = note.copy()
        altered[int(rng.integers(0, 80))] = 999  # of 77 runs 4 at most change
        notes.append(altered)
    tokens = np.array(notes)
    hashed, _ = hashed_runs(tokens, np.ones(tokens.shape, bool))
    factors = rng.integers(1, 2**62, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    signature = np.stack([((hashed * factor) >> np.uint64(16)).min(1) for factor in factors], 1)
    found = {tuple(pair) for pair in near_pairs([np.unique(row) for row in hashed], signature).tolist()}
    sets = [sets_of_runs(note) for note in notes]
    every = itertools.combinations(range(len(notes)), 2)
    alike = {(i, j) for i, j in every if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= ALIKE}
    assert len(alike) >= 10
    assert found <= alike
    assert len(found) >= len(alike) - 1


def written(garden: Any, copies: Callable[[np.ndarray], list[tuple[int, int]]]) -> Any:
    """A cohort whose notes have the longest form, and some of whom bear the note of another."""
    planted = garden(absent={"notes": 0.0})
    cohort = planted.cohort
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 500, cohort.arrays(0, "notes").values.shape)
    for source, copy in copies(cohort.index["split"].to_numpy()):
        tokens[copy] = tokens[source]
    planted.change("notes.values", lambda _: tokens.astype(np.int64))
    planted.change("notes.observed", np.ones_like)
    return planted.cohort


def test_a_note_filed_under_two_subjects_of_two_splits_is_an_alarm(garden: Any) -> None:
    cohort = written(garden, lambda split: [(np.flatnonzero(split == "train")[0], np.flatnonzero(split == "test")[0])])
    (found,) = near_note_findings(scope_of(cohort, 0))
    assert (found.check, found.where, found.verdict) == ("duplicates", "notes", "alarm")
    assert "1 groups of nearly the same notes" in found.figure


def test_a_form_that_many_share_is_a_look_and_no_copy(garden: Any) -> None:
    cohort = written(garden, lambda split: [(0, copy) for copy in range(1, 100)])
    copies, forms = near_note_findings(scope_of(cohort, 0))
    assert copies.verdict == "fine"
    assert (forms.verdict, forms.figure) == ("look", "1 texts that 5 subjects or more share (100 cases)")


def test_notes_of_a_few_words_are_not_compared(garden: Any) -> None:
    planted = garden()
    planted.change("notes.values", np.ones_like)
    planted.change("notes.observed", lambda observed: np.arange(observed.shape[1]) < np.full((len(observed), 1), 6))
    assert near_note_findings(scope_of(planted.cohort, 0)) == []
