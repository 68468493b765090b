"""Measures of likeness against the examples of their papers, and against other ways to compute them."""

import math
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.drafts.measures import bleu, longest_common_subsequence, rouge_l, words_of

WORDS = st.lists(st.sampled_from("abcd"), max_size=9)


def test_words_are_in_lower_case_with_marks_by_themselves() -> None:
    assert words_of("The CT, at 3.5 cm.") == ["the", "ct", ",", "at", "3.5", "cm", "."]


def test_rouge_l_of_the_papers_example() -> None:
    reference = words_of("police killed the gunman")  # Lin 2004, section 3.1
    assert rouge_l(words_of("police kill the gunman"), reference) == pytest.approx(0.75)
    assert rouge_l(words_of("the gunman kill police"), reference) == pytest.approx(0.5)
    assert rouge_l(words_of("the gunman police killed"), reference) == pytest.approx(0.5)
    longer = words_of("police kill the gunman today now")  # recall 3/4, precision 3/6
    assert rouge_l(longer, reference) == pytest.approx(2 * 0.75 * 0.5 / 1.25)


def test_rouge_l_is_0_where_there_is_nothing_and_1_of_the_same() -> None:
    assert rouge_l([], ["a"]) == rouge_l(["a"], []) == rouge_l(["a"], ["b"]) == 0
    assert rouge_l(["a", "b"], ["a", "b"]) == 1


@given(WORDS, WORDS)
def test_the_longest_common_subsequence_is_that_of_the_recursion(one: list[str], other: list[str]) -> None:
    @cache
    def longest(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if one[i - 1] == other[j - 1]:
            return longest(i - 1, j - 1) + 1
        return max(longest(i - 1, j), longest(i, j - 1))

    assert longest_common_subsequence(one, other) == longest(len(one), len(other))


def test_bleu_by_hand() -> None:
    reference = words_of("the heart is not large and the lungs are clear")
    written = words_of("the heart is large and the lungs are clear")
    # runs shared: 9 of 9, 7 of 8, 5 of 7, 3 of 6; 9 words for 10
    expected = math.exp(1 - 10 / 9) * (1 * 7 / 8 * 5 / 7 * 3 / 6) ** 0.25
    assert bleu([written], [reference]) == pytest.approx(expected)
    assert bleu([reference], [reference]) == 1
    assert bleu([["a", "b", "c"]], [["a", "b", "c"]]) == 0, "no run of four"


def test_a_word_counts_no_more_often_than_the_reference_has_it() -> None:
    # Papineni et al. 2002, section 2.1: "the" seven times against a reference with two of it has a precision of 2/7.
    written, reference = ["the"] * 7, words_of("the cat is on the mat")
    padded = [*written, *"wxyz"], [*reference, *"wxyz"]
    first = Fraction(2 + 4, 11)
    expected = (first * Fraction(3, 10) * Fraction(2, 9) * Fraction(1, 8)) ** 0.25
    assert bleu([padded[0]], [padded[1]]) == pytest.approx(float(expected))


def test_longer_than_the_reference_is_not_a_merit_nor_a_penalty_of_its_own() -> None:
    reference = list("abcdef")
    longer = list("abcdefgh")
    assert bleu([longer], [reference]) == pytest.approx((6 / 8 * 5 / 7 * 4 / 6 * 3 / 5) ** 0.25)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_measures_are_shares_and_a_corpus_of_itself_is_perfect(pairs: list[tuple[list[str], list[str]]]) -> None:
    written, references = [one for one, _ in pairs], [other for _, other in pairs]
    assert 0 <= bleu(written, references) <= 1
    assert all(0 <= rouge_l(one, other) <= 1 for one, other in pairs)
    if any(len(one) >= 4 for one in written):
        assert bleu(written, written) == pytest.approx(1)
