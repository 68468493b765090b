"""The first look at the observations, chunk by chunk: who is a case, and what all subjects together decide."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ingest.align.cases import Found, Taken, condition_codes, find_cases
from ingest.align.check import features_of, stream_codes
from ingest.align.events import Cases, Events
from ingest.align.outcomes import outcome_codes
from ingest.align.report import Tally
from ingest.align.request import Request
from ingest.align.series import SeriesAligner
from ingest.align.source import with_cases
from ingest.align.table import TableAligner
from ingest.cohort import Cohort
from ingest.task import Task

Levels = dict[str, dict[str, tuple[str, ...]]]  # stream -> feature -> texts


@dataclass(frozen=True)
class Survey:
    """What a task finds in the observations before any stream is aligned.

    subjects: how many there are; where only some were asked for, those of them of whom anything was looked at.
    groups: subject -> what keeps it together with others in the split. dtypes: image stream -> the smallest type for
    what all its files hold.
    """

    found: Found
    subjects: int
    groups: Mapping[int, str]
    dtypes: Mapping[str, np.dtype]


def survey(request: Request, taken: Taken) -> Survey:
    """Find the cases of a task that are not taken."""
    task = request.task
    images = [name for name, spec in task.streams.items() if spec.kind == "image"]
    codes = {str(task.index.event or task.index.per_record)} | condition_codes(task) | outcome_codes(task)
    codes.update(filter(None, (task.split.group_by,)))
    codes.update(*(stream_codes(task.streams[name]) for name in images))
    found: list[Found] = []
    groups: dict[int, str] = {}
    dtypes: dict[str, np.dtype] = {}
    looked_at = 0
    for prepared in request.chunks(codes):
        looked_at += prepared.subjects
        found.append(find_cases(prepared, task, taken, request.vocabulary))
        groups.update(_groups(task, prepared.events))
        for name in images:
            dtype = request.aligner(name, prepared.events, Tally()).empty().values.dtype
            dtypes[name] = np.promote_types(dtypes.get(name, dtype), dtype)
    subjects = request.source.subjects if request.subjects is None else looked_at
    return Survey(Found.joined(found), subjects, groups, dtypes)


def levels_of(request: Request, training: Cases, earlier: Cohort | None) -> Levels:
    """The texts of each feature with `levels: auto` among the training cases, the most frequent first, then by name.

    Levels of an `earlier` cohort of the task keep their places before the new ones, so that its models still fit.
    """
    streams = request.task.streams.items()
    auto = {name: [feature for feature in features_of(spec) if feature.levels == "auto"] for name, spec in streams}
    codes = {code for features in auto.values() for feature in features for code in feature.codes}
    if not codes:
        return {}
    counts: dict[tuple[str, str], Counter[str]] = {}
    for _, cases, prepared in with_cases(request.chunks(codes), training):
        for name, features in auto.items():
            aligner = request.aligner(name, prepared.events, Tally()) if features else None
            if isinstance(aligner, TableAligner | SeriesAligner):
                for each, texts in aligner.texts(cases).items():
                    counts.setdefault((name, each), Counter()).update(texts)
    levels: Levels = {}
    for name, features in auto.items():
        known = earlier.statistics.streams[name].levels if earlier is not None else {}
        for feature in features:
            texts, first = counts.get((name, feature.name), Counter()), known.get(feature.name, ())
            rest = sorted(texts.keys() - set(first), key=lambda text: (-texts[text], text))
            levels.setdefault(name, {})[feature.name] = (*first, *rest)
    return levels


def _groups(task: Task, events: Events) -> dict[int, str]:
    """subject -> its earliest stated group."""
    if task.split.group_by is None:
        return {}
    held = events.select((task.split.group_by,))
    groups: dict[int, str] = {}
    for subject, text in zip(held.column("subject_id").to_pylist(), held.texts(), strict=True):
        if text is not None:
            groups.setdefault(subject, text)
    return groups
