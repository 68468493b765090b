"""Dealing cases into parts: whole groups, each part with its share of the groups that have the event."""

from collections import Counter

import numpy as np

from models.evaluate.metrics import EvaluationError


def deal(groups: np.ndarray, target: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) int: the part, from 0, that each case is dealt to. groups (N,): cases of one are never parted.

    target (N,) 0, 1 or NaN. Groups with an event go, those with the most first, to the part with the fewest events so
    far; groups without one, the largest first, to the part with the fewest cases. Equals come in random order.
    """
    _, number = np.unique(groups, return_inverse=True)
    cases = np.bincount(number)
    events = np.bincount(number, np.nan_to_num(np.asarray(target, float))).astype(int)
    order = rng.permutation(len(cases))
    order = order[np.lexsort([-cases[order], -events[order]])]
    held: list[tuple[int, int]] = [(0, 0)] * parts  # (events, cases)
    part_of = np.zeros(len(cases), int)
    for group in order:
        load = held if events[group] else [(0, some) for _, some in held]
        part = min(range(parts), key=lambda at: load[at])
        held[part] = (held[part][0] + int(events[group]), held[part][1] + int(cases[group]))
        part_of[group] = part
    return np.asarray(part_of[number])


def check_groups(groups: np.ndarray, target: np.ndarray, least: int, what: str) -> None:
    """Raise where fewer than `least` groups have the event, or fewer than that do not. `what` names who needs them."""
    known = ~np.isnan(target)
    counts = [len(np.unique(groups[known][target[known] == label])) for label in (1, 0)]
    if min(counts) < least:
        raise EvaluationError(
            f"{what}: expected at least {least} subjects or groups with the event and as many without, "
            f"got {counts[0]} with and {counts[1]} without, in {int(known.sum())} cases; ask for fewer parts"
        )


def check_whole(groups: np.ndarray, subjects: np.ndarray) -> None:
    """Raise where a subject is in several groups: it would be in several parts."""
    pairs = set(zip(np.asarray(subjects).tolist(), np.asarray(groups).tolist(), strict=True))
    torn = [subject for subject, number in Counter(subject for subject, _ in pairs).items() if number > 1]
    if torn:
        raise EvaluationError(f"groups: expected each subject in one, got {len(torn)} in several, such as {torn[0]}")
