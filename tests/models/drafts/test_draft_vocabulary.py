"""Words of drafts: what is written comes back as it was, and nothing is made up for what is not known."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ModelError
from models.drafts.vocabulary import BEGIN, END, GAP, PAD, SPECIAL, UNKNOWN, Vocabulary, fit_vocabulary

REPORTS = [
    "Findings: The heart is large. CT shows no fluid (left).\nImpression: Well-aerated lungs.",
    "The CT is normal. No fluid, no mass.\n\nImpression: Well.",
    "Is the heart large? 3.5 cm of fluid / mass on the CT.",
]


@pytest.mark.parametrize("text", REPORTS)
def test_a_text_of_known_words_comes_back_but_for_empty_lines(text: str) -> None:
    vocabulary = fit_vocabulary(REPORTS, 100)
    assert vocabulary.write(vocabulary.encode(text)) == text.replace("\n\n", "\n")


def test_a_script_without_spaces_comes_back() -> None:
    text = "双肺清晰。未见积液，心影不大。"
    vocabulary = fit_vocabulary([text], 100)
    assert vocabulary.write(vocabulary.encode(text)) == text


def test_capitals_belong_to_words_and_to_the_beginning_of_sentences() -> None:
    vocabulary = fit_vocabulary(["Heart large. The CT shows a large Heart of Quill.", "MRI done."], 100)
    said = {word: vocabulary.shown[vocabulary.place[word]] for word in ("heart", "the", "ct", "quill", "mri", "done")}
    assert said == {"heart": "Heart", "the": "the", "ct": "CT", "quill": "Quill", "mri": "MRI", "done": "done"}
    assert vocabulary.write(vocabulary.encode("done the ct. done")) == "Done the CT. Done"


def test_an_unknown_word_is_a_gap_and_special_ones_are_not_shown() -> None:
    vocabulary = fit_vocabulary(REPORTS, 100)
    assert vocabulary.encode("Zebra") == [UNKNOWN]
    assert vocabulary.write([BEGIN, *vocabulary.encode("The zebra is large."), END, PAD]) == f"The {GAP} is large."


def test_the_most_frequent_words_are_kept_by_the_reports_that_hold_them() -> None:
    texts = ["a a a a b", "b c", "b c", "d"]
    assert fit_vocabulary(texts, 2).words == (*SPECIAL, "b", "c")
    assert fit_vocabulary(texts, 9, least_reports=2).words == (*SPECIAL, "b", "c")
    assert fit_vocabulary(texts, 9).words == (*SPECIAL, "b", "c", "a", "d"), "ties by name"


def test_marks_follow_each_word() -> None:
    vocabulary = fit_vocabulary(["One two."], 9)
    assert vocabulary.write(vocabulary.encode("One two."), ["", "(?)", ""]) == "One two(?)."


@given(st.lists(st.text(alphabet="ab cD.,-/\n(2:", max_size=30), min_size=1, max_size=4), st.integers(1, 12))
def test_it_survives_json_and_ids_stay_in_range(texts: list[str], size: int) -> None:
    vocabulary = fit_vocabulary(texts, size)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    assert len(vocabulary) <= size + len(SPECIAL)
    for text in texts:
        ids = vocabulary.encode(text)
        assert all(i == UNKNOWN or len(SPECIAL) <= i < len(vocabulary) for i in ids)
        if UNKNOWN not in ids:
            assert "".join(vocabulary.write(ids).split()).lower() == "".join(text.split()).lower()


@pytest.mark.parametrize("raw", [{}, {"words": ["a"]}, {n: ["a"] for n in ("words", "shown", "before", "after")}])
def test_what_is_no_vocabulary_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="vocabulary: expected"):
        Vocabulary.from_json(raw)
