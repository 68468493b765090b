"""A task: who, when, what and from what, as a YAML file read into a frozen, validated value."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from ingest.errors import TaskError
from ingest.target import Code, Target, Value

StreamKind = Literal["table", "series", "image", "text", "audio"]
StreamName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]  # it names files


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


class Feature(Value):
    """One column of a table stream, or one channel of a series stream.

    `levels` makes it categorical (their texts, in order); `levels: auto` takes them from the training split.
    `code: age` with `derive: age` counts years from birth to the index time. `reduce` says how several values become
    one; `all`, for channels of an irregular series, keeps every value as an element of its own, also those of one
    time. `window_hours` looks less far back than the stream does.
    """

    name: str
    codes: tuple[Code, ...] = ()
    unit: str | None = None
    levels: tuple[str, ...] | Literal["auto"] | None = None
    reduce: Literal["last", "first", "mean", "min", "max", "count", "any", "all"] = "last"
    derive: Literal["age"] | None = None
    plausible: tuple[float, float] | None = None
    window_hours: float | None = Field(default=None, ge=0)  # None: as the stream

    @model_validator(mode="after")
    def _a_source(self) -> "Feature":
        if not self.codes and self.derive is None:
            raise ValueError(f"feature {self.name}: give codes or derive")
        if self.derive is not None and self.window_hours is not None:
            raise ValueError(f"feature {self.name}: window_hours goes with codes, not with derive")
        return self


class StreamBase(Value):
    """What all streams share: a window of hours before the index time, and the encoder's settings."""

    window_hours: float | None = None  # None: everything before the index time
    encoder: dict[str, Any] = Field(default_factory=dict)


class TableStream(StreamBase):
    """One vector of features: `values (N, F)`."""

    kind: Literal["table"]
    features: tuple[Feature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_value_each(self) -> "TableStream":
        _check_windows(self.window_hours, self.features)
        for feature in self.features:
            if feature.reduce == "all":
                raise ValueError(f"feature {feature.name}: reduce all is for channels of an irregular series")
        return self


def _check_windows(stream_hours: float | None, features: tuple[Feature, ...]) -> None:
    for feature in features:
        if stream_hours is not None and feature.window_hours is not None and feature.window_hours > stream_hours:
            raise ValueError(f"feature {feature.name}: window_hours looks further back than the stream's")


class Consistency(Value):
    """A physical law that the channels of one series must obey together; a case that breaks it lacks the stream.

    `rate`: `of` is the rate of change of `channel` per second, within a factor of `tolerance`, so that km/h read as
    m/s is found out. `sign`: `of` and `channel` go up and down together, so that a sensor of the wrong sign is.
    """

    kind: Literal["rate", "sign"]
    channel: str
    of: str
    tolerance: float = Field(default=1.5, gt=1)


class SeriesStream(StreamBase):
    """A time series of channels: `values (N, T, F)`.

    Irregular by default: T distinct times, the latest `max_times` kept. With `bin_hours` regular: T = window_hours /
    bin_hours bins that end at the index time, each channel reduced within its bin. Bin t holds what was measured in
    (index - (T - t) * bin_hours, index - (T - t - 1) * bin_hours]; the first one its own beginning too, so that the
    window is closed as everywhere. checks: laws that the channels must obey together.
    """

    kind: Literal["series"]
    channels: tuple[Feature, ...] = Field(min_length=1)
    max_times: int = Field(default=64, ge=1)
    bin_hours: float | None = Field(default=None, gt=0)
    checks: tuple[Consistency, ...] = ()

    @model_validator(mode="after")
    def _bins_fit(self) -> "SeriesStream":
        _check_windows(self.window_hours, self.channels)
        if self.bin_hours is not None:
            if every := [channel.name for channel in self.channels if channel.reduce == "all"]:
                raise ValueError(f"bin_hours goes with channels that are reduced, got reduce all of {every}")
            if self.window_hours is None:
                raise ValueError("bin_hours needs window_hours")
            bins = self.window_hours / self.bin_hours
            if abs(bins - round(bins)) > 1e-6 or bins < 1:
                raise ValueError(f"window_hours must be a multiple of bin_hours, got {bins:g} bins")
        return self

    @property
    def times(self) -> int:
        """T."""
        if self.bin_hours is None or self.window_hours is None:
            return self.max_times
        return round(self.window_hours / self.bin_hours)


class SeriesRule(Value):
    """What a DICOM series must be like, all of it (AND). Texts are regular expressions, found anywhere, any case."""

    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    description: str | None = None  # of the series, its protocol or its study
    image_type: str | None = None  # such as ORIGINAL.*AXIAL
    not_description: str | None = None
    slices: tuple[int, int] | None = None  # least and most, both allowed

    @model_validator(mode="after")
    def _patterns(self) -> "SeriesRule":
        for name in ("modality", "body_part", "view", "laterality", "description", "image_type", "not_description"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error as error:
                raise ValueError(f"{name}: expected a regular expression, got one with {error}") from None
        if self.slices is not None and not 0 < self.slices[0] <= self.slices[1]:
            raise ValueError("slices is [least, most]")
        return self


class ImageStream(StreamBase):
    """Images, the latest `max_images` kept: `values (N, T, C, *shape)`, intensities in [0, 1].

    shape (height, width): every image by itself. shape (depth, height, width): a DICOM series, multi-frame object or
    NIfTI file as a volume, resampled to `spacing_mm` in `orientation`; without `spacing_mm` it is scaled to fit.
    `series` are alternatives in order of preference (OR): the images of the first rule that any series fulfils.
    """

    kind: Literal["image"]
    codes: tuple[Code, ...] = Field(min_length=1)
    shape: tuple[int, ...] = (96, 96)  # (height, width) or (depth, height, width)
    channels: Literal[1, 3] = 1
    max_images: int = Field(default=1, ge=1)
    series: tuple[SeriesRule, ...] = ()
    spacing_mm: tuple[float, ...] | None = None  # as shape: between rows and columns, or slices, rows and columns
    orientation: str = "LPS"  # where width, height and depth point to: left, right, anterior, posterior, superior ...
    intensity: tuple[float, float] | None = None  # the values (Hounsfield units ...) that become 0 and 1
    box: Literal["none", "body", "mask"] = "none"  # what is cropped to before anything else
    mask_codes: tuple[Code, ...] = ()  # of the masks that `box: mask` reads
    frames: Literal["first", "all"] = "first"  # of a multi-frame object in a 2-D stream

    @model_validator(mode="after")
    def _spatial(self) -> "ImageStream":
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise ValueError("shape is [height, width] or [depth, height, width]")
        axes = {"L": "x", "R": "x", "A": "y", "P": "y", "S": "z", "I": "z"}
        if sorted(axes.get(letter, "") for letter in self.orientation) != ["x", "y", "z"]:
            raise ValueError("orientation is three letters, one each of L or R, A or P, S or I, such as LPS")
        if self.spacing_mm is not None and (len(self.spacing_mm) != len(self.shape) or min(self.spacing_mm) <= 0):
            raise ValueError("spacing_mm has one length above 0 for each of shape")
        if self.intensity is not None and self.intensity[0] >= self.intensity[1]:
            raise ValueError("intensity is [low, high]")
        if (self.box == "mask") != bool(self.mask_codes):
            raise ValueError("box: mask and mask_codes go together")
        return self


class TextStream(StreamBase):
    """Notes in order of time, joined: `values (N, T)` token ids. `redact` holds regular expressions to cut out.

    sections, without_sections: names of sections (regular expressions, any case) to keep alone, or to leave out. The
    tokenizer `marked-words` tells a word that is negated, or is said of the family, from the plain one.
    """

    kind: Literal["text"]
    codes: tuple[Code, ...] = Field(min_length=1)
    max_tokens: int = Field(default=256, ge=8)
    tokenizer: str = "hashed-words"  # or marked-words, or the folder of a transformers tokenizer
    redact: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    without_sections: tuple[str, ...] = ()


class AudioStream(StreamBase):
    """A recording, the latest usable one: sound as log-mel frames `values (N, T, mels)`, or a waveform `(N, T, leads)`.

    Its first `seconds` are kept. `form: waveform` needs `leads` (channel names, such as I, II, V1) and their `unit`;
    T = seconds * sample_rate_hz. band_hz: a zero-phase Butterworth band-pass before anything else. A recording that is
    flat, full of gaps, clipped, of a wrong rate or of an implausible amplitude is unusable, and the case says so.
    """

    kind: Literal["audio"]
    codes: tuple[Code, ...] = Field(min_length=1)
    form: Literal["log-mel", "waveform"] = "log-mel"
    sample_rate_hz: int = Field(default=4000, gt=0)
    seconds: float = Field(default=6.0, gt=0)
    mels: int = Field(default=32, ge=1)
    leads: tuple[str, ...] = ()
    unit: str | None = None  # UCUM, of a waveform: mV, uV
    plausible: tuple[float, float] | None = None  # of a waveform's median lead range (max - min), in `unit`
    rates_hz: tuple[float, float] | None = None  # the least and the greatest rate that a recording may state
    band_hz: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _form(self) -> "AudioStream":
        waveform = self.form == "waveform"
        if waveform != bool(self.leads) or waveform != bool(self.unit):
            raise ValueError("form: waveform, leads and unit go together")
        if self.plausible is not None and not waveform:
            raise ValueError("plausible goes with form: waveform")
        for name in ("plausible", "rates_hz"):
            given = getattr(self, name)
            if given is not None and not 0 <= given[0] < given[1]:
                raise ValueError(f"{name} is [low, high], 0 or above")
        if self.band_hz is not None and not 0 < self.band_hz[0] < self.band_hz[1] < self.sample_rate_hz / 2:
            raise ValueError("band_hz is [low, high], both above 0 and below half of sample_rate_hz")
        return self


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


class WrittenReport(Value):
    """The text that is to be drafted: what was written of a case at its index time or later. An output, never an input.

    Of each case the first report under `codes` that was known at the index time or within `horizon_hours` after it;
    of that the `sections` asked for, without what `redact` (regular expressions, any case) matches. max_tokens: words
    and marks, beyond which a report is cut. decoder: how drafts are learnt (`models.drafts.config`).
    """

    codes: tuple[Code, ...] = Field(min_length=1)
    horizon_hours: float | None = Field(default=None, gt=0)
    max_tokens: int = Field(default=96, ge=4, le=1024)
    redact: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    without_sections: tuple[str, ...] = ()
    decoder: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _patterns(self) -> "WrittenReport":
        for name in ("redact", "sections", "without_sections"):
            for pattern in getattr(self, name):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(f"{name}: expected regular expressions, got {pattern!r}: {error}") from None
        return self


class Task(Value):
    """A prediction task. Built by `load_task`; see docs/tasks.md for every key."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    known_by: Literal["available_time", "time"] = "available_time"  # what must lie at or before the index time
    index: Index
    include: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()
    target: Target
    also: dict[StreamName, Target] = Field(default_factory=dict)  # learnt beside it; the risk stays that of `target`
    streams: dict[StreamName, StreamSpec] = Field(min_length=1, max_length=8)
    report: WrittenReport | None = None
    split: Split = Split()
    allow_different_windows: bool = False  # train although how far the streams reach tells the outcome
    model: dict[str, Any] = Field(default_factory=dict)  # read by models.config

    @model_validator(mode="after")
    def _names_apart(self) -> "Task":
        if "target" in self.also:
            raise ValueError("also: expected another name than target")
        return self

    @property
    def timed(self) -> bool:
        """Whether cases have an index time."""
        return self.index.event is not None

    @property
    def targets(self) -> dict[str, Target]:
        """All that is learnt, by name: `target` first, then what is learnt beside it."""
        return {"target": self.target, **self.also}

    @property
    def outcome_columns(self) -> list[str]:
        """The columns of a cohort's index that state outcomes; none where `target` says all there is."""
        if self.target.kind == "binary" and not self.also:
            return []
        return [f"outcome_{k}" for k in range(sum(len(target.columns) for target in self.targets.values()))]


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
