"""A vocabulary file: quantities by code, and how units are spelled, as YAML read into a frozen, validated value."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ingest.errors import InputError
from ingest.meaning.units import PROPERTIES
from ingest.meaning.vocabulary import Quantity, Vocabulary

Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class QuantityEntry(BaseModel):
    """One quantity as it stands in the file. units: what else it comes in, as a factor or as [factor, offset]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: tuple[Text, ...] = Field(min_length=1)
    name: Text
    unit: Text
    property: str = ""
    units: dict[Text, Finite | tuple[Finite, Finite]] = Field(default_factory=dict)
    plausible: tuple[Finite, Finite] | None = None
    source: Text

    @model_validator(mode="after")
    def _makes_sense(self) -> "QuantityEntry":
        if self.property and self.property not in PROPERTIES:
            raise ValueError(f"property: expected one of {', '.join(PROPERTIES)}, got {self.property!r}")
        if self.plausible is not None and self.plausible[0] >= self.plausible[1]:
            raise ValueError("plausible is [low, high]")
        if self.unit in self.units:
            raise ValueError(f"units: {self.unit} is its own unit")
        if any(_pair(each)[0] == 0 or not math.isfinite(1 / _pair(each)[0]) for each in self.units.values()):
            raise ValueError("units: a factor is not 0")
        return self


class VocabularyFile(BaseModel):
    """The whole file. `shared` is for YAML anchors and not read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shared: Any = None
    spellings: dict[Text, Text] = Field(default_factory=dict)
    quantities: tuple[QuantityEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _codes_once(self) -> "VocabularyFile":
        codes = [code for entry in self.quantities for code in entry.codes]
        if repeated := sorted({code for code in codes if codes.count(code) > 1}):
            raise ValueError(f"quantities: these codes stand there more than once: {', '.join(repeated)}")
        return self


def load_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary file. Raises InputError naming the file, the key, and what was expected."""
    if not path.is_file():
        raise InputError(str(path), expected="a vocabulary file", got="nothing of that name")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _loader())  # noqa: S506 - both loaders are the safe ones
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f"line {where.line + 1}" if where else ""
        raise InputError(str(path), line, expected="YAML", got="something that does not parse") from None
    if not isinstance(raw, dict):
        raise InputError(str(path), expected="a mapping with quantities", got=type(raw).__name__)
    try:
        found = VocabularyFile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(
            str(path), field=key, expected="a valid vocabulary", got=f"{first['msg']}{more}",
            hint="see docs/vocabulary.md",
        ) from None  # fmt: skip
    quantities = {
        code: Quantity(
            code, entry.name, entry.unit, entry.property, entry.plausible,
            {unit: _pair(factor) for unit, factor in entry.units.items()}, entry.source,
        )
        for entry in found.quantities
        for code in entry.codes
    }  # fmt: skip
    return Vocabulary(quantities, found.spellings)


def merge_vocabularies(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """All of them as one. Raises InputError where two say different things of one code or one spelling."""
    quantities: dict[str, Quantity] = {}
    spellings: dict[str, str] = {}
    for each in vocabularies:
        for code, quantity in each.quantities.items():
            if quantities.setdefault(code, quantity) != quantity:
                raise InputError("vocabulary", code, expected="one meaning of a code", got="two that differ")
        for spelling, unit in each.spellings.items():
            if spellings.setdefault(spelling, unit) != unit:
                got = f"{spellings[spelling]} and {unit}"
                raise InputError("vocabulary", spelling, expected="one meaning of a spelling", got=got)
    return Vocabulary(quantities, spellings)


def _pair(factor: float | tuple[float, float]) -> tuple[float, float]:
    return factor if isinstance(factor, tuple) else (factor, 0.0)


def _loader() -> Any:
    """libyaml's safe loader where it was built, else the slow one."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
