"""Which words of a note are negated, and which are said of the family: NegEx and ConText, in several languages.

A cue negates the words after it (or before it) up to the end of the sentence, to a word that ends the scope, or as far
as the language's reach. SOURCE: Chapman et al. 2001, doi:10.1006/jbin.2001.1029; Harkema et al. 2009,
doi:10.1016/j.jbi.2009.05.002.
"""

import re
from collections.abc import Sequence

import numpy as np

from ingest.notes.languages import Cues, Kind, cues_of, languages_of
from ingest.notes.sections import split_sections

NEGATED, FAMILY = 1, 2
MAX_SENTENCE = 128  # tokens; what is longer is no sentence, and is looked at piece by piece
STOPS = frozenset(".!?。！？;；")
COMMAS = frozenset(",，")
_BLANK = re.compile(r"\n[^\S\n]*\n")

Match = tuple[int, int, Kind]  # tokens from ... to, what


def find_scopes(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """(tokens,) uint8: NEGATED, FAMILY, both or 0 for each token of `text`, given by its place.

    Paragraphs are looked at one by one, each in the languages that its common words tell.
    """
    marks = np.zeros(len(offsets), np.uint8)
    words = [text[a:b].lower() for a, b in offsets]
    whole = languages_of(words)
    starts = [a for a, _ in offsets]
    edges = [0, *(found.end() for found in _BLANK.finditer(text)), len(text) + 1]
    firsts = np.searchsorted(starts, edges)
    for first, last in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True):
        if last > first:
            cues = cues_of(languages_of(words[first:last], whole))
            for a, b in _sentences(text, offsets, first, last):
                _mark(words, a, b, cues, marks)
    _mark_sections(text, starts, cues_of(whole), marks)
    return marks


def _sentences(text: str, offsets: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """Runs of tokens that no stop or line divides. A line that goes on with a small letter is only wrapped."""
    found, start = [], first
    for place in range(first, last):
        a, b = offsets[place]
        ends = text[a:b] in STOPS or place - start >= MAX_SENTENCE
        if not ends and place + 1 < last:
            after = offsets[place + 1][0]
            ends = after > b and "\n" in text[b:after] and not text[after].islower()
        if ends:
            found.append((start, place + 1))
            start = place + 1
    if start < last:
        found.append((start, last))
    return found


def _mark(words: Sequence[str], first: int, last: int, cues: Cues, marks: np.ndarray) -> None:
    matches = _matches(words, first, last, cues)
    if not matches:
        return
    for number, (a, b, kind) in enumerate(matches):
        before, after = matches[:number], matches[number + 1 :]
        if kind == "who" and not _speaks(words, b, last, cues) and not _company(a, before):
            kind = "family"
        if kind == "both":
            kind = "after" if _clause_ends(words, b, last) else "before"
        if kind == "before":
            marks[b : _forward(words, b, last, after, cues)] |= NEGATED
        elif kind == "after":
            marks[_backward(words, a, first, before, cues) : a] |= NEGATED
        elif kind == "family":
            end = min((m[0] for m in after if m[2] == "family ends" or _breaks(words, m)), default=last)
            marks[b:end] |= FAMILY
            if b >= last - 1 or not any(word.isalnum() for word in words[b:last]):  # "diabetes in her mother"
                marks[_backward(words, a, first, before, cues) : a] |= FAMILY
        elif kind == "family after":
            marks[first:a] |= FAMILY
    for a, b, kind in matches:
        if kind in ("before", "after", "both", "pseudo"):
            marks[a:b] &= ~np.uint8(NEGATED)


def _matches(words: Sequence[str], first: int, last: int, cues: Cues) -> list[Match]:
    """The cues of a sentence, the longest at each place, none within another."""
    found: list[Match] = []
    place = first
    by_first = cues.by_first
    while place < last:
        for phrase, kind in by_first.get(words[place], ()):
            end = place + len(phrase)
            if end <= last and tuple(words[place:end]) == phrase:
                found.append((place, end, kind))
                place = end - 1
                break
        place += 1
    return found


def _forward(words: Sequence[str], start: int, last: int, after: Sequence[Match], cues: Cues) -> int:
    end = min(last, start + cues.reach, *(m[0] for m in after if m[2] == "ends"))
    if cues.comma_ends:
        end = next((place for place in range(start, end) if words[place] in COMMAS), end)
    return end


def _backward(words: Sequence[str], end: int, first: int, before: Sequence[Match], cues: Cues) -> int:
    start = max(first, end - cues.reach, *(m[1] for m in before if m[2] in ("ends", "before", "pseudo")))
    return next((place + 1 for place in range(end - 1, start - 1, -1) if words[place] in COMMAS), start)


def _clause_ends(words: Sequence[str], place: int, last: int) -> bool:
    return place >= last or not words[place].isalnum()


def _speaks(words: Sequence[str], place: int, last: int, cues: Cues) -> bool:
    """Whether a relative is followed by a word of saying: then the sentence is about the patient."""
    return any(tuple(words[place : min(place + n, last)]) in cues.informants for n in (1, 2))


def _company(place: int, before: Sequence[Match]) -> bool:
    """Whether a relative is only said to be with the patient: "lives with her brother"."""
    return bool(before) and before[-1][2] == "company" and place - before[-1][1] <= 2


def _breaks(words: Sequence[str], match: Match) -> bool:
    """Whether what ends a negation also ends what is said of a relative: after a comma it does."""
    return match[2] == "ends" and words[match[0] - 1] in COMMAS


def _mark_sections(text: str, starts: Sequence[int], cues: Cues, marks: np.ndarray) -> None:
    """All under the heading "Family history" is of the family."""
    for section in split_sections(text):
        if {section.name.lower(), section.parent.lower()} & cues.sections:
            first, last = np.searchsorted(starts, [section.body, section.end])
            marks[first:last] |= FAMILY
