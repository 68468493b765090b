"""The control: with shuffled outcomes nothing can be learnt, unless the same case lies on both sides of the split.

Outcomes are shuffled among units that belong together (the cases of a subject, of a group, and those whose inputs are
the same), so that every case of a unit keeps one outcome. A model of the training and validation splits that ranks
the test split better than chance has then met its cases before.
"""

from collections.abc import Mapping

import numpy as np

from ingest.align.windows import rank_auroc
from models.leakage.copies import component_labels
from models.leakage.finding import Finding, Verdict
from models.leakage.scope import Scope
from models.leakage.separation import small_boosting

CHECK = "shuffled outcomes"
SHUFFLES = 5
ALARM, LOOK = 4.0, 3.0  # standard errors above 0.5
STEP = "the splits share cases: see the duplicates; align with --resplit, with `group_by` where groups belong together"


def shuffled_findings(scope: Scope, groups: Mapping[int, str]) -> list[Finding]:
    """Gradient boosting on flat features against shuffled outcomes. groups: subject -> what keeps it with others."""
    columns, _ = scope.columns
    columns = columns[:, np.isfinite(columns).any(0)] if len(columns) else columns
    test = scope.cohort.index["split"].to_numpy()[scope.rows] == "test"
    unit = units_of(scope, groups)
    rng = scope.generator
    aurocs, errors = [], []
    for shuffle in range(SHUFFLES if columns.shape[1] else 0):
        target = shuffled(scope.target, unit, rng)
        if min(len(np.unique(target[part])) for part in (test, ~test)) < 2:
            continue
        known = np.isfinite(columns[~test]).any(0)
        model = small_boosting(scope.seed + shuffle).fit(columns[~test][:, known], target[~test])
        aurocs.append(rank_auroc(model.predict_proba(columns[test][:, known])[:, 1], target[test] == 1))
        errors.append(chance_error(target[test], unit[test]))
    if not aurocs:
        return []
    mean, error = float(np.mean(aurocs)), float(np.mean(errors) / np.sqrt(len(aurocs)))
    above = (mean - 0.5) / error
    verdict: Verdict = "alarm" if above > ALARM else "look" if above > LOOK else "fine"
    figure = f"AUROC {mean:.3f} on the test split over {len(aurocs)} shuffles; chance gives 0.500 ± {2 * error:.3f}"
    return [Finding(CHECK, "cohort", figure, verdict, "" if verdict == "fine" else STEP, mean)]


def shuffled(target: np.ndarray, unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) outcomes dealt out anew among units, each unit with one; as many units have it as had it in most cases."""
    _, place = np.unique(unit, return_inverse=True)
    had = np.bincount(place, target) / np.bincount(place) >= 0.5
    return rng.permutation(had)[place].astype(int)


def units_of(scope: Scope, groups: Mapping[int, str]) -> np.ndarray:
    """(n,) a number for each set of cases that belong together: one subject's, one group's, or of the same inputs."""
    subject = np.unique(scope.subjects, return_inverse=True)[1]
    keys = [subject]
    if groups:
        keys.append(_numbers([groups.get(int(s), f"subject {s}") for s in scope.subjects]))
    if "inputs" in scope.cohort.index.columns:
        digests = scope.cohort.index["inputs"].to_numpy(object)[scope.rows]
        keys.append(_numbers([d if isinstance(d, str) else f"case {i}" for i, d in enumerate(digests)]))
    cases = np.arange(len(subject))
    offset, pairs = len(cases), []
    for key in keys:
        pairs.append(np.stack([cases, offset + key], 1))
        offset += int(key.max(initial=-1)) + 1
    return component_labels(offset, np.concatenate(pairs))[: len(cases)]


def chance_error(target: np.ndarray, unit: np.ndarray) -> float:
    """The standard error of an AUROC under chance, counting units: sqrt((m + n + 1) / 12mn), Mann & Whitney 1947."""
    m, n = (len(np.unique(unit[target == label])) for label in (1, 0))
    return float(np.sqrt((m + n + 1) / (12 * m * n)))


def _numbers(keys: list[str]) -> np.ndarray:
    return np.asarray(np.unique(np.array(keys), return_inverse=True)[1])
