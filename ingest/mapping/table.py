"""What the columns of a table mean, part by part: the words of which a mapping is made.

Every part is frozen, and a misspelt key is an error. docs/mappings.md explains each key with an example.
"""

import hashlib
import re
import string
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from ingest.meaning.clocks import TOLERANCE_HOURS

RELATIVE_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "wk": 604800.0}  # in seconds, by UCUM code
RelativeUnit = Literal["s", "min", "h", "d", "wk", "hh:mm"]
Cells = dict[str, tuple[str, ...]]  # column -> the texts that its cell may have


class Part(BaseModel):
    """The base of every part of a mapping: frozen, and a misspelt key is an error. A number may stand for its text."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Subject(Part):
    """Whom a row is about: an identifier in a column, or in the file's name, and who issued it.

    `name` is a regular expression for the whole name without its suffix; its first group, or all of it, identifies.
    """

    issuer: str = Field(min_length=1)
    column: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Subject":
        if (self.column is None) == (self.name is None):
            raise ValueError("give either column or name")
        if self.name is not None:
            _check_pattern(self.name)
        return self


class Span(Part):
    """A length of time: a number in a column, or always the same, with its unit."""

    unit: Literal["s", "min", "h", "d", "wk"]
    column: str | None = None
    value: float | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Span":
        if (self.column is None) == (self.value is None):
            raise ValueError("give either column or value")
        return self


class Time(Part):
    """When a row was.

    ISO 8601 by default; `format` is a strptime pattern; `unit` (s, min, h, d, wk, or hh:mm as 36:07) makes it an
    offset, counted from the nominal 2000-01-01T00:00Z, for data that tell only how far apart things were. `at`, in
    place of a column, is the same offset for all rows. `plus` is added. `missing` says what becomes of a row without
    a time: refused, static (true at any time), or skipped.
    """

    column: str | None = None
    at: float | None = None
    format: str | None = None
    unit: RelativeUnit | None = None
    plus: Span | None = None
    missing: Literal["refuse", "static", "skip"] = "refuse"

    @model_validator(mode="after")
    def _one_of_two(self) -> "Time":
        if (self.column is None) == (self.at is None):
            raise ValueError("give either column or at")
        if self.format and self.unit:
            raise ValueError("give format or unit, not both")
        if self.at is not None and self.unit not in RELATIVE_UNITS:
            raise ValueError(f"at needs a unit: one of {', '.join(RELATIVE_UNITS)}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is read from."""
        return tuple(name for name in (self.column, self.plus.column if self.plus else None) if name is not None)


class Meaning(Part):
    """What one text of a code column stands for: its code, and where they differ from the others', unit and nulls."""

    code: str = Field(min_length=1)
    unit: str | None = None
    null: tuple[str, ...] = ()


class CodeCell(Part):
    """A code that a cell names: `map` by its text, else `prefix` before it (`others: keep`) or none (`others: skip`).

    `pattern` is a regular expression; what its first group finds (or all that it finds) is taken for the cell.
    """

    column: str
    pattern: str | None = None
    map: dict[str, str | Meaning] = Field(default_factory=dict)
    prefix: str = ""
    others: Literal["keep", "skip"] = "keep"

    @model_validator(mode="after")
    def _sound(self) -> "CodeCell":
        _check_pattern(self.pattern)
        if self.others == "skip" and not self.map:
            raise ValueError("others: skip needs a map")
        return self

    def meaning(self, text: str) -> Meaning | None:
        """What a cell stands for; None where it names no code that is wanted."""
        found = part_of(self.pattern, text)
        if found and (known := self.map.get(found)) is not None:
            return known if isinstance(known, Meaning) else Meaning(code=known)
        return Meaning(code=self.prefix + found) if found and self.others == "keep" else None


class UnitCell(Part):
    """A unit that a cell names, rewritten by `map` where it is not UCUM. An empty one states none."""

    column: str
    map: dict[str, str] = Field(default_factory=dict)


def _text_or_cell(value: Any) -> str:
    return "cell" if isinstance(value, dict | CodeCell | UnitCell) else "text"


Code = Annotated[
    Annotated[str, Field(min_length=1), Tag("text")] | Annotated[CodeCell, Tag("cell")], Discriminator(_text_or_cell)
]
Unit = Annotated[Annotated[str, Tag("text")] | Annotated[UnitCell, Tag("cell")], Discriminator(_text_or_cell)]


class Column(Part):
    """One observation of every row: a column's value under a code, the row itself (`flag`), or a file (`asset`).

    `where` limits it to some rows. `pattern` and then `replace` rewrite the cell before it is read. `unparseable` and
    `implausible` (by the vocabulary) say what a bad number does: refuse the row, or count as no value.
    """

    code: Code
    column: str | None = None
    kind: Literal["numeric", "text", "flag"] = "text"
    unit: Unit | None = None  # UCUM; leave it out where none is stated
    null: tuple[str, ...] = ()  # cells that mean "no value"; the empty one always does
    pattern: str | None = None
    replace: dict[str, str] = Field(default_factory=dict)
    unparseable: Literal["refuse", "null"] = "refuse"
    implausible: Literal["refuse", "null"] = "refuse"
    asset: str | None = None  # such as "images/{image_id}.jpg", relative to the table
    where: Cells = Field(default_factory=dict)
    time: Time | None = None  # in place of the table's
    available_time: Time | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> "Column":
        if (self.column is not None) + (self.asset is not None) + (self.kind == "flag") != 1:
            raise ValueError(f"{self.title}: give either column or asset or kind: flag")
        if self.asset is not None and not self.placeholders:
            raise ValueError(f"{self.title}: asset needs a column in braces, such as images/{{file}}")
        if self.unit is not None and self.kind != "numeric":
            raise ValueError(f"{self.title}: a unit goes with kind: numeric")
        _check_pattern(self.pattern)
        return self

    @property
    def title(self) -> str:
        return self.code if isinstance(self.code, str) else self.code.column

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The columns that the asset's template names."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.asset or "") if name)

    @property
    def needed(self) -> tuple[str, ...]:
        """All columns that it is read from."""
        named = [self.column, *self.placeholders, *self.where]
        named += [cell.column for cell in (self.code, self.unit) if isinstance(cell, CodeCell | UnitCell)]
        named += [name for time in (self.time, self.available_time) if time for name in time.columns]
        return tuple(name for name in named if name is not None)


class Table(Part):
    """The files that `path` (a glob) matches, and what their rows mean: CSV, TSV, Excel or Parquet.

    `tolerance_hours` is how far `available_time` may lie before `time`, as clocks that disagree make it; beyond, the
    row is refused. `key` names the columns by which a row is known again (`row`: all of it), so that a table which
    comes again with more or corrected rows gives only those.
    """

    path: str
    subject: Subject
    time: Time | None = None  # None: every row is static
    available_time: Time | None = None
    tolerance_hours: float = Field(default=TOLERANCE_HOURS, ge=0)
    where: Cells = Field(default_factory=dict)  # only these rows; others are skipped
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)  # None: tab for .tsv and .tab, else comma
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    sheet: str | None = None  # of an Excel file; None: the first
    names: tuple[str, ...] = ()  # of the columns, in a file without a header
    key: tuple[str, ...] | Literal["row"] | None = None
    defaults: dict[str, Any] = Field(default_factory=dict)  # keys of every column that does not state them itself
    columns: tuple[Column, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("defaults"), dict):
            return raw
        columns = raw.get("columns")
        if not isinstance(columns, list | tuple):
            return raw
        filled = [{**raw["defaults"], **each} if isinstance(each, dict) else each for each in columns]
        return {**raw, "columns": filled, "defaults": {}}

    @model_validator(mode="after")
    def _sound(self) -> "Table":
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding: no encoding is called {self.encoding!r}; utf-8, latin-1, cp1252, …") from None
        return self

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """All columns that must be there."""
        named = [self.subject.column, *self.where, *(self.key if isinstance(self.key, tuple) else ())]
        named += [name for each in (self.time, self.available_time) if each for name in each.columns]
        named += [name for each in self.columns for name in each.needed]
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @cached_property
    def reading(self) -> str:
        """A digest of this part: the same file read in another way is another ingest."""
        return digest_of(self)


def digest_of(part: Part) -> str:
    """A digest of what a part says; keys that are left at their default do not count."""
    return hashlib.sha256(part.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:24]


def part_of(pattern: str | None, text: str) -> str | None:
    """What a pattern's first group finds in a text, or all that it finds; the text itself without a pattern."""
    if pattern is None:
        return text
    found = re.search(pattern, text)
    return None if found is None else found[min(found.re.groups, 1)]


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
