"""Limits that a given share of like cases exceeds, from few of them."""

import numpy as np

from models.trust.conformal import conformal_quantile

LEAST_CASES = 8


def upper_limit(scores: np.ndarray, share: float) -> float:
    """What a further score of this kind exceeds with probability `share`. scores (n,), above 0.

    An order statistic where there are enough scores (`conformal_quantile`). With fewer, the largest of them or, if that
    is more, the bound that prediction by a normal distribution of their logarithms gives (Student's t). Infinite where
    there are too few to say.
    """
    from scipy.stats import t

    if len(scores) < LEAST_CASES:
        return float("inf")
    exact = conformal_quantile(scores, 1 - share)
    if np.isfinite(exact):
        return exact
    logs = np.log(np.maximum(scores, 1e-12))
    reach = float(t.ppf(1 - share, len(logs) - 1)) * float(logs.std(ddof=1)) * (1 + 1 / len(logs)) ** 0.5
    return float(max(np.exp(logs.mean() + reach), scores.max()))
