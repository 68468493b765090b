"""Notes: joined, redacted, cut to the latest tokens, and traceable to their places."""

from typing import Any

import numpy as np
import pytest

from ingest.errors import TaskError
from ingest.notes.tokenizer import latest_tokens, load_tokenizer


def notes(**more: Any) -> dict[str, Any]:
    return {"notes": {"kind": "text", "codes": ["NOTE"], **more}}


def note(hours: float, text: str | None, subject: int = 1, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "code": "NOTE", "hours": hours, "text_value": text, **more}


def test_notes_are_joined_in_order_of_time_with_their_own_hours(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), note(20, "Then worse."), note(10, "First well."), note(30, "Later dead.")]
    _, cohort = aligned(rows, task_of(notes()))
    assert cohort.texts("notes")["1"] == "First well.\n\nThen worse."
    stream = cohort.batch([0]).streams["notes"]
    assert stream.hours[0, :7].tolist() == [-14] * 3 + [-4] * 3 + [0]
    assert stream.observed[0].sum() == 6
    tokenizer = load_tokenizer("hashed-words")
    assert stream.values[0, :6].tolist() == tokenizer.tokenize("first well. then worse.")[0]


def test_a_long_text_keeps_its_end_and_counts_the_rest(people: Any, task_of: Any, aligned: Any) -> None:
    words = [f"word{n}" for n in range(30)]
    report, cohort = aligned([*people(), note(1, " ".join(words))], task_of(notes(max_tokens=8)))
    stream = cohort.batch([0]).streams["notes"]
    ids, offsets, dropped = latest_tokens(load_tokenizer("hashed-words"), cohort.texts("notes")["1"], 8)
    assert stream.values[0].tolist() == ids
    assert [cohort.texts("notes")["1"][a:b] for a, b in offsets] == words[-8:]
    assert dropped == report.streams["notes"].left_out["tokens beyond max_tokens"] == 22


def test_what_is_redacted_leaves_no_mark_and_is_counted(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), note(1, "Stable. Moved to the ICU at night. Family told."), note(1, "icu", subject=2)]
    redact = [r"(?<![^.;\n])[^.;\n]*\bicu\b[^.;\n]*[.;\n]?"]
    report, cohort = aligned(rows, task_of(notes(redact=redact)))
    assert cohort.texts("notes")["1"].split() == ["Stable.", "Family", "told."]
    assert report.streams["notes"].left_out == {"empty": 1}
    assert report.streams["notes"].noted == {"passages redacted": 2}
    assert cohort.present[:2, 0].tolist() == [True, False]


def test_a_note_known_later_than_it_is_dated_stays_out(people: Any, task_of: Any, aligned: Any) -> None:
    report, cohort = aligned([*people(), note(20, "Now.", known=30), note(2, "Before.")], task_of(notes()))
    assert cohort.texts("notes")["1"] == "Before."
    assert report.streams["notes"].late == 1


def test_an_empty_note_is_no_note(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), note(1, "  "), note(1, None, subject=2), note(1, "x", subject=3)]
    report, cohort = aligned(rows, task_of(notes()))
    assert np.flatnonzero(cohort.present[:, 0]).tolist() == [2]
    assert report.streams["notes"].left_out == {"empty": 2}


def test_a_cut_text_says_so_in_its_case_and_a_note_that_was_cut_away_is_no_source(
    people: Any, task_of: Any, aligned: Any
) -> None:
    old, new = " ".join(f"old{n}" for n in range(5)), " ".join(f"new{n}" for n in range(9))
    rows = [*people(), note(1, old, source_file="a", source_record="old"), note(2, new, source_file="a")]
    report, cohort = aligned([*rows, note(1, "short", subject=2)], task_of(notes(max_tokens=8)))
    assert cohort.index["notes_note"][0] == "text of 14 tokens: the latest 8 kept"
    assert cohort.index["notes_note"].notna().sum() == 1
    assert report.streams["notes"].left_out == {"tokens beyond max_tokens": 6}
    assert report.streams["notes"].noted == {"cases cut to max_tokens": 1}
    sources = cohort.sources("notes").query("case_id == '1'")
    assert sources[["element", "count"]].to_numpy().tolist() == [[0, 8]], "the old note gave nothing"
    assert "old" not in set(sources["source_record"])


def test_only_the_sections_asked_for_are_read(people: Any, task_of: Any, aligned: Any) -> None:
    text = "History: fever and a cough.\nFamily history: mother has asthma.\nPlan: rest and fluids now."
    rows = [*people(), note(1, text), note(1, "Plan: go home soon please.", subject=2)]
    report, cohort = aligned(rows, task_of(notes(sections=["history"], without_sections=["^family"])))
    assert cohort.texts("notes")["1"] == "History: fever and a cough."
    assert report.streams["notes"].left_out["notes without such a section"] == 1
    assert cohort.present[:2, 0].tolist() == [True, False]
    assert cohort.index["notes_problem"][1] == "1 note, nothing left after sections and redaction"


def test_marked_words_tell_a_negated_word_from_a_plain_one(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), note(1, "fever"), note(1, "no fever", subject=2)]
    _, cohort = aligned(rows, task_of(notes(tokenizer="marked-words")))
    values = cohort.batch([0, 1]).streams["notes"].values
    assert values[0, 0] != values[1, 1]


def test_a_pattern_that_is_none_is_refused_with_its_key(people: Any, task_of: Any, aligned: Any) -> None:
    with pytest.raises(TaskError, match=r"stream notes, sections: expected regular expressions, got '\('"):
        aligned([*people(), note(1, "x")], task_of(notes(sections=["("])))
