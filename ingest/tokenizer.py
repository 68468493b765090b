"""Text to token ids with the place of each token, in any language and without anything to download."""

import hashlib
import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ingest.errors import TaskError

Offsets = list[tuple[int, int]]


class Tokenizer(Protocol):
    """Text to ids. Id 0 is kept for padding."""

    @property
    def vocabulary_size(self) -> int: ...

    def tokenize(self, text: str) -> tuple[list[int], Offsets]:
        """The id of each token, and where it stands in `text` as (start, end)."""
        ...


def load_tokenizer(name: str) -> Tokenizer:
    """`hashed-words`, or the folder of a transformers tokenizer. Nothing is ever downloaded."""
    if name in TOKENIZERS:
        return TOKENIZERS[name]
    if not Path(name).is_dir():
        known = ", ".join(TOKENIZERS)
        raise TaskError(f"tokenizer: expected {known} or the folder of a transformers tokenizer, got {name!r}")
    return _load_transformers(name)


def latest_tokens(tokenizer: Tokenizer, text: str, max_tokens: int) -> tuple[list[int], Offsets, int]:
    """The last `max_tokens` tokens of a text (ids and offsets), and how many before them were dropped."""
    ids, offsets = tokenizer.tokenize(text)
    dropped = max(len(ids) - max_tokens, 0)
    return ids[dropped:], offsets[dropped:], dropped


@dataclass(frozen=True)
class HashedWords:
    """Words, numbers and punctuation marks in lower case, each hashed to one of 1 ... vocabulary_size - 1.

    A number keeps its decimals ("37.5"); signs of scripts without spaces (Chinese, Japanese) stand alone; marks that
    combine with a letter stay with it.
    """

    vocabulary_size: int = 16_384

    def tokenize(self, text: str) -> tuple[list[int], Offsets]:
        """See `Tokenizer.tokenize`."""
        offsets = [match.span() for match in _words().finditer(text)]
        return [1 + _hash(text[a:b].lower()) % (self.vocabulary_size - 1) for a, b in offsets], offsets


@lru_cache(maxsize=100_000)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@lru_cache(maxsize=1)
def _words() -> re.Pattern[str]:
    marks = "".join(chr(c) for c in range(min(sys.maxunicode, 0xFFFF)) if unicodedata.category(chr(c))[0] == "M")
    alone = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    letter = rf"[^\W{alone}]"
    return re.compile(rf"\d+(?:[.,]\d+)*|[{alone}]|{letter}(?:{letter}|[{marks}])*|[^\w\s]")


@dataclass(frozen=True)
class TransformersTokenizer:
    """The tokenizer of a local transformers model, without its special tokens: every token has a place in the text."""

    folder: str
    inner: Any

    @property
    def vocabulary_size(self) -> int:
        return len(self.inner)

    def tokenize(self, text: str) -> tuple[list[int], Offsets]:
        """See `Tokenizer.tokenize`."""
        encoded = self.inner(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]


@lru_cache(maxsize=4)
def _load_transformers(folder: str) -> TransformersTokenizer:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise TaskError(f"tokenizer {folder}: needs the extra: pip install 'telltale[nlp]'") from None
    try:
        inner = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise TaskError(f"tokenizer {folder}: expected the folder of a transformers tokenizer, got: {error}") from None
    if not inner.is_fast:
        raise TaskError(f"tokenizer {folder}: expected a fast tokenizer (tokenizer.json), got a slow one")
    return TransformersTokenizer(folder, inner)


TOKENIZERS: dict[str, Tokenizer] = {"hashed-words": HashedWords()}
