"""What a task asks of the observations, and refusing it early where they cannot give it."""

import difflib
from collections.abc import Collection, Mapping

from ingest.align.cases import AGE_CODE
from ingest.align.outcomes import outcome_codes
from ingest.errors import TaskError
from ingest.observations import BIRTH_CODE
from ingest.task import Feature, ImageStream, SeriesStream, StreamSpec, TableStream, Task

SUGGESTIONS = 8


def task_codes(task: Task) -> set[str]:
    """Every code that a task mentions."""
    codes = {str(task.index.event or task.index.per_record)}
    for condition in (*task.include, *task.exclude):
        codes.update(BIRTH_CODE if code == AGE_CODE else code for code in condition.codes)
    codes.update(outcome_codes(task), filter(None, (task.split.group_by,)))
    return codes | input_codes(task)


def input_codes(task: Task) -> set[str]:
    """The codes that the streams of a task read."""
    return set().union(*(stream_codes(spec) for spec in task.streams.values()))


def features_of(spec: StreamSpec) -> tuple[Feature, ...]:
    """The features of a table, the channels of a series; none of any other stream."""
    if isinstance(spec, TableStream):
        return spec.features
    return spec.channels if isinstance(spec, SeriesStream) else ()


def stream_codes(spec: StreamSpec) -> set[str]:
    """The codes that a stream reads."""
    if features := features_of(spec):
        derived = {BIRTH_CODE for feature in features if feature.derive == "age"}
        return derived.union(*(feature.codes for feature in features))
    if isinstance(spec, ImageStream):
        return {*spec.codes, *spec.mask_codes}
    return set() if isinstance(spec, TableStream | SeriesStream) else set(spec.codes)


def check_task(task: Task, code_counts: Mapping[str, int], *, appending: bool) -> None:
    """Refuse a task that contradicts itself, or names what no observation holds (unless a few are being added)."""
    labels = set().union(*(target.labelled for target in task.targets.values()))
    for name, spec in task.streams.items():
        where = f"task {task.name}, stream {name}"
        codes = stream_codes(spec)
        if told := sorted(codes & labels):
            raise TaskError(f"{where}: expected other codes than the outcome's, got {', '.join(told)}")
        if not appending and not codes & code_counts.keys():
            raise TaskError(_nothing(where, codes, code_counts))
    index = str(task.index.event or task.index.per_record)
    if not appending and index not in code_counts:
        raise TaskError(_nothing(f"task {task.name}, index", {index}, code_counts))
    if task.index.event in outcome_codes(task) and task.index.offset_hours < 0:
        raise TaskError(
            f"task {task.name}, index: expected a moment that does not depend on the outcome, got one before {index}, "
            "which is the outcome: only those who have it would be asked about, and their windows would end at it"
        )
    if not task.timed:
        _check_timeless(task)


def _check_timeless(task: Task) -> None:
    """Refuse what needs an index time."""
    where = f"task {task.name} (per_record, so without index times)"
    for condition in (*task.include, *task.exclude):
        if AGE_CODE in condition.codes:
            raise TaskError(f"{where}, condition {condition.name}: expected a code of the record, got {AGE_CODE}")
    for name, spec in task.streams.items():
        if spec.window_hours is not None:
            raise TaskError(f"{where}, stream {name}: expected no window_hours, got {spec.window_hours}")
        if narrowed := [f.name for f in features_of(spec) if f.window_hours is not None]:
            raise TaskError(f"{where}, stream {name}: expected no window_hours, got that of {narrowed}")
        if isinstance(spec, TableStream) and any(f.derive == "age" for f in spec.features):
            raise TaskError(f"{where}, stream {name}: expected the code of an age in years, got derive: age")
    if any(target.needs_times for target in task.targets.values()):
        raise TaskError(f"{where}, target: expected a label, got events")
    if task.split.by == "time":
        raise TaskError(f"{where}, split: expected by: subject, got by: time")


def _nothing(where: str, codes: Collection[str], code_counts: Mapping[str, int]) -> str:
    return f"{where}: expected observations of {_listed(codes)}, got none; {_instead(codes, code_counts)}"


def _listed(codes: Collection[str]) -> str:
    ordered = sorted(codes)
    more = len(ordered) - SUGGESTIONS
    return ", ".join(ordered[:SUGGESTIONS]) + (f" and {more} more" if more > 0 else "")


def _instead(codes: Collection[str], code_counts: Mapping[str, int]) -> str:
    """The codes that look alike, else the most frequent."""
    if not code_counts:
        return "there are no observations at all"
    close = {match for code in codes for match in difflib.get_close_matches(code, code_counts, n=3, cutoff=0.75)}
    if close:
        return f"did you mean {_listed(close)}?"
    frequent = sorted(code_counts, key=lambda code: (-code_counts[code], code))[:SUGGESTIONS]
    return f"the most frequent codes there are {', '.join(frequent)}"
