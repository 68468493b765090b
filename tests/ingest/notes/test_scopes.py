"""Negation and family history are marked, in five languages, for the network to tell apart."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.notes.languages import languages, languages_of
from ingest.notes.scopes import FAMILY, NEGATED, find_scopes
from ingest.notes.tokenizer import HashedWords, MarkedWords
from ingest.notes.words import split_words

SAYS = {"plain": 0, "not": NEGATED, "family": FAMILY, "family not": FAMILY | NEGATED}
GOLD: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    Path(__file__).with_name("scope_sentences.yaml").read_text(encoding="utf-8")
)
SENTENCES = [(code, sentence) for code, sentences in GOLD.items() for sentence in sentences]


def marked(text: str) -> dict[str, int]:
    """The mark of each word, in small letters; of the last, where one is there twice."""
    offsets = split_words(text)
    return {text[a:b].lower(): int(mark) for (a, b), mark in zip(offsets, find_scopes(text, offsets), strict=True)}


@pytest.mark.parametrize(("code", "sentence"), SENTENCES, ids=[s["text"][:40] for _, s in SENTENCES])
def test_sentences_are_read_as_a_reader_would(code: str, sentence: dict[str, Any]) -> None:
    found = marked(sentence["text"])
    assert {word: found[word] for word in sentence["words"]} == {w: SAYS[s] for w, s in sentence["words"].items()}


def test_there_are_sentences_in_every_language_that_has_cues() -> None:
    assert GOLD.keys() == languages().keys()
    assert len(SENTENCES) >= 60


def test_each_paragraph_is_read_in_its_own_language() -> None:
    found = marked("No fever and no cough in the patient.\n\nDer Patient ist nicht verwirrt und hat keine Schmerzen.")
    assert (found["fever"], found["verwirrt"], found["schmerzen"]) == (NEGATED, NEGATED, NEGATED)
    assert languages_of(["der", "patient", "und", "die", "schwester", "mit", "fieber"]) == {"de"}
    assert languages_of(["患", "者", "无", "发", "热"]) == {"zh"}


def test_a_wrapped_line_goes_on_and_a_new_one_does_not() -> None:
    assert marked("No evidence of\npneumonia in the lungs")["pneumonia"] == NEGATED
    assert marked("The chest: no rales\nPneumonia on the left")["pneumonia"] == 0


def test_all_under_the_heading_is_of_the_family() -> None:
    found = marked("Family history:\nDiabetes and stroke. No cancer.\n\nExamination:\nThe murmur is loud.")
    assert (found["stroke"], found["cancer"], found["murmur"]) == (FAMILY, FAMILY | NEGATED, 0)


def test_a_marked_word_has_an_id_of_its_own_and_the_place_of_the_word() -> None:
    text = "No fever. Fever! The father had fever; cough."
    plain, places = HashedWords().tokenize(text)
    ids, same = MarkedWords().tokenize(text)
    assert same == places
    words = [text[a:b].lower() for a, b in places]
    fevers = [i for i, word in enumerate(words) if word == "fever"]
    assert len({ids[i] for i in fevers}) == 3
    assert ids[fevers[1]] == plain[fevers[1]], "a plain word is the same in both"
    assert all(ids[i] == plain[i] for i, word in enumerate(words) if not word.isalnum()), "marks are never negated"
    assert MarkedWords().tokenize("no fever")[0] == [5893, 3208], "ids are the same for ever"


@given(
    st.lists(st.sampled_from(["no", "fever", "but", "nicht", "无", ".", ",", "mother", "\n", "ruled out", "é", "12"]))
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_marked_and_stays_in_place(parts: list[str]) -> None:
    text = " ".join(parts)
    ids, offsets = MarkedWords().tokenize(text)
    assert offsets == HashedWords().tokenize(text)[1]
    assert all(0 < i < MarkedWords().vocabulary_size for i in ids)
    assert MarkedWords().tokenize(text)[0] == ids
