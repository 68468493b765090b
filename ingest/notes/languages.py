"""What negates, and what speaks of the family, in the languages there are lists for: one YAML file each in `cues/`.

The words are a language's, not medicine's. A language is added by adding its file.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ingest.notes.words import split_words

FOLDER = Path(__file__).parent / "cues"
Kind = Literal["before", "after", "both", "pseudo", "ends", "family", "family after", "family ends", "who", "company"]
Words = tuple[str, ...]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Negation(_Part):
    """before: negates what follows; after: what precedes; both: at the end of a clause as after, else as before.

    pseudo: looks like a negation and is none. ends: where a scope ends.
    """

    before: Words
    after: Words = ()
    both: Words = ()
    pseudo: Words = ()
    ends: Words = ()


class Family(_Part):
    """who: relatives; before, after: as of negation. informant: verbs after a relative who speaks of the patient.

    company: what stands before a relative who is merely with the patient ("lives with").
    ends: after these words it is about the patient again. sections: headings under which all is of the family.
    """

    who: Words
    before: Words = ()
    after: Words = ()
    informant: Words = ()
    company: Words = ()
    ends: Words = ()
    sections: Words = ()


class Language(_Part):
    """The cues of one language. common: words that tell that a text is in it. reach: of a scope, in words, at most."""

    name: str
    script: str  # as the names of its letters begin in Unicode; HAN stands for Chinese characters
    common: Words
    negation: Negation
    family: Family
    comma_ends: bool = False
    reach: int = Field(default=16, ge=1)


@dataclass(frozen=True)
class Cues:
    """Phrases of some languages by their first word, the longest first. informants: those of one or more words."""

    by_first: dict[str, tuple[tuple[Words, Kind], ...]]
    informants: frozenset[Words]
    comma_ends: bool
    reach: int
    sections: frozenset[str]


@cache
def languages() -> dict[str, Language]:
    """All that there are, by code."""
    return {
        path.stem: Language.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(FOLDER.glob("*.yaml"))
    }


@lru_cache(maxsize=256)
def cues_of(codes: frozenset[str]) -> Cues:
    """The cues of these languages together."""
    phrases: dict[Words, Kind] = {}
    informants: set[Words] = set()
    chosen = [languages()[code] for code in sorted(codes)]
    for language in chosen:
        negation, family = language.negation, language.family
        lists: list[tuple[Kind, Words]] = [
            ("family ends", family.ends), ("ends", negation.ends), ("after", negation.after),
            ("before", negation.before), ("both", negation.both), ("who", family.who), ("family", family.before),
            ("family after", family.after), ("company", family.company), ("pseudo", negation.pseudo),
        ]  # fmt: skip
        for kind, entries in lists:
            phrases.update({_phrase(entry): kind for entry in entries})
        informants.update(map(_phrase, family.informant))
    by_first: dict[str, list[tuple[Words, Kind]]] = {}
    for phrase, kind in phrases.items():
        by_first.setdefault(phrase[0], []).append((phrase, kind))
    return Cues(
        {first: tuple(sorted(found, key=lambda each: -len(each[0]))) for first, found in by_first.items()},
        frozenset(informants),
        any(language.comma_ends for language in chosen),
        max((language.reach for language in chosen), default=1),
        frozenset(name.lower() for language in chosen for name in language.family.sections),
    )


def languages_of(words: Sequence[str], fallback: frozenset[str] | None = None) -> frozenset[str]:
    """The languages that a text of these words (lower case) may be in: those whose common words it has.

    Where hardly any is there: `fallback`, or all languages of the text's script.
    """
    known = languages()
    counts = {code: sum(map(_common(code).__contains__, words)) for code in known}
    most = max(counts.values(), default=0)
    if most >= 2:
        return frozenset(code for code, count in counts.items() if count > most / 2)
    if fallback is not None:
        return fallback
    scripts = {_script(word[0]) for word in words if word}
    return frozenset(code for code, language in known.items() if language.script in scripts)


def _phrase(entry: str) -> Words:
    return tuple(entry[a:b].lower() for a, b in split_words(entry))


@cache
def _common(code: str) -> frozenset[str]:
    return frozenset(languages()[code].common)


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """LATIN, HAN, CYRILLIC ..."""
    name = unicodedata.name(character, "")
    return "HAN" if name.startswith("CJK") else name.split(" ")[0]
