"""A draft says that it is one, in every form there is."""

import inspect
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace

import pandas as pd
import pytest
import torch

from models.drafts import draft as module
from models.drafts.config import DraftConfig
from models.drafts.decoder import Memory
from models.drafts.draft import CUT, NOTHING, NOTICE, Draft, Drafter
from models.drafts.vocabulary import END, GAP, UNKNOWN

Memories = Callable[..., Memory]


def some(body: str = "Lungs clear.", probabilities: tuple[float, ...] = (0.5, 0.125)) -> Draft:
    return Draft("case-1", ("lungs", "clear"), probabilities, body, (), ("xray",), "v0001", "abc")


def test_the_first_line_of_the_text_is_always_the_notice() -> None:
    for body in ("Lungs clear.", "", "\n\nx", "reviewed"):
        draft = some(body)
        assert draft.text.splitlines()[0] == str(draft).splitlines()[0] == NOTICE
        assert NOTICE == "DRAFT - written by a model, not reviewed"


def test_json_and_rows_say_that_it_is_a_draft() -> None:
    raw = json.loads(json.dumps(some().to_json()))
    assert raw["draft"] is True
    assert (raw["status"], raw["notice"]) == ("preliminary", NOTICE)
    assert raw["text"].startswith(NOTICE + "\n")
    row = some().to_row()
    assert row["draft"] is True
    assert row["status"] == "preliminary"
    assert row["text"].startswith(NOTICE + "\n")


def test_nothing_switches_the_mark_off() -> None:
    assert not {"draft", "status", "notice", "text"} & {field.name for field in fields(Draft)}
    for method in (Draft.to_json, Draft.to_row, Draft.__str__):
        assert list(inspect.signature(method).parameters) == ["self"]
    with pytest.raises((FrozenInstanceError, AttributeError)):
        some().text = "final"  # type: ignore[misc]
    settings = set(DraftConfig.model_fields)
    assert not [name for name in settings if "notice" in name or "mark" in name or "status" in name]


def test_the_notice_is_written_in_one_place_only() -> None:
    assert inspect.getsource(module).count('"DRAFT') == 1


def test_the_probability_is_the_geometric_mean_of_the_words() -> None:
    assert some().probability == pytest.approx(0.25)
    assert some("", ()).probability == 0


def test_words_of_low_probability_are_marked_and_marks_are_not(drafter: Drafter, memory: Memories) -> None:
    with torch.no_grad():
        drafter.decoder.bias[UNKNOWN] = -60
    (draft,) = drafter.draft(["a"], memory(1), beams=1)
    sure = replace(drafter, config=drafter.config.model_copy(update={"unsure_below": 0.0}))
    (plain,) = sure.draft(["a"], memory(1), beams=1)
    assert plain.words == draft.words
    low = [word for word, p in zip(draft.words, draft.probabilities, strict=True) if p < 0.5 and word[0] not in ",."]
    assert list(draft.unsure) == low
    assert draft.body.count("(?)") == len(low) > 0
    assert draft.body.replace("(?)", "") == plain.body


def test_an_unknown_word_is_a_gap_that_is_always_marked(drafter: Drafter, memory: Memories) -> None:
    with torch.no_grad():
        drafter.decoder.bias[UNKNOWN] = 60
    sure = replace(drafter, config=drafter.config.model_copy(update={"no_repeat": 0}))
    (draft,) = sure.draft(["a"], memory(1))
    assert draft.body == " ".join([f"{GAP}(?)"] * 6) + f" {CUT}"
    assert min(draft.probabilities) > 0.99


def test_a_draft_says_which_streams_it_rests_on_and_where_there_is_none(drafter: Drafter, memory: Memories) -> None:
    held = memory(2)
    held = replace(held, present=held.stream[None] == torch.tensor([[1], [2]]))
    held = replace(held, present=held.present | (held.stream == 2))
    some, none = drafter.draft(["a", "b"], held)
    assert (some.streams, none.streams) == (("two",), ())
    assert some.to_json()["streams"] == ["two"]
    assert NOTHING not in some.text
    assert none.text.splitlines()[:2] == [NOTICE, NOTHING]


def test_an_empty_draft_is_still_marked(drafter: Drafter, memory: Memories) -> None:
    with torch.no_grad():
        drafter.decoder.bias[END] = 90
    (draft,) = drafter.draft(["a"], memory(1))
    assert draft.streams
    assert draft.text == NOTICE + "\n"
    assert draft.probability == 0


def test_a_draft_names_its_model_and_its_decoder(drafter: Drafter, memory: Memories) -> None:
    (draft,) = drafter.draft(["a"], memory(1))
    assert (draft.case_id, draft.model_version, draft.decoder) == ("a", "v0001", "f" * 12)
    assert pd.DataFrame([draft.to_row()])["model_version"].tolist() == ["v0001"]
