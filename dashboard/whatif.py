"""What the model says when some of a case's sources are hidden: read from the explanation, nothing is run."""

from collections.abc import Collection
from math import exp

from explain.explanation import Explanation


def risk_with(made: Explanation, kept: Collection[str]) -> float:
    """The risk with only these of the case's streams."""
    wanted = frozenset(kept) & frozenset(made.streams)
    for key, logit in made.coalitions.items():
        if frozenset(part for part in key.split("+") if part) == wanted:
            return risk_of(logit)
    raise KeyError(f"the explanation of {made.case_id} has no coalition of {sorted(wanted)}")


def risk_of(logit: float) -> float:
    """The logistic function, without overflow."""
    return 1 / (1 + exp(-logit)) if logit >= 0 else exp(logit) / (1 + exp(logit))
