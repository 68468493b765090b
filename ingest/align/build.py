"""From the observation table and a task to a cohort: who, when, what, and every stream as arrays."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.align.audio import AudioAligner
from ingest.align.block import Aligner, Given
from ingest.align.cases import Found, check_enough, find_cases
from ingest.align.check import check_task, task_codes
from ingest.align.events import TIMELESS, Events, Prepared, prepare_events
from ingest.align.image import ImageAligner
from ingest.align.report import AlignReport, SplitCounts, StreamReport, Tally
from ingest.align.series import SeriesAligner
from ingest.align.shard import StreamWriter, index_table
from ingest.align.table import TableAligner
from ingest.align.text import TextAligner
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TaskError
from ingest.files import replacing_folder, write_json, write_parquet
from ingest.fit_statistics import Moments
from ingest.split import PARTS, assign_splits
from ingest.statistics import Statistics
from ingest.task import Task

CHUNK = 2048  # cases aligned together: what bounds memory
Progress = Callable[[str, int, int], None]  # stage, done, of


def align(
    observations: pa.Table,
    task: Task,
    out: Path,
    *,
    subjects: Collection[int] | None = None,
    append: bool = False,
    progress: Progress | None = None,
) -> AlignReport:
    """Write the cohort of `task` to the folder `out` (as `ingest.cohort` describes) and say what went in and what not.

    A cohort is replaced as a whole. With `append`, cases that it does not hold yet become a new shard instead; its
    statistics, levels and splits stay as they were. `subjects` limits who is looked at. Raises TaskError, with
    nothing written, where the task asks for what the observations do not hold.
    """
    earlier = open_cohort(out) if append else None
    if earlier is not None and _identity(earlier.task) != _identity(task):
        raise TaskError(f"{out}: expected the task that this cohort was aligned with, got another; align anew")
    codes = task_codes(task)
    prepared = prepare_events(observations, codes, subjects, task.index.per_record)
    check_task(task, prepared.code_counts, appending=append)
    found = find_cases(prepared, task, _taken(earlier))
    split = _split(task, prepared, found, earlier)
    tallies = {name: Tally() for name in task.streams}
    aligners = _aligners(task, prepared.events, tallies, earlier)
    job = _Job(task, found, split, tallies, aligners, progress or (lambda stage, done, of: None))
    if earlier is None:
        check_enough(found, split == "train", task)
        with replacing_folder(out) as folder:
            statistics, report = _write_shard(job, prepared, folder / "shards" / "00000", fit=True)
            write_json(folder / "task.json", task.model_dump(mode="json"))
            write_json(folder / "statistics.json", statistics.to_json())
            write_json(folder / "report.json", report.to_json())
    elif len(found.cases):
        number = int(earlier.index["shard"].max()) + 1
        with replacing_folder(out / "shards" / f"{number:05d}") as folder:
            _, report = _write_shard(job, prepared, folder, fit=False)
            write_json(folder / "report.json", report.to_json())
        write_json(out / "report.json", report.to_json())
    else:
        report = _report(job, prepared, {})
    return report


@dataclass(frozen=True)
class _Job:
    task: Task
    found: Found
    split: np.ndarray
    tallies: Mapping[str, Tally]
    aligners: Mapping[str, Aligner]
    progress: Progress


def _write_shard(job: _Job, prepared: Prepared, folder: Path, *, fit: bool) -> tuple[Statistics, AlignReport]:
    """Align every stream into `folder`; fit the statistics on the training cases on the way, where `fit`."""
    folder.mkdir(parents=True, exist_ok=True)
    cases, train = job.found.cases, job.split == "train"
    rows, fitted = {}, {}
    for number, (name, aligner) in enumerate(job.aligners.items()):
        if fit:
            aligner.fit(cases.take(train))
        moments = Moments(aligner.statistics)
        with StreamWriter(folder, name, len(cases), aligner.empty()) as writer:
            for start, chunk in cases.chunks(CHUNK):
                for block in aligner.blocks(chunk):
                    writer.append(block, start)
                    if fit:
                        chosen = train[start + block.case]
                        moments.add(block.values[chosen], block.observed[chosen])
                    done = start + int(block.case[-1] + 1) if len(block.case) else start
                    job.progress(name, number * len(cases) + done, len(job.aligners) * len(cases))
        rows[name] = writer.row
        fitted[name] = moments.statistics()
    write_parquet(folder / "index.parquet", index_table(cases, job.split, rows))
    prevalence = float(cases.target[train].mean()) if fit else float("nan")
    return Statistics(fitted, int(train.sum()), prevalence), _report(job, prepared, rows)


def _report(job: _Job, prepared: Prepared, rows: Mapping[str, np.ndarray]) -> AlignReport:
    found = job.found
    event = found.cases.target == 1
    nobody = np.full(len(found.cases), -1)
    streams = {
        name: StreamReport(
            present=int((rows.get(name, nobody) >= 0).sum()),
            used=tally.counts["used"],
            left_out={what: count for what, count in sorted(tally.counts.items()) if what != "used"},
            refusals=tuple(tally.refusals),
        )
        for name, tally in job.tallies.items()
    }
    parts = {part: job.split == part for part in PARTS}
    return AlignReport(
        task=job.task.name,
        subjects=prepared.subjects,
        subjects_without_index=found.subjects_without_index,
        candidates=found.candidates,
        already_there=found.already_there,
        cases=len(found.cases),
        events=int(event.sum()),
        unknown_target=found.unknown_target,
        excluded=found.excluded,
        splits={part: SplitCounts(int(mine.sum()), int((mine & event).sum())) for part, mine in parts.items()},
        streams=streams,
        nothing_observed=int(np.all([row < 0 for row in rows.values()] or [nobody < 0], 0).sum()),
    )


def _aligners(task: Task, events: Events, tallies: Mapping[str, Tally], earlier: Cohort | None) -> dict[str, Aligner]:
    aligners = {}
    for name, spec in task.streams.items():
        given = Given(name, events, tallies[name])
        if earlier is not None:
            dtype = earlier.arrays(0, name).values.dtype
            given = Given(name, events, tallies[name], earlier.statistics.streams[name].levels, dtype)
        aligners[name] = ALIGNERS[spec.kind](spec, given)
    return aligners


def _split(task: Task, prepared: Prepared, found: Found, earlier: Cohort | None) -> np.ndarray:
    settled, boundaries = None, None
    if earlier is not None:
        index = earlier.index
        settled = dict(zip(index["subject_id"].astype(int), index["split"], strict=True))
        if task.split.by == "time":
            first, second = (_earliest(index[index["split"].isin(parts)]) for parts in (PARTS[1:], PARTS[2:]))
            boundaries = (first, second)
    return assign_splits(
        task.split,
        found.cases.subject,
        found.cases.index_time,
        _groups(task, prepared.events),
        outcome=found.cases.target,
        settled=settled,
        boundaries=boundaries,
    )


def _earliest(index: pd.DataFrame) -> int:
    return int(index["index_time"].to_numpy("datetime64[us]").min().astype(np.int64)) if len(index) else int(TIMELESS)


def _groups(task: Task, events: Events) -> dict[int, str]:
    """subject -> its earliest stated group."""
    if task.split.group_by is None:
        return {}
    held = events.select((task.split.group_by,))
    groups: dict[int, str] = {}
    for subject, text in zip(held.table["subject_id"].to_pylist(), held.texts(), strict=True):
        if text is not None:
            groups.setdefault(subject, text)
    return groups


def _taken(earlier: Cohort | None) -> list[tuple[str, int, int, str, str]]:
    if earlier is None:
        return []
    index = earlier.index
    times = index["index_time"].to_numpy("datetime64[us]")
    micros = np.where(np.isnat(times), TIMELESS, times.astype(np.int64))
    files, records = (index[name].fillna("") for name in ("record_file", "record"))
    return list(zip(index["case_id"], index["subject_id"].astype(int), micros.tolist(), files, records, strict=True))


def _identity(task: Task) -> dict[str, object]:
    """What decides how a task is aligned: all but the model's own settings."""
    plain = task.model_dump(mode="json", exclude={"model", "title"})
    for stream in plain["streams"].values():
        stream.pop("encoder")
    return plain


# stream kind -> what aligns it; each takes its own part of a task and a `Given`
ALIGNERS: dict[str, Callable[..., Aligner]] = {
    "table": TableAligner,
    "series": SeriesAligner,
    "image": ImageAligner,
    "text": TextAligner,
    "audio": AudioAligner,
}
