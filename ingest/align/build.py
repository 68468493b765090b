"""From observations and a task to a cohort: who, when, what, and every stream as arrays."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.align.alone import alone
from ingest.align.cases import Taken, check_enough
from ingest.align.check import check_task
from ingest.align.events import TIMELESS
from ingest.align.report import AlignReport, SplitCounts, StreamReport
from ingest.align.request import Request
from ingest.align.source import ObservationSource, as_source
from ingest.align.split import PARTS, assign_splits
from ingest.align.survey import Survey, levels_of, survey
from ingest.align.write import Progress, Shard, write_shard
from ingest.cohort import Cohort, open_cohort
from ingest.delivery.shown_names import Bearing
from ingest.errors import TaskError, TelltaleError
from ingest.files import replacing_folder, write_json
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.task import Task


def align(
    observations: pa.Table | ObservationSource,
    task: Task,
    out: Path,
    *,
    subjects: Collection[int] | None = None,
    append: bool = False,
    like: Cohort | None = None,
    resplit: bool = False,
    vocabulary: Vocabulary = EMPTY,
    catalogue: pa.Table | None = None,
    merged: Mapping[int, int] | None = None,
    bearing: Bearing = lambda words: set(),
    progress: Progress | None = None,
) -> AlignReport:
    """Write the cohort of `task` to the folder `out` (as `ingest.cohort` describes) and say what went in and what not.

    A cohort is replaced as a whole. If it was of the same task (or else `like` is), its subjects keep their part of
    the split, and its levels their places, unless `resplit`. With `append`, cases that it does not hold yet become a
    new shard instead; its statistics, levels and splits stay as they were.

    Observations are read some whole subjects at a time; the result does not depend on how many. `subjects` limits who
    is looked at. vocabulary, catalogue: what codes and units mean, and what is known of every image. merged: subject
    -> the one that it is read as, kept so that a change can be told. bearing: what patients bear as name or number,
    which no path in the report shows. Raises TaskError, with nothing written, where the task asks for what the
    observations do not hold.
    """
    request = Request(task, as_source(observations), subjects, vocabulary, catalogue, bearing)
    with alone(out):
        check_task(task, request.source.code_counts, appending=append)
        if append:
            return _grow(request, out, progress)
        settled = None if resplit else like or _same_task(out, task)
        found = survey(request, Taken())
        split = _split(task, found, settled)
        check_enough(found.found, split == "train", task)
        levels = levels_of(request, found.found.cases.take(split == "train"), settled)
        shard = Shard(found.found.cases, split, levels, found.dtypes)
        with replacing_folder(out) as folder:
            statistics, rows = write_shard(request, shard, folder / "shards" / "00000", progress)
            report = replace(report_of(request, found, shard, rows), merged=tuple(sorted((merged or {}).items())))
            write_json(folder / "task.json", task.model_dump(mode="json"))
            write_json(folder / "statistics.json", statistics.to_json())
            write_json(folder / "report.json", report.to_json())
    return report


def _grow(request: Request, out: Path, progress: Progress | None) -> AlignReport:
    """Add the cases that the cohort does not hold as a new shard, with the levels and types that it has."""
    task, earlier = request.task, open_cohort(out)
    if _identity(earlier.task) != _identity(task) or _report_asked(earlier.task) != _report_asked(task):
        raise TaskError(f"{out}: expected the task that this cohort was aligned with, got another; align anew")
    found = survey(request, Taken(_taken(earlier)))
    levels = {name: earlier.statistics.streams[name].levels for name in task.streams}
    dtypes = {name: earlier.arrays(0, name).values.dtype for name in task.streams}
    shard = Shard(found.found.cases, _split(task, found, earlier), levels, dtypes)
    if not len(shard.cases):
        return report_of(request, found, shard, {})
    number = int(earlier.index["shard"].max()) + 1
    with replacing_folder(out / "shards" / f"{number:05d}") as folder:
        _, rows = write_shard(request, shard, folder, progress)
        report = report_of(request, found, shard, rows)
        write_json(folder / "report.json", report.to_json())
    write_json(out / "report.json", {**report.to_json(), "merged": _merged(out)})
    return report


def _merged(out: Path) -> object:
    """The merges that a cohort was aligned under: those of its oldest cases, since later ones are still to be told."""
    return json.loads((out / "report.json").read_text()).get("merged", [])


def report_of(request: Request, known: Survey, shard: Shard, rows: Mapping[str, np.ndarray]) -> AlignReport:
    """What an alignment found: `rows` say which cases have each stream."""
    task, found = request.task, known.found
    event = found.cases.target == 1
    nobody = np.full(len(found.cases), -1)
    tallies = {name: shard.tallies[name] for name in task.streams}
    streams = {
        name: StreamReport(
            present=int((rows.get(name, nobody) >= 0).sum()),
            used=tally.counts["used"],
            left_out={what: count for what, count in sorted(tally.counts.items()) if what != "used"},
            refusals=tally.refusals_shown(request.bearing),
            noted=dict(sorted(tally.notes.items())),
        )
        for name, tally in tallies.items()
    }
    parts = {part: shard.split == part for part in PARTS}
    return AlignReport(
        task=task.name,
        subjects=known.subjects,
        subjects_without_index=known.subjects - found.subjects,
        candidates=found.candidates,
        already_there=found.already_there,
        cases=len(found.cases),
        events=int(event.sum()),
        unknown_target=found.unknown_target,
        excluded=found.excluded,
        splits={part: SplitCounts(int(mine.sum()), int((mine & event).sum())) for part, mine in parts.items()},
        streams=streams,
        nothing_observed=int(np.all([row < 0 for row in rows.values()] or [nobody < 0], 0).sum()),
        report_texts={**shard.report_tally.counts, **shard.report_tally.notes},
    )


def _split(task: Task, known: Survey, settled: Cohort | None) -> np.ndarray:
    """The part of each case; who is in the `settled` cohort stays where he is."""
    parts, boundaries = None, None
    if settled is not None:
        index = settled.index
        parts = dict(zip(index["subject_id"].astype(int), index["split"], strict=True))
        if task.split.by == "time":
            first, second = (_earliest(index[index["split"].isin(later)]) for later in (PARTS[1:], PARTS[2:]))
            boundaries = (first, second)
    cases = known.found.cases
    return assign_splits(
        task.split,
        cases.subject,
        cases.index_time,
        known.groups,
        outcome=cases.target,
        settled=parts,
        boundaries=boundaries,
    )


def _same_task(out: Path, task: Task) -> Cohort | None:
    """The cohort that is there already, if it is of this very task."""
    try:
        held = open_cohort(out)
    except TelltaleError:
        return None
    return held if _identity(held.task) == _identity(task) else None


def _earliest(index: pd.DataFrame) -> int:
    return int(index["index_time"].to_numpy("datetime64[us]").min().astype(np.int64)) if len(index) else int(TIMELESS)


def _taken(earlier: Cohort) -> list[tuple[str, int, int, str, str]]:
    index = earlier.index
    times = index["index_time"].to_numpy("datetime64[us]")
    micros = np.where(np.isnat(times), TIMELESS, times.astype(np.int64))
    files, records = (index[name].fillna("") for name in ("record_file", "record"))
    return list(zip(index["case_id"], index["subject_id"].astype(int), micros.tolist(), files, records, strict=True))


def _identity(task: Task) -> dict[str, object]:
    """What decides how a task's inputs are aligned: all but the model's own settings, and what is to be drafted."""
    plain = task.model_dump(mode="json", exclude={"model", "title", "allow_different_windows", "report"})
    for stream in plain["streams"].values():
        stream.pop("encoder")
    return plain


def _report_asked(task: Task) -> object:
    return task.report and task.report.model_dump(mode="json", exclude={"decoder", "max_tokens"})
