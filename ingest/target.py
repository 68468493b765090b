"""What a task asks for: the kinds of outcome, each with the event whose probability is called the risk.

Every kind has a *risk event*, so that a case has one risk whatever is predicted: the outcome itself, some of the
classes, a value above a limit, a cause by the horizon.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Code = Annotated[str, Field(min_length=1)]
Texts = tuple[str, ...]


class Value(BaseModel):
    """The base of every part of a task: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetBase(Value):
    """What all targets share."""

    @property
    def stated_by(self) -> Mapping[str, Texts]:
        """What it reads, each with its codes."""
        raise NotImplementedError

    @property
    def codes(self) -> set[str]:
        """Every code that it reads."""
        return {code for codes in self.stated_by.values() for code in codes}


class BinaryTarget(TargetBase):
    """The outcome happens or not: events within a horizon after the index time, or a stated label.

    With `events`, a case is positive where one of them falls in (index, index + horizon_hours]. With `label`, the
    text of that code decides, and a text that is in neither list excludes the case and is counted.
    """

    kind: Literal["binary"] = "binary"
    events: tuple[Code, ...] = ()
    horizon_hours: float | None = Field(default=None, gt=0)
    label: Code | None = None
    positive: Texts = ()
    negative: Texts = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> "BinaryTarget":
        if bool(self.events) == (self.label is not None):
            raise ValueError("give either events (with horizon_hours) or label (with positive and negative)")
        if self.events and self.horizon_hours is None:
            raise ValueError("events need horizon_hours")
        if self.label and not (self.positive and self.negative):
            raise ValueError("a label needs both positive and negative values")
        if overlap := set(self.positive) & set(self.negative):
            raise ValueError(f"these values are both positive and negative: {sorted(overlap)}")
        return self

    @property
    def stated_by(self) -> Mapping[str, Texts]:
        """What it reads, each with its codes."""
        return {"label": (self.label,)} if self.label is not None else {"events": self.events}

    @property
    def labelled(self) -> set[str]:
        """The codes that state the outcome outright, so that no stream may read them."""
        return set(filter(None, (self.label,)))

    @property
    def needs_times(self) -> bool:
        """Whether cases without an index time have no such outcome."""
        return self.horizon_hours is not None

    @property
    def asks(self) -> str:
        """What is asked, in words."""
        return (", ".join(self.events) or str(self.label)) + _within(self.horizon_hours)

    @property
    def risk_event(self) -> str:
        """The event whose probability is the risk, in words."""
        return self.asks

    @property
    def columns(self) -> Texts:
        """Names of the numbers that state an outcome: 1 or 0."""
        return ("outcome",)


class ClassesTarget(TargetBase):
    """One of several classes: what a label says, or what comes.

    classes: name -> the texts of `label` that mean it, two or more, and a text of none of them excludes the case and is
    counted. Without `label`, name -> codes of events in (index, index + horizon_hours]: the first event decides, at one
    moment the class named first; one class may have no codes, that of cases where nothing comes. `ordinal`: from the
    lowest to the highest, and of events the highest decides. risk: the classes whose joint probability is the risk.
    """

    kind: Literal["multiclass", "ordinal"]
    label: Code | None = None
    classes: dict[str, Texts] = Field(min_length=2)
    risk: Texts = Field(min_length=1)
    horizon_hours: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _apart(self) -> "ClassesTarget":
        said = [text for mine in self.classes.values() for text in mine]
        empty = [name for name, mine in self.classes.items() if not mine]
        if empty and self.label is not None:
            raise ValueError(f"classes {empty}: expected at least one text each")
        if len(empty) > 1:
            raise ValueError(f"classes {empty}: expected codes, of all but the one where nothing comes")
        if empty and self.horizon_hours is None:
            raise ValueError(f"classes {empty}: nothing comes within what? give horizon_hours")
        if twice := sorted({text for text in said if said.count(text) > 1}):
            raise ValueError(f"these are in several classes: {twice}")
        if unknown := [name for name in self.risk if name not in self.classes]:
            raise ValueError(f"risk: expected some of {list(self.classes)}, got {unknown}")
        if set(self.risk) == set(self.classes):
            raise ValueError("risk: expected some of the classes, got all of them")
        return self

    @property
    def stated_by(self) -> Mapping[str, Texts]:
        """What it reads, each with its codes."""
        if self.label is not None:
            return {"label": (self.label,)}
        return {f"class {name}": codes for name, codes in self.classes.items() if codes}

    @property
    def labelled(self) -> set[str]:
        """The codes that state the outcome outright, so that no stream may read them."""
        return set(filter(None, (self.label,)))

    @property
    def needs_times(self) -> bool:
        """Whether cases without an index time have no such outcome."""
        return self.label is None or self.horizon_hours is not None

    @property
    def asks(self) -> str:
        """What is asked, in words."""
        comes = "which comes first" if self.kind == "multiclass" else "the highest that comes"
        asked = comes if self.label is None else f"which {self.label}"
        return f"{asked}: {', '.join(self.classes)}{_within(self.horizon_hours)}"

    @property
    def risk_event(self) -> str:
        """The event whose probability is the risk, in words."""
        return " or ".join(self.risk) + _within(self.horizon_hours)

    @property
    def columns(self) -> Texts:
        """The position of the class."""
        return ("class",)


class LabelsTarget(TargetBase):
    """Several outcomes of which any may happen; one that is unknown does not exclude the case, all unknown do.

    labels: name -> a binary outcome. risk: the one whose probability is the risk.
    """

    kind: Literal["multilabel"]
    labels: dict[str, BinaryTarget] = Field(min_length=2)
    risk: str

    @model_validator(mode="after")
    def _known(self) -> "LabelsTarget":
        if self.risk not in self.labels:
            raise ValueError(f"risk: expected one of {list(self.labels)}, got {self.risk!r}")
        return self

    @property
    def stated_by(self) -> Mapping[str, Texts]:
        """What it reads, each with its codes."""
        return {f"label {name}": codes for name, one in self.labels.items() for codes in one.stated_by.values()}

    @property
    def labelled(self) -> set[str]:
        """The codes that state the outcome outright, so that no stream may read them."""
        return set().union(*(label.labelled for label in self.labels.values()))

    @property
    def needs_times(self) -> bool:
        """Whether cases without an index time have no such outcome."""
        return any(label.needs_times for label in self.labels.values())

    @property
    def asks(self) -> str:
        """What is asked, in words."""
        return f"which of {', '.join(self.labels)}"

    @property
    def risk_event(self) -> str:
        """The event whose probability is the risk, in words."""
        return self.risk + _within(self.labels[self.risk].horizon_hours)

    @property
    def columns(self) -> Texts:
        """One per label: 1, 0 or NaN."""
        return tuple(self.labels)


class RegressionTarget(TargetBase):
    """A number: the first (or as `reduce` says) value of a code after the index time, within the horizon.

    The risk is the probability of a value above `above`.
    """

    kind: Literal["regression"]
    value: Code
    unit: str | None = None
    reduce: Literal["first", "last", "min", "max", "mean"] = "first"
    horizon_hours: float | None = Field(default=None, gt=0)
    above: float

    @property
    def stated_by(self) -> Mapping[str, Texts]:
        """What it reads, each with its codes."""
        return {"value": (self.value,)}

    @property
    def labelled(self) -> set[str]:
        """The codes that state the outcome outright, so that no stream may read them."""
        return set() if self.horizon_hours else {self.value}  # what came before may well be read

    @property
    def needs_times(self) -> bool:
        """Whether cases without an index time have no such outcome."""
        return self.horizon_hours is not None

    @property
    def asks(self) -> str:
        """What is asked, in words."""
        return f"{self.reduce} {self.value}{_within(self.horizon_hours)}"

    @property
    def risk_event(self) -> str:
        """The event whose probability is the risk, in words."""
        unit = f" {self.unit}" if self.unit else ""
        return f"a value above {self.above:g}{unit}{_within(self.horizon_hours)}"

    @property
    def columns(self) -> Texts:
        """The number."""
        return ("value",)


class SurvivalTarget(TargetBase):
    """The time to an event, some of which nobody saw (censored), perhaps of several competing causes.

    Either `causes`, name -> codes, from times: the first of them after the index time counts, and a case without one
    is censored when it was last followed up (the latest observation of a `follow_up` code), or at the horizon. Or from
    a record: `duration` (a number of `duration_unit`), and `label` whose text is one of a cause's, or of `censored`.
    The risk is the probability of `risk` (the first cause, unless named) by the horizon. intervals: how many parts of
    equal length the time up to the horizon is cut into.
    """

    kind: Literal["survival"]
    causes: dict[str, Texts] = Field(min_length=1)
    horizon_hours: float = Field(gt=0)
    intervals: int = Field(default=10, ge=2, le=200)
    follow_up: tuple[Code, ...] = ()
    duration: Code | None = None
    duration_unit: Literal["h", "d", "wk", "mo", "a"] = "d"
    label: Code | None = None
    censored: Texts = ()
    risk: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "SurvivalTarget":
        stated = (self.duration is not None, self.label is not None, bool(self.censored))
        if any(stated) and not (all(stated) and not self.follow_up):
            raise ValueError("from a record: give duration, label and censored, and no follow_up")
        if not any(stated) and not self.follow_up:
            raise ValueError("from times: give follow_up, the codes that show that a case was still being observed")
        if self.risk is not None and self.risk not in self.causes:
            raise ValueError(f"risk: expected one of {list(self.causes)}, got {self.risk!r}")
        texts = [*self.censored, *(text for mine in self.causes.values() for text in mine)]
        if twice := sorted({text for text in texts if texts.count(text) > 1}):
            raise ValueError(f"these mean two things: {twice}")
        return self

    @property
    def stated_by(self) -> Mapping[str, Texts]:
        """What it reads, each with its codes."""
        if self.duration is not None:
            return {"duration": (self.duration,), "label": (str(self.label),)}
        return {**{f"cause {name}": codes for name, codes in self.causes.items()}, "follow_up": self.follow_up}

    @property
    def labelled(self) -> set[str]:
        """The codes that state the outcome outright, so that no stream may read them."""
        return set(filter(None, (self.duration, self.label)))

    @property
    def needs_times(self) -> bool:
        """Whether cases without an index time have no such outcome."""
        return self.duration is None

    @property
    def asks(self) -> str:
        """What is asked, in words."""
        return f"time to {', '.join(self.causes)}, within {self.horizon_hours:g} h"

    @property
    def risk_event(self) -> str:
        """The event whose probability is the risk, in words."""
        return list(self.causes)[self.risk_cause - 1] + _within(self.horizon_hours)

    @property
    def columns(self) -> Texts:
        """Hours until the event or the censoring, and the cause: 1 ... in order, 0 where censored."""
        return ("hours", "cause")

    @property
    def risk_cause(self) -> int:
        """The number of the cause whose probability is the risk."""
        return list(self.causes).index(self.risk or next(iter(self.causes))) + 1


def _within(horizon_hours: float | None) -> str:
    return "" if horizon_hours is None else f" within {horizon_hours:g} h"


def _kind(raw: object) -> str:
    kind = raw.get("kind", "binary") if isinstance(raw, dict) else getattr(raw, "kind", "")
    return "classes" if kind in ("multiclass", "ordinal") else str(kind)


Target = Annotated[
    Annotated[BinaryTarget, Tag("binary")]
    | Annotated[ClassesTarget, Tag("classes")]
    | Annotated[LabelsTarget, Tag("multilabel")]
    | Annotated[RegressionTarget, Tag("regression")]
    | Annotated[SurvivalTarget, Tag("survival")],
    Discriminator(
        _kind,
        custom_error_type="target_kind",
        custom_error_message="kind: expected binary, multiclass, ordinal, multilabel, regression or survival",
    ),
]
