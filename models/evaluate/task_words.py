"""A task in words: who, when, what and from what, for the documents that describe a model."""

from ingest.target import BinaryTarget, ClassesTarget, LabelsTarget, RegressionTarget, SurvivalTarget, Target
from ingest.task import (
    AudioStream,
    Condition,
    Feature,
    ImageStream,
    SeriesStream,
    StreamSpec,
    TableStream,
    Task,
    TextStream,
)


def outcome_in_words(target: Target) -> str:
    """What is predicted, and which part of it is called the risk."""
    if isinstance(target, BinaryTarget):
        return _binary(target)
    if isinstance(target, ClassesTarget):
        among = "in order of" if target.kind == "ordinal" else "one of"
        return (
            f"{target.label or 'what comes'}, {among} {', '.join(target.classes)}"
            f"{_within(target.horizon_hours)}; risk: {' or '.join(target.risk)}"
        )
    if isinstance(target, LabelsTarget):
        return f"{', '.join(target.labels)}, of which any may happen; risk: {target.risk}"
    if isinstance(target, RegressionTarget):
        unit = f" {target.unit}" if target.unit else ""
        value = f"{target.value}{f' in{unit}' if unit else ''}{_within(target.horizon_hours)}"
        return f"the {target.reduce} value of {value}; risk: above {target.above:g}{unit}"
    assert isinstance(target, SurvivalTarget)
    first = target.risk or next(iter(target.causes))
    return f"the time to {', '.join(target.causes)} within {target.horizon_hours:g} h, which censoring may hide; " + (
        f"risk: {first} by then"
    )


def moment_in_words(task: Task) -> str:
    """When the risk is asked for."""
    index = task.index
    if index.event is None:
        return f"once for every record with {index.per_record}"
    return f"{index.offset_hours:g} h after {index.event} ({index.which})"


def condition_in_words(condition: Condition) -> str:
    """A condition of inclusion or exclusion."""
    limits = [f"from {condition.above:g}" if condition.above is not None else ""]
    limits += [f"to {condition.below:g}" if condition.below is not None else ""]
    limits += [f"one of {', '.join(condition.values)}" if condition.values else ""]
    said = " ".join(limit for limit in limits if limit)
    return f"{condition.name} ({', '.join(condition.codes)}{f' {said}' if said else ''})"


def stream_in_words(stream: StreamSpec) -> str:
    """What a stream holds, how far back it looks, and its shape."""
    back = "everything before" if stream.window_hours is None else f"the last {stream.window_hours:g} h"
    if isinstance(stream, TableStream):
        return f"{back}: {'; '.join(feature_in_words(f) for f in stream.features)}"
    if isinstance(stream, SeriesStream):
        every = f", every {stream.bin_hours:g} h" if stream.bin_hours is not None else ""
        times = f"at most {stream.times} times{every}"
        return f"{back}, {times}: {'; '.join(feature_in_words(f) for f in stream.channels)}"
    codes = ", ".join(stream.codes)
    if isinstance(stream, ImageStream):
        size = " × ".join(str(length) for length in stream.shape)
        return f"{back}: {codes}, the latest {stream.max_images}, {size} pixels"
    if isinstance(stream, TextStream):
        return f"{back}: {codes}, at most {stream.max_tokens} tokens"
    assert isinstance(stream, AudioStream)
    return f"{back}: {codes}, the latest usable, {stream.seconds:g} s at {stream.sample_rate_hz} Hz"


def feature_in_words(feature: Feature) -> str:
    """A column or a channel: its name, unit or levels, and how several values become one."""
    if feature.derive == "age":
        return f"{feature.name} (years from birth)"
    kind = "categorical" if feature.levels is not None else feature.unit or ""
    return f"{feature.name} ({', '.join(part for part in (kind, feature.reduce) if part)})"


def _binary(target: BinaryTarget) -> str:
    if target.events:
        return f"{', '.join(target.events)}{_within(target.horizon_hours)}"
    return f"{target.label} is {' or '.join(target.positive)}, not {' or '.join(target.negative)}"


def _within(horizon_hours: float | None) -> str:
    return "" if horizon_hours is None else f" within {horizon_hours:g} h"
