"""Notes that are nearly the same, by the runs of four tokens that they share.

After Broder 1997, doi:10.1109/SEQUEN.1997.666900. The tokens are those that a model sees. Sixty minima of hashed runs
stand for a note; notes that agree in six of them in one of ten bands are candidates, so that the work grows with the
notes and not with their pairs, and candidates are then compared by the runs themselves.
"""

import numpy as np

from models.leakage.copies import TEMPLATE_SUBJECTS, components, copies, copies_finding, groups_of
from models.leakage.duplicates import CHECK, affordable
from models.leakage.finding import Finding
from models.leakage.scope import Scope, blocks, streams_of

RUN = 4
BANDS, ROWS = 10, 6
ALIKE = 0.9  # Jaccard's coefficient of two notes' runs
LEAST_TOKENS = 10  # shorter notes are the same by chance
MOST_NOTES = 100_000
MOST_IN_BUCKET = 64  # beyond it neighbours alone are compared: it is a form that many were written in
CASES_AT_ONCE = 1_024
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)


def near_note_findings(scope: Scope) -> list[Finding]:
    """Nearly the same note under different subjects, of each text stream."""
    found = []
    for stream in streams_of(scope.cohort, "text"):
        case, runs, signature = _signatures(scope, stream)
        if len(case) > 1:
            groups = [case[group] for group in components(len(case), near_pairs(runs, signature))]
            found += _findings(scope, stream, groups, len(case))
    return found


def near_pairs(runs: list[np.ndarray], signature: np.ndarray) -> np.ndarray:
    """(m, 2) pairs of notes whose runs agree. runs: sorted, distinct, of each note; signature (n, BANDS * ROWS)."""
    candidates = [np.zeros((0, 2), np.int64)]
    for band in range(BANDS):
        keys = np.zeros(len(signature), np.uint64)
        for row in range(band * ROWS, (band + 1) * ROWS):
            keys = (keys ^ signature[:, row]) * _MIXER
        candidates += [_pairs_in(bucket) for bucket in groups_of(keys)]
    pairs = np.unique(np.concatenate(candidates), axis=0)
    return pairs[[jaccard(runs[a], runs[b]) >= ALIKE for a, b in pairs]] if len(pairs) else pairs


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The share of distinct runs that both have; a, b sorted and distinct."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(len(a) + len(b) - common, 1)


def _findings(scope: Scope, stream: str, groups: list[np.ndarray], notes: int) -> list[Finding]:
    """Copies apart from forms, which many subjects share."""
    subject = scope.cohort.index["subject_id"].to_numpy()
    forms = [group for group in groups if len(np.unique(subject[group])) >= TEMPLATE_SUBJECTS]
    few = [group for group in groups if len(np.unique(subject[group])) < TEMPLATE_SUBJECTS]
    found = [copies_finding(CHECK, stream, "groups of nearly the same notes", copies(scope.cohort, few), notes)]
    if forms:
        figure = (
            f"{len(forms):,} texts that {TEMPLATE_SUBJECTS} subjects or more share ({sum(map(len, forms)):,} cases)"
        )
        step = "a form, or one note filed under many: read one of each; a form that follows an outcome tells it"
        found.append(Finding(CHECK, stream, figure, "look", step, float(len(forms))))
    return found


def _signatures(scope: Scope, stream: str) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """(cases, the distinct runs of each, minima (n, BANDS * ROWS)) of the notes that are long enough."""
    rows = affordable(scope, stream, MOST_NOTES)
    factors = scope.generator.integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    cases, runs, minima = [], [], []
    for at, arrays in blocks(scope.cohort, rows, stream):
        for start in range(0, len(at), CASES_AT_ONCE):
            some = slice(start, start + CASES_AT_ONCE)
            hashed, there = hashed_runs(arrays.values[some], arrays.observed[some])
            long = arrays.observed[some].sum(1) >= LEAST_TOKENS
            hashed, there = hashed[long], there[long]
            cases.append(rows[at[some][long]])
            runs += [np.unique(mine[shown]) for mine, shown in zip(hashed, there, strict=True)]
            minima.append(np.stack([np.where(there, (hashed * f) >> np.uint64(16), _NONE).min(1) for f in factors], 1))
    if not cases:
        return np.zeros(0, np.int64), [], np.zeros((0, BANDS * ROWS), np.uint64)
    return np.concatenate(cases), runs, np.concatenate(minima)


def hashed_runs(tokens: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, T - 3) a number for every run of four tokens, and which runs there are. tokens (n, T) int64."""
    width = max(tokens.shape[1] - RUN + 1, 0)
    hashed = np.zeros((len(tokens), width), np.uint64)
    there = np.ones((len(tokens), width), bool)
    for step in range(RUN):
        hashed = (hashed ^ tokens[:, step : step + width].astype(np.uint64)) * _MIXER
        hashed ^= hashed >> np.uint64(29)
        there &= observed[:, step : step + width]
    return hashed, there


def _pairs_in(bucket: np.ndarray) -> np.ndarray:
    """(m, 2) ascending pairs of a bucket: all of them, or of a large one each with the next."""
    if len(bucket) > MOST_IN_BUCKET:
        return np.stack([bucket[:-1], bucket[1:]], 1)
    first, second = np.triu_indices(len(bucket), 1)
    return np.stack([bucket[first], bucket[second]], 1)
