"""Text to token ids with the place of each token, in any language and without anything to download."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ingest.errors import TaskError
from ingest.notes.scopes import FAMILY, NEGATED, find_scopes
from ingest.notes.words import Offsets, split_words


class Tokenizer(Protocol):
    """Text to ids. Id 0 is kept for padding."""

    @property
    def vocabulary_size(self) -> int: ...

    def tokenize(self, text: str) -> tuple[list[int], Offsets]:
        """The id of each token, and where it stands in `text` as (start, end)."""
        ...


def load_tokenizer(name: str) -> Tokenizer:
    """`hashed-words`, `marked-words`, or the folder of a transformers tokenizer. Nothing is ever downloaded."""
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
    """Words, numbers and marks (`notes.words`) in lower case, each hashed to one of 1 ... vocabulary_size - 1."""

    vocabulary_size: int = 16_384

    def tokenize(self, text: str) -> tuple[list[int], Offsets]:
        """See `Tokenizer.tokenize`."""
        offsets = split_words(text)
        return [1 + _hash(text[a:b].lower()) % (self.vocabulary_size - 1) for a, b in offsets], offsets


PREFIXES = {0: "", NEGATED: "not:", FAMILY: "family:", NEGATED | FAMILY: "family:not:"}


@dataclass(frozen=True)
class MarkedWords:
    """As `HashedWords`, but a word that is negated or said of the family (`ingest.notes.scopes`) has an id of its own.

    Its place in the text is that of the word, so that explanations show it as it stands there. Marks of punctuation
    are never negated.
    """

    vocabulary_size: int = 16_384

    def tokenize(self, text: str) -> tuple[list[int], Offsets]:
        """See `Tokenizer.tokenize`."""
        offsets = split_words(text)
        ids = []
        for (a, b), mark in zip(offsets, find_scopes(text, offsets).tolist(), strict=True):
            word = text[a:b].lower()
            ids.append(1 + _hash(PREFIXES[mark] + word if word[0].isalnum() else word) % (self.vocabulary_size - 1))
        return ids, offsets


@lru_cache(maxsize=100_000)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


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


TOKENIZERS: dict[str, Tokenizer] = {"hashed-words": HashedWords(), "marked-words": MarkedWords()}
