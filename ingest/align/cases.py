"""Who is asked about, when, and what came of it: the cases of a task."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ingest.align.events import HOUR_US, STATIC, TIMELESS, Cases, Events, seen
from ingest.align.outcomes import outcome_codes, outcomes
from ingest.align.prepare import Prepared
from ingest.errors import TaskError
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.observations import BIRTH_CODE
from ingest.task import Condition, Task

AGE_CODE = "AGE"  # in conditions: whole and part years since birth, at the index time
YEAR_US = round(365.25 * 24 * HOUR_US)
CHUNK = 4096  # cases looked at together
OUTCOME_UNKNOWN = "outcome unknown"
OUTCOME_CONTRADICTED = "outcome stated as both positive and negative"  # or as two classes


@dataclass(frozen=True)
class Found:
    """The cases of a task after its conditions, and what was left out on the way. subjects: who has the index event."""

    cases: Cases
    candidates: int
    already_there: int
    subjects: int
    excluded: Mapping[str, int]
    unknown_target: int

    @classmethod
    def joined(cls, parts: "Sequence[Found]") -> "Found":
        """What was found in several chunks of subjects, in their order."""
        excluded: Counter[str] = Counter()
        for part in parts:
            excluded.update(part.excluded)
        counts = {
            name: sum(getattr(part, name) for part in parts)
            for name in ("candidates", "already_there", "subjects", "unknown_target")
        }
        return cls(cases=Cases.joined([part.cases for part in parts]), excluded=dict(excluded), **counts)


class Taken:
    """The cases that a cohort has already: (case_id, subject, index time, file, record) of each."""

    def __init__(self, cases: Iterable[tuple[str, int, int, str, str]] = ()) -> None:
        self.keys: set[tuple[int, int, str, str]] = set()
        self.ids: set[str] = set()
        self.highest: dict[int, int] = {}  # subject -> the number of its last case
        for case_id, subject, time, file, record in cases:
            self.ids.add(case_id)
            self.keys.add((subject, time, file, record))
            number = case_id.removeprefix(f"{subject}-")
            self.highest[subject] = max(self.highest.get(subject, 0), int(number) if number.isdigit() else 0)


def find_cases(prepared: Prepared, task: Task, taken: Taken | None = None, vocabulary: Vocabulary = EMPTY) -> Found:
    """The cases of `task` among these subjects, those that are `taken` left out."""
    candidates = _record_cases(prepared, task) if task.index.per_record else _event_cases(prepared.events, task)
    several = task.index.per_record is not None or task.index.which == "each"
    fresh, cases = _leave_out_taken(candidates, taken or Taken(), several=several)
    excluded: Counter[str] = Counter()
    parts: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    stated: list[np.ndarray] = []
    conditions = [(c, prepared.events.select(_codes(c)), wanted) for c, wanted in _conditions(task)]
    stating = prepared.events.select(outcome_codes(task))
    for start, chunk in cases.chunks(CHUNK):
        kept = np.ones(len(chunk), bool)
        for condition, events, wanted in conditions:
            fails = kept & (_meets(condition, events, chunk) != wanted)
            excluded[condition.name] += int(fails.sum())
            kept &= ~fails
        came = outcomes(task, stating, chunk, vocabulary)
        known = ~np.isnan(came.values[:, : len(task.target.columns)]).all(1)
        excluded[OUTCOME_UNKNOWN] += int((kept & ~known & ~came.contradicted).sum())
        excluded[OUTCOME_CONTRADICTED] += int((kept & ~known & came.contradicted).sum())
        kept &= known
        parts.append(start + np.flatnonzero(kept))
        targets.append(came.event[kept])
        stated.append(came.values[kept])
    rows = np.concatenate([np.zeros(0, np.int64), *parts])
    chosen = replace(
        cases.take(rows),
        target=np.concatenate([np.zeros(0, np.float32), *targets]),
        outcome=np.concatenate([_unstated(task, 0), *stated]),
    )
    return Found(
        cases=chosen,
        candidates=len(candidates),
        already_there=len(candidates) - int(fresh.sum()),
        subjects=len(np.unique(prepared.records.subject if prepared.records else candidates.subject)),
        excluded={name: count for name, count in excluded.items() if count},
        unknown_target=excluded[OUTCOME_UNKNOWN] + excluded[OUTCOME_CONTRADICTED],
    )


def ages(events: Events, cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    """(years from birth to the index time, NaN where the birth is unknown or later; the event that says so or -1).

    Both (C,). `events`: MEDS_BIRTH alone.
    """
    age, said = np.full(len(cases), np.nan), np.full(len(cases), -1)
    pairs = seen(events, cases)
    pairs = pairs.where(events.time[pairs.event] != STATIC)
    case, first = np.unique(pairs.case, return_index=True)
    said[case] = pairs.event[first]
    age[case] = (cases.index_time[case] - events.time[said[case]]) / YEAR_US
    return age, said


def _event_cases(events: Events, task: Task) -> Cases:
    at = events.select((str(task.index.event),))
    at = at.take(at.time != STATIC)
    moments = np.unique(np.stack([at.owner, at.time], 1), axis=0) if len(at) else np.zeros((0, 2), np.int64)
    subject, time = moments[:, 0], moments[:, 1]
    new = np.append(True, subject[1:] != subject[:-1])[: len(subject)]
    if task.index.which == "first":
        chosen = new
    elif task.index.which == "last":
        chosen = np.append(new[1:], True)[: len(subject)]
    else:
        chosen = np.ones(len(subject), bool)
    number = _numbers_within(subject)[chosen] if task.index.which == "each" else None
    subject, time = subject[chosen], time[chosen] + round(task.index.offset_hours * HOUR_US)
    nothing = np.full(len(subject), None, object)
    return Cases(
        case_id=_names(subject, number),
        owner=subject,
        subject=subject,
        index_time=time,
        target=np.full(len(subject), np.nan, np.float32),
        outcome=_unstated(task, len(subject)),
        record_file=nothing,
        record=nothing,
    )


def _record_cases(prepared: Prepared, task: Task) -> Cases:
    records = prepared.records
    assert records is not None
    n = len(records.subject)
    return Cases(
        case_id=_names(records.subject, _numbers_within(records.subject)),
        owner=records.first + np.arange(n),
        subject=records.subject,
        index_time=np.full(n, TIMELESS),
        target=np.full(n, np.nan, np.float32),
        outcome=_unstated(task, n),
        record_file=records.file,
        record=records.record,
    )


def _unstated(task: Task, cases: int) -> np.ndarray:
    """(C, K) outcomes that are not known yet."""
    return np.full((cases, sum(len(target.columns) for target in task.targets.values())), np.nan, np.float32)


def _numbers_within(subject: np.ndarray) -> np.ndarray:
    """1, 2, ... within each run of the same subject."""
    new = np.flatnonzero(np.append(True, subject[1:] != subject[:-1])[: len(subject)])
    return np.arange(len(subject)) - np.repeat(new, np.diff(np.append(new, len(subject)))) + 1


def _names(subject: np.ndarray, number: np.ndarray | None) -> np.ndarray:
    if number is None:
        return np.array([str(s) for s in subject], object)
    return np.array([f"{s}-{k}" for s, k in zip(subject, number, strict=True)], object)


def _leave_out_taken(candidates: Cases, taken: Taken, *, several: bool) -> tuple[np.ndarray, Cases]:
    """(which candidates are new, those), numbered on from the subject's last where a number is taken."""
    if not taken.ids:
        return np.ones(len(candidates), bool), candidates
    if not several:
        fresh = np.array([case_id not in taken.ids for case_id in candidates.case_id], bool)
        return fresh, candidates.take(fresh)
    mine = zip(candidates.subject, candidates.index_time, candidates.record_file, candidates.record, strict=True)
    fresh = np.array([(int(s), int(t), f or "", r or "") not in taken.keys for s, t, f, r in mine], bool)
    cases = candidates.take(fresh)
    highest: dict[int, int] = {}
    for subject, case_id in zip(cases.subject.tolist(), cases.case_id, strict=True):
        known = highest.get(subject, taken.highest.get(subject, 0))
        highest[subject] = max(known, int(case_id.rsplit("-", 1)[1]))
    names = cases.case_id.copy()
    for i in np.flatnonzero([case_id in taken.ids for case_id in names]):
        subject = int(cases.subject[i])
        highest[subject] += 1
        names[i] = f"{subject}-{highest[subject]}"
    return fresh, replace(cases, case_id=names)


def _conditions(task: Task) -> list[tuple[Condition, bool]]:
    return [(c, True) for c in task.include] + [(c, False) for c in task.exclude]


def condition_codes(task: Task) -> set[str]:
    """The codes that decide who is in."""
    return {code for condition, _ in _conditions(task) for code in _codes(condition)}


def _codes(condition: Condition) -> set[str]:
    return {BIRTH_CODE if code == AGE_CODE else code for code in condition.codes}


def _meets(condition: Condition, events: Events, cases: Cases) -> np.ndarray:
    """(C,) whether any value known by the index time meets the condition."""
    met = np.zeros(len(cases), bool)
    coded = [code for code in condition.codes if code != AGE_CODE]
    if len(coded) < len(condition.codes):
        age, _ = ages(events.select((BIRTH_CODE,)), cases)
        met |= ~np.isnan(age) & _compares(condition, age)
    events = events.select(coded)
    fits = np.ones(len(events), bool)
    if condition.above is not None or condition.below is not None:
        fits &= _compares(condition, events.numbers())
    if condition.values is not None:
        fits &= events.texts().isin(condition.values).to_numpy()
    events = events.take(fits)
    met[seen(events, cases).case] = True
    return met


def _compares(condition: Condition, numbers: np.ndarray) -> np.ndarray:
    low = -np.inf if condition.above is None else condition.above
    high = np.inf if condition.below is None else condition.below
    return (numbers >= low) & (numbers <= high)


def check_enough(found: Found, train: np.ndarray, task: Task) -> None:
    """Refuse a task without cases, or whose training part has one outcome only. train (C,) bool."""
    left_out = ", ".join(f"{name}: {count}" for name, count in found.excluded.items()) or "none"
    if not len(found.cases):
        raise TaskError(f"task {task.name}: expected cases, got none of {found.candidates} (excluded: {left_out})")
    events = int((found.cases.target[train] == 1).sum())
    others = int((found.cases.target[train] == 0).sum())
    if not events or not others:
        raise TaskError(
            f"task {task.name}: expected cases with and without the outcome in the training split, got {events} with "
            f"and {others} without, of {len(found.cases)} cases in all (excluded: {left_out})"
        )
    start = 0
    for name, target in task.targets.items():
        stated = found.cases.outcome[train, start : start + len(target.columns)]
        start += len(target.columns)
        if np.isnan(stated).all():
            raise TaskError(
                f"task {task.name}, {name}: expected cases in the training split of which it is known "
                f"({target.asks}), got none of {len(stated)}"
            )
