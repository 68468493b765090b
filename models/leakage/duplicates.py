"""Subjects, groups and exact copies that lie in more than one split."""

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from ingest.cohort import Cohort
from models.leakage.copies import copies, copies_finding, groups_of
from models.leakage.finding import Finding
from models.leakage.scope import Scope, blocks

CHECK = "duplicates"
LEAST_VALUES = 8  # different ones: fewer are the same by chance
MOST_BYTES = 1 << 33  # read of one stream
ALIKE = {"image": "images", "audio": "recordings", "series": "series"}
RESPLIT = "align with --resplit, and train anew: what was measured on this split is too good"


def split_findings(cohort: Cohort, groups: Mapping[int, str]) -> list[Finding]:
    """Subjects in two splits, and groups of the task's `group_by` (subject -> group) in two."""
    subject = cohort.index["subject_id"].to_numpy()
    found = [_parted(cohort, subject, "subjects")]
    if groups:
        name = str(cohort.task.split.group_by)
        known = np.array([int(s) in groups for s in subject])
        labels = np.array([groups.get(int(s), "") for s in subject], object)
        found.append(_parted(cohort, labels, f"groups of {name}", known))
    return found


def _parted(cohort: Cohort, labels: np.ndarray, what: str, known: np.ndarray | None = None) -> Finding:
    split = cohort.index["split"].to_numpy()
    of = np.arange(len(cohort)) if known is None else np.flatnonzero(known)
    groups = [of[group] for group in groups_of(labels[of].astype(str))]
    parted = [group for group in groups if len(set(split[group])) > 1]
    total = len(set(labels[of]))
    if not parted:
        return Finding(CHECK, "cohort", f"no {what} in two splits, of {total:,}", "fine", value=0.0)
    figure = f"{len(parted):,} of {total:,} {what} in two splits ({sum(map(len, parted)):,} cases)"
    return Finding(CHECK, "cohort", figure, "alarm", RESPLIT, float(len(parted)))


def input_findings(cohort: Cohort) -> list[Finding]:
    """Cases of different subjects of whom a model sees the very same."""
    if "inputs" not in cohort.index.columns:
        return []
    digests = cohort.index["inputs"].to_numpy(object)
    kept = np.flatnonzero([isinstance(digest, str) for digest in digests])
    groups = [kept[group] for group in groups_of(digests[kept].astype(str))]
    told = [group for group in groups if _distinct_values(cohort, int(group[0])) >= LEAST_VALUES]
    return [copies_finding(CHECK, "cohort", "whole inputs", copies(cohort, told), len(kept))]


def array_findings(scope: Scope) -> list[Finding]:
    """Images, recordings and series of different subjects that are the same, byte for byte.

    Tables are the same by chance; notes have a check of their own.
    """
    found = []
    for stream, spec in scope.cohort.task.streams.items():
        if spec.kind in ALIKE:
            where, digests = _digests(scope, stream)
            groups = [where[group] for group in groups_of(digests)]
            what = f"identical {ALIKE[spec.kind]}"
            found.append(copies_finding(CHECK, stream, what, copies(scope.cohort, groups), len(where)))
    return found


def _digests(scope: Scope, stream: str) -> tuple[np.ndarray, np.ndarray]:
    """(cases that have enough of the stream to be compared, the digest of what is observed and of where)."""
    rows = affordable(scope, stream)
    cases, digests = [], []
    for at, arrays in blocks(scope.cohort, rows, stream):
        for place, values, observed in zip(at, arrays.values, arrays.observed, strict=True):
            shown = values[observed]
            if _distinct(shown) >= LEAST_VALUES:
                cases.append(rows[place])
                digests.append(_digest(shown, observed))
    return np.array(cases, np.int64), np.array(digests, "S32")


def _distinct_values(cohort: Cohort, row: int) -> int:
    """How many different values are observed of a case, over all its streams."""
    total = 0
    for stream in cohort.stream_names:
        for _, arrays in blocks(cohort, np.array([row]), stream):
            total += _distinct(arrays.values[arrays.observed])
    return total


def _distinct(values: np.ndarray) -> int:
    return len(np.unique(values.ravel()[:: max(values.size // 4096, 1)]))


def affordable(scope: Scope, stream: str, most_cases: int | None = None) -> np.ndarray:
    """All cases, or as many at random as MOST_BYTES and `most_cases` allow; noted where it is not all."""
    cohort = scope.cohort
    rows = cohort.rows()
    rows = rows[cohort.index[f"{stream}_row"].to_numpy() >= 0]
    if not len(rows):
        return np.asarray(rows)
    each = max(cohort.arrays(int(cohort.index["shard"].iloc[rows[0]]), stream).values[:1].nbytes, 1)
    most = min(most_cases or len(rows), max(MOST_BYTES // each, 1))
    if len(rows) <= most:
        return np.asarray(rows)
    scope.note(f"{stream}: copies were looked for among {most:,} of {len(rows):,} cases")
    return np.sort(scope.generator.permutation(rows)[:most])


def _digest(values: np.ndarray, observed: np.ndarray) -> bytes:
    digest = blake2b(np.ascontiguousarray(values).data, digest_size=16)
    digest.update(np.packbits(observed).data)
    return digest.hexdigest().encode()
