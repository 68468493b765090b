"""A note in sections, by its layout alone: headings look like headings in any language and script."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEADING = 60  # characters
MAX_HEADING_WORDS = 8
MAX_INLINE = 40  # of a heading with text behind it on its line
MAX_INLINE_WORDS = 5
MAX_UNSPACED = 12  # characters, in scripts without spaces

_LINE = re.compile(r"[^\n]*\n|[^\n]+$")
_MARKDOWN = re.compile(r"\s{0,3}#{1,6}\s+(.+?)\s*#*\s*$")
_BOLD = re.compile(r"\s*(?:\*\*|__)(.{1,60}?)(?:\*\*|__)\s*[:：]?\s*(?=\S|$)")
_BRACKETED = re.compile(r"\s*【([^】\n]{1,30})】[:：]?")
_COLON = re.compile(r"\s*(?:[-*•]\s+)?([^:：\n]{1,60}?)\s*(?:：|:(?=\s|$))(.*)$", re.DOTALL)
_UNDERLINE = re.compile(r"\s*(?:={3,}|-{3,}|_{3,})\s*$")
_SENTENCE = re.compile(r"[.!?。！？;；,，]")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class Section:
    """Characters start ... end of a note, from the first of its heading on; `body` is where its text begins.

    name: the heading without its marks; "" before the first one. parent: the heading on a line of its own that a
    heading with text behind it stands under, or "".
    """

    name: str
    start: int
    body: int
    end: int
    parent: str = ""


def split_sections(text: str) -> list[Section]:
    """The sections of a note, in order; together they are the whole of it."""
    lines = [found.span() for found in _LINE.finditer(text)]
    headings: list[tuple[str, int, int, str]] = []
    parent = ""
    for number, (start, end) in enumerate(lines):
        line = text[start:end]
        following = text[slice(*lines[number + 1])] if number + 1 < len(lines) else ""
        found = _heading(line, following)
        if found is None:
            continue
        name, body, alone = found
        headings.append((name, start, start + body, "" if alone else parent))
        parent = name if alone else parent
    if not headings or headings[0][1] > 0:
        headings.insert(0, ("", 0, 0, ""))
    ends = [start for _, start, _, _ in headings[1:]] + [len(text)]
    return [
        Section(name, start, body, end, above)
        for (name, start, body, above), end in zip(headings, ends, strict=True)
        if end > start
    ]


def select_sections(text: str, keep: Sequence[re.Pattern[str]], leave_out: Sequence[re.Pattern[str]]) -> str:
    """The note's sections that match one of `keep` (all, where there is none) and none of `leave_out`.

    A section goes with the one it stands under.
    """
    if not keep and not leave_out:
        return text
    kept = []
    for section in split_sections(text):
        names = (section.name, section.parent) if section.parent else (section.name,)
        wanted = not keep or any(pattern.search(name) for pattern in keep for name in names)
        if wanted and not any(pattern.search(name) for pattern in leave_out for name in names):
            kept.append(text[section.start : section.end])
    return "".join(kept)


def _heading(line: str, following: str) -> tuple[str, int, bool] | None:
    """(name, where its text begins in the line, whether it is alone on its line) of a heading."""
    bare = line.strip()
    if not bare or _UNDERLINE.match(bare):
        return None
    for mark in (_MARKDOWN, _BRACKETED, _BOLD):
        if found := mark.match(line):
            alone = not line[found.end() :].strip()
            return _name(found[1]), len(line) if alone else found.end(), alone
    if _short(bare.rstrip(":："), MAX_HEADING, MAX_HEADING_WORDS):
        if bare[-1] in ":：" or (following.strip() and _UNDERLINE.match(following)):
            return _name(bare), len(line), True
        letters = [c for c in bare if c.isalpha()]
        if len(letters) >= 4 and bare.isupper() and following and not any(c.isdigit() for c in bare):
            return _name(bare), len(line), True
    if (found := _COLON.match(line)) and _inline(found[1], found[2]):
        return _name(found[1]), found.start(2), False
    return None


def _inline(name: str, value: str) -> bool:
    """Whether "name: value" is a heading with its text, and not a measurement or a sentence."""
    if not _short(name, MAX_INLINE, MAX_INLINE_WORDS) or any(c.isdigit() for c in name):
        return False
    if not name[0].isalpha() or name[0].islower() or not value.strip():
        return False
    words = [word for word in value.split() if any(c.isalpha() for c in word)]
    return len(words) >= 3 or not any(c.isdigit() for c in value)


def _short(text: str, characters: int, words: int) -> bool:
    if not text or len(text) > characters or _SENTENCE.search(text) or not any(c.isalpha() for c in text):
        return False
    return len(text) <= MAX_UNSPACED if _UNSPACED.search(text) else len(text.split()) <= words


def _name(text: str) -> str:
    return " ".join(text.strip(" \t#*_:：").split())
