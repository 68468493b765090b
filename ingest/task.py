"""A task: who, when, what and from what, as a YAML file read into a frozen, validated value."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ingest.errors import TaskError

StreamKind = Literal["table", "series", "image", "text", "audio"]
Code = Annotated[str, Field(min_length=1)]
StreamName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]  # it names files


class Value(BaseModel):
    """The base of every part of a task: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Index(Value):
    """The moment at which the risk is wanted.

    Either an `event` (a code) plus `offset_hours`, or, for data without times, `per_record`: one case for every
    source record (a row of a table) that holds this code, whose streams come from that record alone.
    """

    event: Code | None = None
    which: Literal["first", "last", "each"] = "first"
    offset_hours: float = 0.0
    per_record: Code | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Index":
        if (self.event is None) == (self.per_record is None):
            raise ValueError("give either event or per_record")
        return self


class Condition(Value):
    """A fact that a case must have (under `include`) or must not have (under `exclude`) at its index time.

    A numeric comparison with `above`/`below` (both inclusive), or a text among `values`; with none of these the
    mere presence of one of `codes` before the index time counts.
    """

    name: str
    codes: tuple[Code, ...]
    above: float | None = None
    below: float | None = None
    values: tuple[str, ...] | None = None


class Target(Value):
    """The outcome. Either events within a horizon after the index time, or a stated label.

    With `events`, a case is positive where one of them falls in (index, index + horizon_hours]. With `label`, the
    text of that code decides, and a text that is in neither list excludes the case and is counted.
    """

    kind: Literal["binary"] = "binary"
    events: tuple[Code, ...] = ()
    horizon_hours: float | None = None
    label: Code | None = None
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> "Target":
        if bool(self.events) == (self.label is not None):
            raise ValueError("give either events (with horizon_hours) or label (with positive and negative)")
        if self.events and self.horizon_hours is None:
            raise ValueError("events need horizon_hours")
        if self.label and not (self.positive and self.negative):
            raise ValueError("a label needs both positive and negative values")
        if overlap := set(self.positive) & set(self.negative):
            raise ValueError(f"these values are both positive and negative: {sorted(overlap)}")
        return self


class Feature(Value):
    """One column of a table stream, or one channel of a series stream.

    `levels` makes it categorical (their texts, in order); `levels: auto` takes them from the training split.
    `code: age` with `derive: age` counts years from birth to the index time.
    """

    name: str
    codes: tuple[Code, ...] = ()
    unit: str | None = None
    levels: tuple[str, ...] | Literal["auto"] | None = None
    reduce: Literal["last", "first", "mean", "min", "max", "count", "any"] = "last"
    derive: Literal["age"] | None = None
    plausible: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _a_source(self) -> "Feature":
        if not self.codes and self.derive is None:
            raise ValueError(f"feature {self.name}: give codes or derive")
        return self


class StreamBase(Value):
    """What all streams share: a window of hours before the index time, and the encoder's settings."""

    window_hours: float | None = None  # None: everything before the index time
    encoder: dict[str, Any] = Field(default_factory=dict)


class TableStream(StreamBase):
    """One vector of features: `values (N, F)`."""

    kind: Literal["table"]
    features: tuple[Feature, ...] = Field(min_length=1)


class SeriesStream(StreamBase):
    """An irregular time series of channels: `values (N, T, F)`, T distinct times, the latest `max_times` kept."""

    kind: Literal["series"]
    channels: tuple[Feature, ...] = Field(min_length=1)
    max_times: int = Field(default=64, ge=1)


class ImageStream(StreamBase):
    """Images, the latest `max_images` kept: `values (N, T, C, *shape)`, intensities in [0, 1]."""

    kind: Literal["image"]
    codes: tuple[Code, ...] = Field(min_length=1)
    shape: tuple[int, ...] = (96, 96)  # (height, width) or (depth, height, width)
    channels: Literal[1, 3] = 1
    max_images: int = Field(default=1, ge=1)


class TextStream(StreamBase):
    """Notes in order of time, joined: `values (N, T)` token ids. `redact` holds regular expressions to cut out."""

    kind: Literal["text"]
    codes: tuple[Code, ...] = Field(min_length=1)
    max_tokens: int = Field(default=256, ge=8)
    tokenizer: str = "hashed-words"  # or the folder of a transformers tokenizer
    redact: tuple[str, ...] = ()


class AudioStream(StreamBase):
    """Sound as log-mel frames: `values (N, T, mels)`, the latest recording."""

    kind: Literal["audio"]
    codes: tuple[Code, ...] = Field(min_length=1)
    sample_rate_hz: int = 4000
    seconds: float = 6.0
    mels: int = 32


StreamSpec = Annotated[TableStream | SeriesStream | ImageStream | TextStream | AudioStream, Field(discriminator="kind")]


class Split(Value):
    """Fractions of subjects for train, validation and test.

    By `subject`, each subject's part follows from a hash of its id and the seed, so it never changes when new data
    arrives; the values of `group_by` (a code, such as a hospital) keep whole groups together. By `time`, the
    earliest index times train and the latest test, and a subject's cases stay in its earliest part.

    stratify: exact fractions among subjects with the outcome and among those without, for small cohorts. Subjects
    that are appended later follow their hash; those that are there stay where they are.
    """

    by: Literal["subject", "time"] = "subject"
    group_by: Code | None = None
    stratify: bool = False
    train: float = 0.6
    validation: float = 0.15
    test: float = 0.25
    seed: int = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> "Split":
        if (
            abs(self.train + self.validation + self.test - 1.0) > 1e-6
            or min(self.train, self.validation, self.test) <= 0
        ):
            raise ValueError("train + validation + test must be 1, each above 0")
        if self.stratify and self.by == "time":
            raise ValueError("stratify goes with by: subject")
        return self


class Task(Value):
    """A prediction task. Built by `load_task`; see docs/tasks.md for every key."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    index: Index
    include: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()
    target: Target
    streams: dict[StreamName, StreamSpec] = Field(min_length=1, max_length=8)
    split: Split = Split()
    model: dict[str, Any] = Field(default_factory=dict)  # read by models.config

    @property
    def timed(self) -> bool:
        """Whether cases have an index time."""
        return self.index.event is not None


def load_task(path: Path) -> Task:
    """Read a task file. Raises TaskError naming the file, the key, and what was expected."""
    if not path.is_file():
        raise TaskError(f"{path}: no such task file; `telltale tasks` lists the built-in ones")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: expected YAML, got something that does not parse: {_one_line(error)}") from None
    return parse_task(raw, str(path))


def parse_task(raw: object, where: str) -> Task:
    """Build a Task from plain values; `where` names their origin in errors."""
    if not isinstance(raw, dict):
        raise TaskError(f"{where}: expected a mapping with name, index, target and streams, got {type(raw).__name__}")
    try:
        return Task.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "task"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise TaskError(f"{where}, {key}: {first['msg']}{more}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
