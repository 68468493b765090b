"""Words that settle the outcome are told; texts and names never are."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingest.cohort import Cohort
from ingest.delivery.shown_names import mask
from models.leakage.scope import scope_of
from models.leakage.words import patterns_of, word_findings, word_marks

WORDS = {"death": ["died", "passed away"], "its means": ["intubat*", "ventilat*", "ecmo", "vasopressors"]}


def nobody(words: Any) -> set[str]:
    return set()


def with_words(garden: Any, add: Callable[[np.random.Generator, bool], str], n: int = 300) -> Cohort:
    """A cohort to each of whose notes something is added, by its outcome."""
    planted = garden(n)
    cohort = planted.cohort
    rng = np.random.default_rng(0)
    outcome = dict(zip(cohort.index["notes_row"], cohort.target == 1, strict=True))

    def plant(texts: pd.DataFrame) -> pd.DataFrame:
        added = [
            f"{add(rng, bool(outcome[row]))} {text}" for row, text in zip(texts["row"], texts["text"], strict=True)
        ]
        return texts.assign(text=pd.array(added, dtype="str"))

    planted.change_table("notes.text", plant)
    opened: Cohort = planted.cohort
    return opened


def test_a_word_of_the_outcome_is_an_alarm(garden: Any) -> None:
    cohort = with_words(garden, lambda rng, event: "Intubated." if event and rng.random() < 0.3 else "")
    of_outcome, plain = word_findings(scope_of(cohort, 0), WORDS, nobody)
    assert (of_outcome.check, of_outcome.where, of_outcome.verdict) == ("words of the outcome", "notes", "alarm")
    assert re.match(r"'intubated' in \d\d of \d\d with the outcome, 0 of \d{3} without$", of_outcome.figure)
    assert "`redact`" in of_outcome.step
    assert plain.verdict == "fine"


def test_a_word_that_nobody_thought_of_is_found_by_its_counts(garden: Any) -> None:
    cohort = with_words(garden, lambda rng, event: "seen with pathway ruby." if event and rng.random() < 0.5 else "")
    of_outcome, plain = word_findings(scope_of(cohort, 0), WORDS, nobody)
    assert of_outcome.verdict == "fine"
    assert (plain.check, plain.verdict) == ("words in notes", "alarm")
    assert "'ruby'" in plain.figure
    assert "'pathway ruby'" not in plain.figure  # its words are told already


def test_a_pair_whose_words_say_nothing_apart_is_found(garden: Any) -> None:
    def add(rng: np.random.Generator, event: bool) -> str:
        first, second = ("left", "right") if rng.random() < 0.5 else ("right", "left")
        return f"{first} {second}." if event else f"{first}. {second}."

    _, plain = word_findings(scope_of(with_words(garden, add), 0), WORDS, nobody)
    assert plain.verdict == "alarm"
    assert "'left right'" in plain.figure


def test_what_a_patient_bears_as_a_name_is_masked(garden: Any) -> None:
    cohort = with_words(garden, lambda rng, event: "Archer." if event else "")
    _, plain = word_findings(scope_of(cohort, 0), WORDS, lambda words: {"archer"} & set(words))
    assert plain.verdict == "alarm"
    assert "archer" not in plain.figure.lower()
    assert mask("archer") in plain.figure


def test_a_word_of_few_subjects_is_never_shown(garden: Any) -> None:
    """Nine notes of those with the outcome bear it: settled, yet it could be somebody's."""
    left = iter(["Zebedee"] * 9)
    cohort = with_words(garden, lambda rng, event: next(left, "") if event else "")
    assert "zebedee" not in str(word_findings(scope_of(cohort, 0), WORDS, nobody))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_honest_notes_are_fine(synthetic_cohort: Callable[..., Cohort], seed: int) -> None:
    found = word_findings(scope_of(synthetic_cohort(n=300, seed=seed), 0), WORDS, nobody)
    assert [finding.verdict for finding in found] == ["fine", "fine"]


def test_words_of_the_outcome_are_those_given_and_the_tasks_own(synthetic_cohort: Callable[..., Cohort]) -> None:
    patterns = patterns_of(WORDS, synthetic_cohort(n=100).task)
    assert list(patterns) == ["death", "its means", "the task itself"]

    def of(word: str) -> list[str]:
        return [subject for subject, pattern in patterns.items() if pattern.fullmatch(word)]

    told = {"death": "the task itself", "icu": "the task itself", "intubation": "its means", "passed away": "death"}
    assert {word: of(word) for word in told} == {word: [subject] for word, subject in told.items()}
    assert [of(word) for word in ("diedx", "passed", "reintubated", "stable")] == [[], [], [], []]


def test_rare_words_of_one_subject_tell_together(garden: Any) -> None:
    """Each is in a handful of notes, which could be chance; that any of them is there could not."""
    means = ["intubated", "ventilation", "ecmo", "vasopressors", "intubation", "ventilator"]
    some = iter([word for word in means for _ in range(3)])
    cohort = with_words(garden, lambda rng, event: next(some, "") if event else "")
    found, _ = word_findings(scope_of(cohort, 0), WORDS, nobody)
    assert found.verdict == "alarm"
    told = "a word of its means (ecmo, intubated, intubation, vasopressors, ventilation, ventilator)"
    assert f"{told} in 18 of " in found.figure


def test_words_and_pairs_are_counted_once_a_text() -> None:
    texts = ["No fever. No fever, no cough"] * 4 + ["fever"] * 2
    marked, words = word_marks(texts)
    counts = dict(zip(words, np.asarray(marked.sum(0)).ravel().tolist(), strict=True))
    assert counts == {"fever": 6}  # the others are in four texts only
    marked, words = word_marks([*texts, texts[0]])
    counts = dict(zip(words, np.asarray(marked.sum(0)).ravel().tolist(), strict=True))
    assert counts == {"no": 5, "fever": 7, "no fever": 5, "cough": 5, "no cough": 5}


def test_too_few_notes_of_one_outcome_are_noted(synthetic_cohort: Callable[..., Cohort], with_targets: Any) -> None:
    cohort = synthetic_cohort(n=100)
    scope = scope_of(with_targets(cohort, (np.arange(100) < 3).astype(np.float32)), 0)
    assert word_findings(scope, WORDS, nobody) == []
    assert scope.notes == ["notes: too few notes of either outcome to compare their words"]
