"""What was known when: values that came too late, stated times of release, and outcomes that lie at the index time."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.align.source import ObservationSource
from ingest.cohort import Cohort
from ingest.target import BinaryTarget, ClassesTarget, LabelsTarget, SurvivalTarget, Target
from models.leakage.finding import Finding, Verdict

CHECK, LEAD = "known in time", "outcome and index time"
HOUR_US = 3_600_000_000
AT_ONCE_HOURS = 0.25  # an outcome so soon after the index time was known, or all but known
ONE_LEAD = {"alarm": 0.5, "look": 0.2}  # the share of outcomes that come after the very same time, to the minute
SOON = {"alarm": 0.5, "look": 0.1}
NEVER = {"alarm": 2.0}  # no share is that large
EARLIER = 0.05  # the share of cases that had such an event before
LEAST_EVENTS = 10
LATE = "available only after the index time"


def late_findings(cohort: Cohort) -> list[Finding]:
    """Per stream: how much was left out as too late, and whether release times are stated at all."""
    if not cohort.task.timed:
        return []
    found = []
    for stream in cohort.stream_names:
        late = sum(_left_out(report, stream) for report in _reports(cohort))
        stated, after, rows = _released(cohort, stream)
        if after and cohort.task.known_by == "time":
            figure = f"{after:,} of {rows:,} sources were released after the index time, and are used: known_by is time"
            step = "set known_by: available_time, unless the release times are wrong"
            found.append(Finding(CHECK, stream, figure, "alarm", step, float(after)))
        elif after:
            figure = f"{after:,} of {rows:,} sources were released after the index time, and are used"
            found.append(Finding(CHECK, stream, figure, "alarm", "align again: this cohort is not what its task says"))
        elif rows and not stated:
            figure = f"no release time is stated for {rows:,} timed sources: what was measured counts as known"
            step = "ask when results reached the record; map that time to available_time, or end the window earlier"
            found.append(Finding(CHECK, stream, figure, "look", step))
        else:
            share = f"{stated / rows:.0%} of sources state their release" if rows else "nothing of it has a time"
            found.append(Finding(CHECK, stream, f"{late:,} values left out as known too late; {share}", "fine"))
    return found


def lead_findings(cohort: Cohort, source: ObservationSource | None) -> list[Finding]:
    """How long after the index time outcomes come: at once, always the same time after, or before it already."""
    if source is None or not cohort.task.timed or not risk_events(cohort.task.target):
        return []
    ahead, earlier = lead_hours(cohort, source)
    lead = ahead[(cohort.target == 1) & np.isfinite(ahead)]
    if len(lead) < LEAST_EVENTS:
        return []
    minutes, counts = np.unique(np.round(lead * 60), return_counts=True)
    usual, same = float(minutes[counts.argmax()]) / 60, float(counts.max() / len(lead))
    soon, before = float((lead <= AT_ONCE_HOURS).mean()), float(earlier.mean())
    day = usual % 24 == 0  # dates without a time of day lie whole days apart
    outcomes = f"of {len(lead):,} outcomes come"
    return [
        _share(
            f"{same:.0%} {outcomes} {usual:.4g} h after the index time, to the minute",
            same, NEVER | {"look": ONE_LEAD["look"]} if day else ONE_LEAD,
            "do not count index times back from the outcome: take a moment that everybody has",
        ),
        _share(
            f"{soon:.0%} {outcomes} within {AT_ONCE_HOURS * 60:.0f} minutes after the index time",
            soon, SOON, "ask earlier: what is written then is written of the outcome",
        ),
        _share(
            f"{before:.1%} of cases had such an event at or before the index time",
            before, NEVER | {"look": EARLIER}, "exclude those who have it already, with `exclude` of the task",
        ),
    ]  # fmt: skip


def risk_events(target: Target) -> set[str]:
    """The codes whose events are the risk event; none where a label or a number states it."""
    if isinstance(target, BinaryTarget):
        return set(target.events)
    if isinstance(target, LabelsTarget):
        return set(target.labels[target.risk].events)
    if isinstance(target, ClassesTarget) and target.label is None:
        return {code for name in target.risk for code in target.classes[name]}
    if isinstance(target, SurvivalTarget) and target.duration is None:
        return set(target.causes[target.risk or next(iter(target.causes))])
    return set()


def lead_hours(cohort: Cohort, source: ObservationSource) -> tuple[np.ndarray, np.ndarray]:
    """(N,) hours to the first of the target's events after the index time, NaN where none; whether one lay before."""
    subject = cohort.index["subject_id"].to_numpy(np.int64)
    index = cohort.index["index_time"].to_numpy("datetime64[us]").astype(np.int64)
    order = np.argsort(subject, kind="stable")
    ahead, earlier = np.full(len(cohort), np.nan), np.zeros(len(cohort), bool)
    for table in source.chunks(risk_events(cohort.task.target)):
        events = table.filter(pc.is_valid(table["time"]))
        whose = events["subject_id"].to_numpy()
        times = events["time"].to_numpy().astype("datetime64[us]").astype(np.int64)
        low, high = (np.searchsorted(subject[order], whose, side) for side in ("left", "right"))
        event = np.repeat(np.arange(len(whose)), high - low)
        within = np.arange(len(event)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        case = order[np.repeat(low, high - low) + within]
        hours = (times[event] - index[case]) / HOUR_US
        earlier[case[hours <= 0]] = True
        np.fmin.at(ahead, case[hours > 0], hours[hours > 0])
    return ahead, earlier


def _share(figure: str, share: float, limits: Mapping[str, float], step: str) -> Finding:
    verdict: Verdict = "alarm" if share >= limits["alarm"] else "look" if share >= limits["look"] else "fine"
    return Finding(LEAD, "cohort", figure, verdict, "" if verdict == "fine" else step, share)


def _reports(cohort: Cohort) -> list[Mapping[str, Any]]:
    """What alignment said of the cohort, and of the shards that were added later."""
    added = (cohort.shard_folder(int(shard)) / "report.json" for shard in cohort.index["shard"].unique())
    return [json.loads(path.read_text()) for path in (cohort.folder / "report.json", *added) if path.is_file()]


def _left_out(report: Mapping[str, Any], stream: str) -> int:
    return int(report.get("streams", {}).get(stream, {}).get("left_out", {}).get(LATE, 0))


def _released(cohort: Cohort, stream: str) -> tuple[int, int, int]:
    """(sources whose release is stated, those released after the index time, all that have a time)."""
    stated = after = rows = 0
    for shard in cohort.index["shard"].unique():
        path = cohort.shard_folder(int(shard)) / f"{stream}.source.parquet"
        file = pq.ParquetFile(path)
        if not {"row", "time", "available_time"} <= set(file.schema_arrow.names):
            continue  # a cohort that was not aligned by this version
        held = cohort.index[(cohort.index["shard"] == shard) & (cohort.index[f"{stream}_row"] >= 0)]
        index = pd.Series(held["index_time"].to_numpy("datetime64[us]"), index=held[f"{stream}_row"].to_numpy())
        for batch in file.iter_batches(columns=["row", "time", "available_time"]):
            frame = batch.to_pandas()
            timed, known = frame["time"].notna(), frame["available_time"].notna()
            late = frame["available_time"][known].to_numpy("datetime64[us]") > index[frame["row"][known]].to_numpy()
            rows, stated, after = rows + int(timed.sum()), stated + int((timed & known).sum()), after + int(late.sum())
    return stated, after, rows
