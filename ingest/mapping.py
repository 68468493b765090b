"""A mapping: which columns of whose tables mean what, as a YAML file read into a frozen, validated value."""

import fnmatch
import hashlib
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ingest.errors import InputError
from ingest.sources import SourceFile

RELATIVE_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "wk": 604800.0}  # in seconds, by UCUM code


class Part(BaseModel):
    """The base of every part of a mapping: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(Part):
    """Whom a row is about: an identifier in a column, and who issued it."""

    column: str
    issuer: str = Field(min_length=1)


class Time(Part):
    """When a row was.

    ISO 8601 by default; `format` is a strptime pattern; `unit` (s, min, h, d, wk) makes it an offset, counted from
    the nominal 2000-01-01T00:00Z, for data that tell only how far apart things were. `missing` says what becomes of
    a row without one: refused, static (true at any time), or skipped.
    """

    column: str
    format: str | None = None
    unit: Literal["s", "min", "h", "d", "wk"] | None = None
    missing: Literal["refuse", "static", "skip"] = "refuse"

    @model_validator(mode="after")
    def _one_of_two(self) -> "Time":
        if self.format and self.unit:
            raise ValueError("give format or unit, not both")
        return self


class Column(Part):
    """One observation of every row: a column's value under a code, or an image or sound file named by a template."""

    code: str = Field(min_length=1)
    column: str | None = None
    kind: Literal["numeric", "text"] = "text"
    unit: str | None = None  # UCUM; leave it out where the table's values are not all in one unit
    null: tuple[str, ...] = ("",)
    unparseable: Literal["refuse", "null"] = "refuse"
    asset: str | None = None  # such as "images/{image_id}.jpg", relative to the table

    @model_validator(mode="after")
    def _one_of_two(self) -> "Column":
        if (self.column is None) == (self.asset is None):
            raise ValueError(f"{self.code}: give either column or asset")
        if self.asset is not None and not self.placeholders:
            raise ValueError(f"{self.code}: asset needs a column in braces, such as images/{{file}}")
        return self

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The columns that the asset's template names."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.asset or "") if name)


class Table(Part):
    """The CSV or Parquet files that `path` (a glob, relative to the delivery) matches, and what their rows mean."""

    path: str
    subject: Subject
    time: Time | None = None  # None: every row is static
    available_time: Time | None = None
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # only these rows; others are skipped
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)

    @property
    def needed(self) -> tuple[str, ...]:
        """All columns that must be there."""
        named = [self.subject.column, *self.where]
        named += [each.column for each in (self.time, self.available_time) if each]
        named += [name for each in self.columns for name in ([each.column] if each.column else each.placeholders)]
        return tuple(dict.fromkeys(named))

    @property
    def reading(self) -> str:
        """A digest of this part: the same file read in another way is another ingest."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]


class Notes(Part):
    """Text files, a note each. `name` is a regular expression for the file's name without its suffix, with a group
    `subject` and, unless notes are static, a group `time`."""

    path: str
    name: str
    issuer: str = Field(min_length=1)
    code: str = Field(min_length=1)
    format: str | None = None  # strptime pattern of the group `time`; ISO 8601 by default

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
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]


Named = TypeVar("Named", Table, Notes)


class TableMapping(Part):
    """What a delivery's tables and notes mean. Built by `load_mapping`; see docs/ingest.md for every key."""

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
    """The part whose glob matches the file. Two of them would leave rows unread without a word: that is refused."""
    matching = [part for part in parts if fnmatch.fnmatchcase(file.relative, part.path)]
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
    if not isinstance(raw, dict):
        raise InputError(str(path), expected="a mapping with files or notes", got=type(raw).__name__)
    try:
        return TableMapping.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(
            str(path), field=key, expected="a valid mapping", got=f"{first['msg']}{more}", hint="see docs/ingest.md"
        ) from None
