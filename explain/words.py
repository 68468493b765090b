"""Words and sentences from the places of tokens: the elements of a text, and which of them belong together."""

import re
from dataclasses import dataclass, replace

MAX_WORDS = 96  # a longer text is explained by pairs of neighbouring words, then fours, ...

_SENTENCE_END = re.compile(r"[.!?。！？][\"')\]]*$")
_ALONE = re.compile(r"^[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]$")


@dataclass(frozen=True)
class Word:
    """Characters start ... end of the text, tokens first ... last, and the number of its sentence."""

    start: int
    end: int
    first: int
    last: int
    sentence: int


def split_words(text: str, offsets: list[tuple[int, int]]) -> list[Word]:
    """Tokens, given by their (start, end) in `text`, as words: pieces of one word and its punctuation are joined.

    A sentence ends with its mark or a line. Signs of scripts without spaces stay alone.
    """
    words: list[Word] = []
    for place, (start, end) in enumerate(offsets):
        before = words[-1] if words else None
        if before is not None and before.end >= start and _one_word(text, offsets[place - 1], (start, end)):
            words[-1] = replace(before, end=max(end, before.end), last=place + 1)
            continue
        sentence = 0
        if before is not None:
            sentence = before.sentence + _ends(text[before.start : before.end], text[before.end : start])
        words.append(Word(start, end, place, place + 1, sentence))
    return _coarsen(words)


def _one_word(text: str, before: tuple[int, int], token: tuple[int, int]) -> bool:
    last, piece = text[slice(*before)], text[slice(*token)]
    if _ALONE.match(piece):
        return False
    return not _ALONE.match(last) or not any(c.isalnum() for c in piece)


def _ends(word: str, gap: str) -> bool:
    return "\n" in gap or _SENTENCE_END.search(word) is not None


def _coarsen(words: list[Word]) -> list[Word]:
    """At most MAX_WORDS elements: neighbours of a sentence are joined in pairs, and at last whole sentences."""
    while len(words) > MAX_WORDS:
        joined = _joined(words)
        if len(joined) == len(words):
            joined = _joined([replace(word, sentence=word.sentence // 2) for word in words])
        words = joined
    return words


def _joined(words: list[Word]) -> list[Word]:
    out: list[Word] = []
    free = False  # whether the last one may still take a neighbour
    for word in words:
        if free and out[-1].sentence == word.sentence:
            out[-1] = replace(out[-1], end=word.end, last=word.last)
            free = False
        else:
            out.append(word)
            free = True
    return out
