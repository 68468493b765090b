"""The words that drafts are made of: those of the training reports, in any language, without word pieces."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ingest.errors import ModelError
from ingest.notes.words import ALONE, split_words

PAD, UNKNOWN, BEGIN, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
LINE = "\n"
GAP = "[...]"  # in place of a word that the vocabulary lacks: a word is never made up
_ENDS = frozenset({".", "!", "?", ":", "：", "。", "！", "？", LINE})
_UNSPACED = re.compile(rf"[{ALONE}]")


@dataclass(frozen=True)
class Vocabulary:
    """Words in lower case, the special ones first; how each is mostly written, and which stand close to others.

    shown: how a word is written within a sentence ("CT"). before, after: whether a mark mostly follows, or is
    followed, without a space; False of words.
    """

    words: tuple[str, ...]
    shown: tuple[str, ...]
    before: tuple[bool, ...]
    after: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def place(self) -> dict[str, int]:
        """Word -> its id."""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, text: str) -> list[int]:
        """The id of each word, mark and line break."""
        return [self.place.get(piece.word.lower(), UNKNOWN) for piece in _pieces(text)]

    def write(self, ids: Sequence[int], mark: Sequence[str] = ()) -> str:
        """The text of these ids, without special ones; mark: what is written right after each."""
        said, close, begins = "", True, True
        for number, word in enumerate(ids):
            if word in (PAD, BEGIN, END):
                continue
            shown = self.alone(word)
            if begins and shown[:1].islower():
                shown = shown[0].upper() + shown[1:]
            said += ("" if close or self.before[word] else " ") + shown + (mark[number] if mark else "")
            close, begins = self.after[word], self.words[word] in _ENDS
        return said

    def alone(self, word: int) -> str:
        """How a word is written by itself, a gap for an unknown one."""
        return GAP if word == UNKNOWN else self.shown[word]

    def to_json(self) -> dict[str, Any]:
        """Plain values, of which `from_json` makes the same again."""
        return {name: list(getattr(self, name)) for name in ("words", "shown", "before", "after")}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of `to_json`. Raises ModelError where it is none."""
        try:
            parts = [tuple(raw[name]) for name in ("words", "shown", "before", "after")]
        except (KeyError, TypeError):
            raise ModelError("vocabulary: expected words, shown, before and after, got something else") from None
        if len({len(part) for part in parts}) != 1 or parts[0][: len(SPECIAL)] != SPECIAL:
            raise ModelError("vocabulary: expected lists of one length that begin with the special words")
        return cls(*parts)


def fit_vocabulary(texts: Sequence[str], size: int, least_reports: int = 1) -> Vocabulary:
    """The `size` words that are in the most texts, and in at least `least_reports` of them; special ones are extra."""
    held: Counter[str] = Counter()
    seen: dict[str, _Seen] = {}
    for text in texts:
        pieces = list(_pieces(text))
        held.update({piece.word.lower() for piece in pieces})
        for piece in pieces:
            seen.setdefault(piece.word.lower(), _Seen()).add(piece)
    frequent = sorted((word for word, count in held.items() if count >= least_reports), key=lambda w: (-held[w], w))
    chosen = [(word, seen[word]) for word in frequent[:size]]
    none = (False,) * len(SPECIAL)
    return Vocabulary(
        (*SPECIAL, *(word for word, _ in chosen)),
        (*SPECIAL, *(found.shown for _, found in chosen)),
        (*none, *(found.before > 0 and not _is_word(word) for word, found in chosen)),
        (*none, *(found.after > 0 and not _is_word(word) for word, found in chosen)),
    )


@dataclass(frozen=True)
class _Piece:
    """A word, a mark or a line break. before, after: whether it touches its neighbour (None: it has none in its line).

    begins: whether it begins a sentence.
    """

    word: str
    before: bool | None
    after: bool | None
    begins: bool


@dataclass
class _Seen:
    """How a word was written. before, after: how much more often it touched its neighbour than not."""

    within: Counter[str] = field(default_factory=Counter)
    first: Counter[str] = field(default_factory=Counter)
    before: int = 0
    after: int = 0

    def add(self, piece: _Piece) -> None:
        (self.first if piece.begins else self.within)[piece.word] += 1
        self.before += {True: 1, False: -1, None: 0}[piece.before]
        self.after += {True: 1, False: -1, None: 0}[piece.after]

    @property
    def shown(self) -> str:
        """As mostly written within sentences; what only began them loses that capital, unless it is all capitals."""
        text = min((self.within or self.first).items(), key=lambda item: (-item[1], item[0]))[0]
        return text if self.within or (len(text) > 1 and text.isupper()) else text.lower()


def _pieces(text: str) -> Iterator[_Piece]:
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if number:
            yield _Piece(LINE, before=True, after=True, begins=False)
        spans = split_words(line)
        begins = True
        for at, (start, end) in enumerate(spans):
            before = spans[at - 1][1] == start if at else None
            after = spans[at + 1][0] == end if at + 1 < len(spans) else None
            yield _Piece(line[start:end], before, after, begins)
            begins = line[start:end] in _ENDS


def _is_word(word: str) -> bool:
    return word[0].isalnum() and not _UNSPACED.match(word)
