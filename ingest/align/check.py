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
    return codes | input_codes(task) | (set(task.report.codes) if task.report else set())


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
    labels = {code: name for name, target in task.targets.items() for code in target.labelled}
    for name, spec in task.streams.items():
        where = f"task {task.name}, stream {name}"
        codes = stream_codes(spec)
        if told := sorted(codes & labels.keys()):
            raise TaskError(
                f"{where}: expected other codes than the outcome's, got {', '.join(told)}, which states "
                f"{', '.join(dict.fromkeys(labels[code] for code in told))}"
            )
        if not appending and not codes & code_counts.keys():
            raise TaskError(_nothing(where, codes, code_counts))
    _check_report(task, code_counts, appending=appending)
    index = str(task.index.event or task.index.per_record)
    if not appending:
        if index not in code_counts:
            raise TaskError(_nothing(f"task {task.name}, index", {index}, code_counts))
        _check_outcomes(task, code_counts)
    if task.index.event in outcome_codes(task) and task.index.offset_hours < 0:
        raise TaskError(
            f"task {task.name}, index: expected a moment that does not depend on the outcome, got one before {index}, "
            "which is the outcome: only those who have it would be asked about, and their windows would end at it"
        )
    if not task.timed:
        _check_timeless(task)


def _check_outcomes(task: Task, code_counts: Mapping[str, int]) -> None:
    """Refuse an outcome, a class or a cause that nothing could ever state."""
    for name, target in task.targets.items():
        for part, codes in target.stated_by.items():
            if not set(codes) & code_counts.keys():
                raise TaskError(_nothing(f"task {task.name}, {name}, {part}", codes, code_counts))


def _check_report(task: Task, code_counts: Mapping[str, int], *, appending: bool) -> None:
    """Refuse a report that a stream would read: what is to be drafted is never an input."""
    if task.report is None:
        return
    where, codes = f"task {task.name}, report", set(task.report.codes)
    for name, spec in task.streams.items():
        if told := sorted(stream_codes(spec) & codes):
            raise TaskError(f"{where}: expected codes that no stream reads, got {', '.join(told)} of stream {name}")
    if not appending and not codes & code_counts.keys():
        raise TaskError(_nothing(where, codes, code_counts))
    if not task.timed and task.report.horizon_hours is not None:
        raise TaskError(
            f"{where}: expected no horizon_hours (there are no index times), got {task.report.horizon_hours:g}"
        )


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
    for name, target in task.targets.items():
        if target.needs_times:
            raise TaskError(f"{where}, {name}: expected a label, got events or a horizon: {target.asks}")
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
