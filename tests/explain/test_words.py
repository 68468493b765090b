"""Tokens to words and sentences."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from explain.words import MAX_WORDS, split_words
from ingest.notes.tokenizer import load_tokenizer


def words_of(text: str) -> list[tuple[str, int]]:
    offsets = load_tokenizer("hashed-words").tokenize(text)[1]
    return [(text[w.start : w.end], w.sentence) for w in split_words(text, offsets)]


def test_punctuation_stays_with_its_word_and_ends_the_sentence() -> None:
    assert words_of('No fever (37.5 °C). "Stable."\nSpO2/FiO2 low') == [
        ("No", 0), ("fever", 0), ("(37.5", 0), ("°C).", 0), ('"Stable."', 1), ("SpO2/FiO2", 2), ("low", 2),
    ]  # fmt: skip


def test_pieces_of_a_word_are_one_word() -> None:
    words = split_words("auscultation normal", [(0, 5), (5, 12), (13, 19)])
    assert [(w.start, w.end, w.first, w.last) for w in words] == [(0, 12, 0, 2), (13, 19, 2, 3)]


def test_signs_of_scripts_without_spaces_stay_alone() -> None:
    assert words_of("発熱。咳") == [("発", 0), ("熱。", 0), ("咳", 1)]


def test_a_long_text_is_told_by_neighbouring_words() -> None:
    text = " ".join(["one two three."] * 60)
    words = words_of(text)
    assert len(words) <= MAX_WORDS
    assert words[0] == ("one two three.", 0) or words[0] == ("one two", 0)


@given(st.text(max_size=400))
def test_every_token_belongs_to_exactly_one_word(text: str) -> None:
    offsets = load_tokenizer("hashed-words").tokenize(text)[1]
    words = split_words(text, offsets)
    assert [t for w in words for t in range(w.first, w.last)] == list(range(len(offsets)))
    assert len(words) <= MAX_WORDS
    assert all(a.end <= b.start and b.sentence - a.sentence in (0, 1) for a, b in pairwise(words))
