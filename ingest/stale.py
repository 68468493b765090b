"""What no longer stands: cases and scores that rest on records corrected since, or on another idea of who is who."""

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ingest.account.ledger import retired_records
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TelltaleError
from ingest.identity.merges import subject_aliases
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.store import Observations
from ingest.workspace import Workspace

SUPERSEDED = "what it was scored on has changed since: score again"
MERGED = "its subject was merged with another, or parted from one, since it was aligned: align and score again"
CHANGED = "aligned anew it would not be the same: align and score again"


def stale_cases(workspace: Workspace, task_name: str) -> dict[str, str]:
    """case_id -> why the case, as it was aligned, no longer stands; those that do are not in it.

    A record that it rests on was corrected or withdrawn, or its subject was merged or parted since.
    """
    cohort = open_cohort(workspace.cohort(task_name))
    stale = {case: f"rests on {what}: align and score again" for case, what in _on_retired(workspace, cohort).items()}
    moved = _moved_subjects(workspace, cohort)
    if moved:
        mine = cohort.index["subject_id"].isin(list(moved))
        stale |= {str(case): MERGED for case in cohort.index["case_id"][mine]}
    return stale


def changed_cases(workspace: Workspace, task_name: str, vocabulary: Vocabulary = EMPTY) -> dict[str, str]:
    """case_id -> that it would be another were the task aligned now. Aligns it, so it takes as long as that does.

    It also finds what has come late: results that were known by the index time, but were not here yet.
    """
    from ingest.align.build import align
    from ingest.catalogue import read_catalogue

    cohort = open_cohort(workspace.cohort(task_name))
    with tempfile.TemporaryDirectory(dir=workspace.root, prefix=".stale-") as folder:
        out = Path(folder) / "cohort"
        catalogue = read_catalogue(workspace.images)
        align(Observations(workspace), cohort.task, out, vocabulary=vocabulary, catalogue=catalogue, like=cohort)
        now = _by_moment(open_cohort(out))
    then = _by_moment(cohort)
    return {case: CHANGED for moment, (case, inputs) in then.items() if now.get(moment, ("", ""))[1] != inputs}


def superseded(scores: pd.DataFrame, cohort: Cohort) -> "pd.Series[bool]":
    """For each row of scores whether its case's inputs have changed since, by digest; missing where that is not known.

    A case that is no longer in the cohort counts as changed. scores: with case_id, and `inputs` where they were kept.
    """
    if "inputs" not in scores.columns or "inputs" not in cohort.index.columns:
        return pd.Series(pd.NA, scores.index, "boolean")
    now = scores["case_id"].astype(str).map(_inputs(cohort)).fillna("gone")
    then = scores["inputs"].fillna("")
    return (now != then).astype("boolean").mask((now == "") | (then == ""))


def stale_scores(workspace: Workspace, task_name: str, scores: pd.DataFrame) -> dict[str, str]:
    """case_id -> why its score no longer stands, for those of the scores that do not."""
    folder = workspace.cohort(task_name)
    if not (folder / "task.json").is_file():
        return {}
    changed = superseded(scores, open_cohort(folder)).fillna(value=False).to_numpy(bool)
    stale = {str(case): SUPERSEDED for case in scores["case_id"][changed]}
    mine = set(scores["case_id"].astype(str))
    return stale | {case: why for case, why in stale_cases(workspace, task_name).items() if case in mine}


def _inputs(cohort: Cohort) -> dict[str, str]:
    if "inputs" not in cohort.index.columns:
        raise TelltaleError(f"{cohort.folder}: expected a cohort that keeps digests of its inputs; align it again")
    return dict(zip(cohort.index["case_id"].astype(str), cohort.index["inputs"].fillna(""), strict=True))


def _by_moment(cohort: Cohort) -> dict[tuple[object, ...], tuple[str, str]]:
    """(subject, index time, record) -> (case_id, digest of its inputs); a grown cohort may number cases otherwise."""
    index = cohort.index
    inputs = _inputs(cohort)
    records = (index[name].fillna("") for name in ("record_file", "record"))
    moments = zip(index["subject_id"], index["index_time"].astype(str), *records, strict=True)
    return {moment: (case, inputs[case]) for moment, case in zip(moments, index["case_id"].astype(str), strict=True)}


def _on_retired(workspace: Workspace, cohort: Cohort) -> dict[str, str]:
    """case_id -> which of the records that it rests on does not hold any more."""
    retired = {
        (file, record): why for file, record, why, _ in retired_records(workspace.ingests, workspace.observations)
    }
    if not retired:
        return {}
    index = cohort.index
    found: dict[int, list[tuple[str, str]]] = {}  # position of the case -> records
    for shard in sorted(index["shard"].unique()):
        for stream in cohort.stream_names:
            for row, *source in _rows_of(cohort, int(shard), stream, retired):
                at = np.flatnonzero((index["shard"] == shard) & (index[f"{stream}_row"] == row))
                for case in at.tolist():
                    found.setdefault(case, []).append((source[0], source[1]))
    subjects = {int(index["subject_id"].iloc[case]) for case in found}
    holding = _holding(workspace, subjects, retired)  # a record that was delivered again since holds again
    gone = {case: [record for record in records if record not in holding] for case, records in found.items()}
    return {
        str(index["case_id"].iloc[case]): f"{records[0][0]}, {records[0][1]}, {retired[records[0]]} since"
        for case, records in gone.items()
        if records
    }


def _rows_of(
    cohort: Cohort, shard: int, stream: str, retired: Mapping[tuple[str, str], str]
) -> list[tuple[int, str, str]]:
    """(row, file, record) of the stream's sources that are among `retired`."""
    path = cohort.shard_folder(shard) / f"{stream}.source.parquet"
    files = sorted({file for file, _ in retired})
    columns = ["row", "source_file", "source_record"]
    table = pq.read_table(path, columns=columns, filters=[("source_file", "in", files)])
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return [(row, file, record) for row, file, record in rows if (file, record) in retired]


def _holding(
    workspace: Workspace, subjects: Collection[int], records: Mapping[tuple[str, str], str]
) -> set[tuple[str, str]]:
    holding: set[tuple[str, str]] = set()
    for chunk in Observations(workspace).chunks(subjects=subjects) if subjects else ():
        names = zip(chunk["source_file"].to_pylist(), chunk["source_record"].to_pylist(), strict=True)
        holding |= {name for name in names if name in records}
    return holding


def _moved_subjects(workspace: Workspace, cohort: Cohort) -> set[int]:
    """Subjects that are read together with others, or are not any more, other than when the cohort was aligned."""
    path = cohort.folder / "report.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    then = {(int(other), int(kept)) for other, kept in report.get("merged", ())}
    now = set(subject_aliases(workspace.identities).items())
    return {subject for pair in then ^ now for subject in pair}
