"""Single features that tell too much, what is there for whom, and a small tree on each stream alone."""

import numpy as np

from models.leakage.finding import VERDICTS, Finding, gravest
from models.leakage.marks import count_marks
from models.leakage.scope import Scope
from models.leakage.separation import Separation, cross_validated, separation, shallow_tree

CHECK, PRESENCE, ALONE = "single features", "presence", "streams alone"
MOST_SHOWN = 10
STEP = (
    "ask when and why this value is made: if it is written after the outcome, or because of it, take it out of the "
    "task or set its window before"
)
PRESENCE_STEP = (
    "ask why it is there for these cases: a measurement that is ordered because of the outcome tells it; narrow the "
    "window or take it out"
)
ALONE_STEP = "find the part that tells it among this stream's features, words and images; ask how it came in"


def column_findings(scope: Scope) -> list[Finding]:
    """The AUROC of every flat feature by itself, missing being a value of its own."""
    columns, names = scope.columns
    told = [at for at in range(len(names)) if np.isfinite(columns[:, at]).any()]
    if not told:
        return []
    every = [(names[at], separation(columns[:, at].astype(float), scope.target, scope.subjects)) for at in told]
    every.sort(key=lambda each: -each[1].value)
    suspects: dict[str, list[tuple[str, Separation]]] = {}  # by what they are a part of
    for name, judged in every:
        if judged.verdict() != "fine":
            suspects.setdefault(part_of(name), []).append((name, judged))
    found = []
    for alike in list(suspects.values())[:MOST_SHOWN]:
        name, judged = alike[0]
        more = f"; so do {len(alike) - 1} more columns of it" if len(alike) > 1 else ""
        found.append(Finding(CHECK, name, f"{judged}{more}", judged.verdict(), STEP, judged.value))
    if len(suspects) > MOST_SHOWN:
        scope.note(f"{CHECK}: {len(suspects) - MOST_SHOWN} more than those shown tell the outcome alike")
    if not found:
        name, judged = every[0]
        figure = f"the most telling of {len(every):,} columns: {judged}"
        found.append(Finding(CHECK, name, figure, "fine", value=judged.value))
    return found


def presence_findings(scope: Scope) -> list[Finding]:
    """Whether a stream or a feature is there at all: by its AUROC, and as a mark that settles the outcome of few."""
    there, names = _there(scope)
    if not names:
        return [Finding(PRESENCE, "cohort", "every case has every stream and feature, or none has", "fine")]
    marks = count_marks(np.concatenate([there, ~there], 1), scope.target, scope.weight)
    verdicts = marks.verdicts()
    found, best = [], (0.0, "")
    for k, name in enumerate(names):
        told = separation(there[:, k].astype(float), scope.target, scope.subjects)
        best = max(best, (told.value, name))
        sense = k if verdicts[k] == gravest(verdicts[k], verdicts[k + len(names)]) else k + len(names)
        if (verdict := gravest(verdicts[sense], told.verdict())) != "fine":
            figure = f"{'there' if sense == k else 'missing'} {marks.said(sense)}; {told}"
            found.append(Finding(PRESENCE, name, figure, verdict, PRESENCE_STEP, told.value))
    if len(found) > MOST_SHOWN:
        scope.note(f"{PRESENCE}: {len(found) - MOST_SHOWN} more than those shown tell the outcome alike")
        found = sorted(found, key=lambda finding: (VERDICTS.index(finding.verdict), -(finding.value or 0)))[:MOST_SHOWN]
    if not found:
        figure = f"the most telling of {len(names):,}: AUROC {best[0]:.3f}"
        found.append(Finding(PRESENCE, best[1], figure, "fine", value=best[0]))
    return found


def _there(scope: Scope) -> tuple[np.ndarray, list[str]]:
    """(n, K) what each case has of the streams and features that some have and some lack, and their names."""
    present = scope.cohort.present[scope.rows]
    columns, names = scope.columns
    found: dict[bytes, tuple[str, np.ndarray]] = {}
    every = [*zip(scope.cohort.stream_names, present.T, strict=True)]
    first = {part_of(name): at for at, name in reversed(list(enumerate(names)))}  # a slope needs two values, not one
    every += [(name, np.isfinite(columns[:, at])) for name, at in first.items()]
    for name, mark in every:
        if 0 < mark.sum() < len(mark):
            found.setdefault(np.packbits(mark).tobytes(), (name, mark))
    marked = [mark for _, mark in found.values()]
    return np.stack(marked, 1) if marked else np.zeros((len(columns), 0), bool), [name for name, _ in found.values()]


def part_of(name: str) -> str:
    """What a column sums up a part of: "labs: lactate" of "labs: lactate, last"."""
    return name.rpartition(", ")[0] or name


def alone_findings(scope: Scope) -> list[Finding]:
    """A tree of depth 3 on each stream's columns, cross-validated over subjects."""
    columns, names = scope.columns
    found = []
    for stream in scope.cohort.stream_names:
        mine = [at for at, name in enumerate(names) if name.startswith(f"{stream}: ")]
        block = columns[:, mine]
        if not mine or not np.isfinite(block).any():
            continue
        said = cross_validated(lambda: shallow_tree(scope.seed), block, scope.target, scope.subjects, scope.seed)
        if said is not None:
            told = separation(said, scope.target, scope.subjects)
            verdict = told.verdict()
            step = "" if verdict == "fine" else ALONE_STEP
            found.append(Finding(ALONE, stream, f"a tree of depth 3: {told}", verdict, step, told.value))
    return found
