"""A mapping: which columns of whose tables mean what, as a YAML file read into a frozen, validated value."""

import difflib
import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.mapping.table import Column, Part, Subject, Table, Time, digest_of

__all__ = ["Column", "Notes", "Subject", "Table", "TableMapping", "Time", "load_mapping"]


class Notes(Part):
    """Text files, a note each. `name` is a regular expression for the file's name without its suffix, with a group
    `subject` and, unless notes are static, a group `time`."""

    path: str
    name: str
    issuer: str = Field(min_length=1)
    code: str = Field(min_length=1)
    format: str | None = None  # strptime pattern of the group `time`; ISO 8601 by default
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"  # of files without a byte order mark

    @model_validator(mode="after")
    def _has_groups(self) -> "Notes":
        try:
            groups = re.compile(self.name).groupindex
        except re.error as error:
            raise ValueError(f"name is not a regular expression: {error}") from None
        if "subject" not in groups or set(groups) - {"subject", "time"}:
            raise ValueError("name needs a group (?P<subject>...) and may have (?P<time>...)")
        return self

    @property
    def reading(self) -> str:
        return digest_of(self)


Named = TypeVar("Named", Table, Notes)


class TableMapping(Part):
    """What a delivery's tables and notes mean. Built by `load_mapping`; see docs/mappings.md for every key."""

    files: tuple[Table, ...] = ()
    notes: tuple[Notes, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> "TableMapping":
        if not self.files and not self.notes:
            raise ValueError("give files or notes")
        return self

    def table(self, file: SourceFile) -> Table | None:
        """The part whose path matches the file."""
        return _only(self.files, file)

    def note(self, file: SourceFile) -> Notes | None:
        """The notes part whose path matches the file."""
        return _only(self.notes, file)


def _only(parts: Sequence[Named], file: SourceFile) -> Named | None:
    """The part whose glob matches the file. Two of them would leave rows unread without a word: that is refused.

    A glob is held against the path from the delivery's folder on, then with that folder's name (or the archive's)
    before it, then against the path's end, so that it does not matter from which folder up a delivery is named.
    """
    matching: list[Named] = []
    for path, prefix in ((file.relative, ""), (file.full_name, ""), (file.relative, "*/")):
        matching = matching or [part for part in parts if fnmatch.fnmatchcase(path, prefix + part.path)]
    if len(matching) > 1:
        globs = " and ".join(repr(part.path) for part in matching)
        raise InputError(
            file.name, field="path", expected="one part of the mapping for this file", got=f"{len(matching)}: {globs}",
            hint="merge their columns into one part, or name the files apart",
        )  # fmt: skip
    return matching[0] if matching else None


def load_mapping(path: Path) -> TableMapping:
    """Read a mapping file. Raises InputError naming the file, the key, and what was expected."""
    if not path.is_file():
        raise InputError(str(path), expected="a mapping file", got="nothing of that name")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f"line {where.line + 1}" if where else ""
        raise InputError(str(path), line, expected="YAML", got="something that does not parse") from None
    return parse_mapping(raw, str(path))


def parse_mapping(raw: object, where: str) -> TableMapping:
    """Build a mapping from plain values; `where` names their origin in errors."""
    if not isinstance(raw, dict):
        raise InputError(where, expected="a mapping with files or notes", got=type(raw).__name__)
    try:
        return TableMapping.model_validate(_named_null(raw))
    except ValidationError as error:
        # A misspelt key says more than the missing one that it was meant for.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"] if part not in ("text", "cell"))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        hint = "see docs/mappings.md"
        if first["type"] == "extra_forbidden" and (near := _nearest_keys(str(first["loc"][-1]))):
            hint = f"the nearest keys are {', '.join(near)}; {hint}"
        raise InputError(where, field=key, expected="a valid mapping", got=f"{first['msg']}{more}", hint=hint) from None


def _named_null(raw: object) -> object:
    """YAML reads a bare `null:` as no name at all; as a key it can only mean the key of that name."""
    if isinstance(raw, dict):
        return {"null" if key is None else key: _named_null(value) for key, value in raw.items()}
    return [_named_null(each) for each in raw] if isinstance(raw, list) else raw


def _nearest_keys(key: str) -> list[str]:
    known = {name for part in _parts(Part) for name in part.model_fields}
    return difflib.get_close_matches(key, sorted(known), 3, 0.6)


def _parts(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for part in base.__subclasses__():
        yield part
        yield from _parts(part)
