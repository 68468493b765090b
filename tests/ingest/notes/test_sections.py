"""Notes fall into sections by their layout, in any language."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.notes.sections import select_sections, split_sections


def names(text: str) -> list[str]:
    return [section.name for section in split_sections(text)]


@given(st.text(alphabet="aZ :：\n#*=-.é家：1", max_size=200) | st.text(max_size=100))
def test_sections_are_the_whole_note_in_order(text: str) -> None:
    sections = split_sections(text)
    assert "".join(text[section.start : section.end] for section in sections) == text
    assert all(section.start <= section.body <= section.end for section in sections)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen at noon.\nHistory:\nCough.\nPLAN\nRest.", ["", "History", "PLAN"]),
        ("Presenting complaint: Cough.\nHistory: Fever for days.", ["Presenting complaint", "History"]),
        ("# Anamnese\nHusten\n## Befund\nUnauffällig", ["Anamnese", "Befund"]),
        ("**Examen clinique**\nSouple.\n**Conclusion:** normale.", ["Examen clinique", "Conclusion"]),
        ("ANTECEDENTES FAMILIARES\nMadre con diabetes.", ["ANTECEDENTES FAMILIARES"]),
        ("主诉：咳嗽三天\n家族史：无", ["主诉", "家族史"]),
        ("【主诉】\n咳嗽三天\n【查体】肺部清", ["主诉", "查体"]),
        ("История болезни:\nКашель.", ["История болезни"]),
        ("الشكوى:\nسعال", ["الشكوى"]),
        ("Findings\n========\nClear.\nImpression\n----------\nNormal.", ["Findings", "Impression"]),
        ("Allergies: None", ["Allergies"]),
    ],
)
def test_headings_are_known_by_their_looks(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "BP: 120/80 mmHg\nTemp: 37.5",
        "at 12:30: seen",
        "He said this, and more:\nnothing.",
        "see https://example.org: there",
        "a long line of ordinary words that only happens to end with a colon, as some do:",
        "T2 N1 M0",
        "no capital: not a heading here",
    ],
)
def test_measurements_and_sentences_are_no_headings(text: str) -> None:
    assert names(text) == [""]


NOTE = "Admitted today.\nHISTORY\nCough.\nFever: none\nFamily history: mother well.\nPlan:\nRest.\n"


def chosen(keep: str = "", leave: str = "") -> str:
    patterns = [[re.compile(p, re.IGNORECASE)] if p else [] for p in (keep, leave)]
    return select_sections(NOTE, *patterns)


def test_sections_are_kept_or_left_out_by_name_with_what_stands_under_them() -> None:
    assert chosen() == NOTE
    assert chosen(keep="^history") == "HISTORY\nCough.\nFever: none\nFamily history: mother well.\n"
    assert chosen(keep="^history", leave="family") == "HISTORY\nCough.\nFever: none\n"
    assert chosen(leave="history") == "Admitted today.\nPlan:\nRest.\n"
    assert chosen(keep="^$") == "Admitted today.\n"
    assert chosen(keep="nothing like it") == ""
