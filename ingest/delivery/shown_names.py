"""File names as they may be shown: a part of a path that could be somebody's name or number is masked.

A hospital names folders and files after patients more often than it should; and whoever has to mend a file needs its
name. So a part of a path shows as it is unless it has the form of a name, a date or a number of somebody, or holds a
name or an identifier that the delivery itself gives to a patient. Such a part shows as `…` and eight digits of its
SHA-256, with its suffix; quarantine keeps the full path.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Set
from functools import lru_cache

Bearing = Callable[[Set[str]], Set[str]]  # of some words in lower case, those that a patient bears as name or number

_SUFFIX = re.compile(r"(?:\.[A-Za-z][A-Za-z0-9]{0,7}){1,2}$")
_NUMBER = re.compile(r"\d{6}|\d{4}[-_. ]\d{2}[-_. ]\d{2}|\d{2}[-_. ]\d{2}[-_. ]\d{4}")
_SIGNS = re.compile(r"[\^@=,;'’]|[^\W\d_a-zA-Z]")  # of DICOM names and addresses; letters that are not plain ASCII
_WORD = r"(?:[A-Z][a-z]+|[A-Z]{2,}|[A-Z])"
_CAPITALISED = re.compile(rf"{_WORD}(?:[ _.-]+{_WORD}){{1,3}}(?:[ _.-]*\d{{1,5}})?")
# Of two capitalised words, one of these tells that they are no name.
_THINGS_TEXT = """
ai ap baseline big bundle case chest claim code cohort condition cr ct data delivery diagnostic document dr dx ecg edf
encounter example export fhir file im image imaging img invalid lab labs little location mapping measurement
medication mg mono mr mri nm note notes observation omop ot pa pat patient person procedure px questionnaire record
report resource response result rgb rle sc scan seg series sound sr stay study subject table tc test us valid visit
vital vitals ward wg xa xr xray
"""
_THINGS = frozenset(_THINGS_TEXT.split())


class ShownName(str):
    """A path as it may be shown. `full` is what it stands for, and goes nowhere but into quarantine."""

    full: str

    def __new__(cls, full: str) -> "ShownName":
        made = super().__new__(cls, "/".join(shown_part(part) for part in full.split("/")))
        made.full = full
        return made

    def __getnewargs__(self) -> tuple[str]:
        return (self.full,)


def without_persons(shown: str, known: Bearing) -> str:
    """A shown path with the parts masked that hold a word of a patient's name, or an identifier."""
    return all_without_persons([shown], known)[shown]


def all_without_persons(shown: Iterable[str], known: Bearing) -> dict[str, str]:
    """Shown paths -> the same without persons; `known` is asked once for all of them."""
    words = {path: {part: words_of(part) for part in path.split("/")} for path in shown}
    every = {word for parts in words.values() for found in parts.values() for word in found}
    personal = known(every) - _THINGS  # some patients of tests are called Test
    return {
        path: "/".join(mask(part) if parts[part] & personal else part for part in path.split("/"))
        for path, parts in words.items()
    }


def words_of(part: str) -> Set[str]:
    """What of a part of a path could be a name or an identifier: its words and all of it, in lower case."""
    stem = part.removesuffix(_suffix(part)).casefold()
    return {stem, *re.findall(r"[^\W\d_]{3,}", stem), *re.findall(r"\w{3,}", stem), *re.findall(r"[\w-]{3,}", stem)}


@lru_cache(maxsize=4096)
def shown_part(part: str) -> str:
    """A part of a path; masked where it has the form of a name, a date or somebody's number."""
    return part if part.startswith("…") or is_impersonal(part.removesuffix(_suffix(part))) else mask(part)


def mask(part: str) -> str:
    """What a part of a path shows as where it may name somebody."""
    if part.startswith("…"):
        return part
    return f"…{hashlib.sha256(part.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{_suffix(part).lower()}"


def is_impersonal(text: str) -> bool:
    """Whether a text has none of the forms in which people and their numbers are written."""
    if _SIGNS.search(text) or _NUMBER.search(text):
        return False
    if not _CAPITALISED.fullmatch(text):
        return True
    return any(word in _THINGS for word in re.findall(r"[a-z]+", text.lower()))


def _suffix(part: str) -> str:
    found = _SUFFIX.search(part)
    return found[0] if found else ""
