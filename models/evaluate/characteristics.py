"""Who the cases are: the features of every table stream, and which streams there are, split by split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingest.cohort import SPLITS, Cohort
from ingest.task import TableStream

FEWEST_SHOWN = 5  # a smaller count of people could point at one of them
MOST_LEVELS = 12


@dataclass(frozen=True)
class Characteristic:
    """One line of the table: what it is, and its value in each split as text."""

    name: str
    values: tuple[str, ...]


def characteristics(cohort: Cohort, splits: Sequence[str] = SPLITS) -> list[Characteristic]:
    """Cases, subjects, events, dates, streams, and every feature of the table streams, for each split.

    A number is given as its median and quartiles, a category as a count and its share of those that are known, both
    over the cases for which it was observed. Counts of 1 to 4 are shown as "< 5".
    """
    rows = [cohort.rows(split) for split in splits]
    lines = [
        Characteristic("cases", tuple(f"{len(r):,}" for r in rows)),
        Characteristic("subjects", tuple(f"{cohort.index['subject_id'].iloc[r].nunique():,}" for r in rows)),
        Characteristic("with the risk event", tuple(_events(cohort.target[r]) for r in rows)),
    ]
    if cohort.task.timed:
        lines.append(Characteristic("index times", tuple(_dates(cohort, r) for r in rows)))
    for place, name in enumerate(cohort.stream_names):
        lines.append(Characteristic(f"{name} present", tuple(count_of(cohort.present[r, place]) for r in rows)))
    for name, spec in cohort.task.streams.items():
        if isinstance(spec, TableStream):
            lines += _features(cohort, name, spec, rows)
    return lines


def count_of(which: np.ndarray) -> str:
    """How many of these cases, with the share: "31 (12 %)"; few are not told apart."""
    count, n = int(which.sum()), len(which)
    if 0 < count < FEWEST_SHOWN:
        return f"< {FEWEST_SHOWN}"
    return f"{count:,} ({100 * count / n:.0f} %)" if n else "0"


def _features(cohort: Cohort, stream: str, spec: TableStream, rows: list[np.ndarray]) -> list[Characteristic]:
    levels = cohort.statistics.streams[stream].levels
    read = [cohort.batch(r, [stream]).streams[stream] for r in rows]
    values, observed = [s.values.numpy() for s in read], [s.observed.numpy() for s in read]
    lines = []
    for place, feature in enumerate(spec.features):
        seen = [o[:, place] for o in observed]
        given = [v[:, place][s] for v, s in zip(values, seen, strict=True)]
        if feature.name in levels:
            lines += [
                Characteristic(f"{feature.name}: {text}", tuple(count_of(g.astype(int) == number) for g in given))
                for number, text in enumerate(levels[feature.name][:MOST_LEVELS])
            ]
        elif feature.reduce == "any":
            lines.append(Characteristic(feature.name, tuple(count_of(g > 0) for g in given)))
        else:
            unit = feature.unit or ("a" if feature.derive == "age" else "")
            lines.append(
                Characteristic(f"{feature.name}{f' ({unit})' if unit else ''}", tuple(_quartiles(g) for g in given))
            )
        if not all(s.all() for s in seen):
            lines.append(Characteristic(f"{feature.name}: not known", tuple(count_of(~s) for s in seen)))
    return lines


def _quartiles(values: np.ndarray) -> str:
    if len(values) < FEWEST_SHOWN:
        return f"fewer than {FEWEST_SHOWN} values"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _events(target: np.ndarray) -> str:
    known = target[~np.isnan(target)]
    unknown = len(target) - len(known)
    return count_of(known == 1) + (f", {unknown} unknown" if unknown else "")


def _dates(cohort: Cohort, rows: np.ndarray) -> str:
    times = cohort.index["index_time"].iloc[rows].dropna()
    return f"{times.min():%Y-%m} to {times.max():%Y-%m}" if len(times) else "none"
