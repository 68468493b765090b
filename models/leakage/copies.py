"""Cases that are the same: groups of them, and how grave that is by whose they are and where they lie."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ingest.cohort import Cohort
from models.leakage.finding import Finding

TEMPLATE_SUBJECTS = 5  # what so many subjects share is a form, not a copy


@dataclass(frozen=True)
class Copies:
    """Groups of cases (positions in the cohort) that hold the same, counted by what is wrong with them.

    apart: groups of several subjects in more than one split; together: of several subjects in one split; apart_cases,
    disagreeing: the cases of the former, and how many of those groups have both outcomes.
    """

    apart: int
    together: int
    apart_cases: int
    disagreeing: int


def copies(cohort: Cohort, groups: Iterable[np.ndarray]) -> Copies:
    """Count groups of positions by subjects and splits; those of one subject are no copies."""
    subject, split = (cohort.index[name].to_numpy() for name in ("subject_id", "split"))
    apart = together = cases = disagreeing = 0
    for group in groups:
        if len(np.unique(subject[group])) < 2:
            continue
        if len(set(split[group])) < 2:
            together += 1
            continue
        apart += 1
        cases += len(group)
        disagreeing += len(np.unique(cohort.target[group])) > 1
    return Copies(apart, together, cases, disagreeing)


def copies_finding(check: str, where: str, what: str, found: Copies, looked_at: int) -> Finding:
    """An alarm where different subjects in different splits share what only one of them can have."""
    if found.apart:
        both = f", {found.disagreeing:,} of them with both outcomes" if found.disagreeing else ""
        return Finding(
            check, where,
            f"{found.apart:,} {what} shared by different subjects across splits ({found.apart_cases:,} cases){both}",
            "alarm",
            "find out whether these subjects are one (`telltale subjects`) or a file was delivered twice; merge or "
            "withdraw, and align with --resplit",
            float(found.apart),
        )  # fmt: skip
    if found.together:
        return Finding(
            check, where, f"{found.together:,} {what} shared by different subjects within one split", "look",
            "find out whether these subjects are one: copies count twice, and a new split may part them",
            float(found.together),
        )  # fmt: skip
    return Finding(check, where, f"no {what} shared by different subjects, of {looked_at:,}", "fine", value=0.0)


def groups_of(keys: np.ndarray) -> list[np.ndarray]:
    """The places of each key that occurs more than once; keys (n,) of any sortable kind."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    starts = np.cumsum(counts) - counts
    return [order[start : start + count] for start, count in zip(starts, counts, strict=True) if count > 1]


def components(size: int, pairs: np.ndarray) -> list[np.ndarray]:
    """The groups of more than one that pairs (m, 2) of 0 ... size-1 join."""
    return groups_of(component_labels(size, pairs))


def component_labels(size: int, pairs: np.ndarray) -> np.ndarray:
    """(size,) the same number for all that pairs join."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1])
