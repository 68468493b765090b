"""Logistic regression of one design for many resamples at once, by Newton's method with step halving."""

import numpy as np

RIDGE = 1e-4  # on every coefficient: keeps the answer finite under separation, too weak to be seen otherwise
LONGEST_STEP = 8.0  # in log-odds
MOST_ITERATIONS = 40
TOLERANCE = 1e-5  # in coefficients; the step after it would be of its square


def fit_logistic(
    design: np.ndarray, target: np.ndarray, weights: np.ndarray, offset: np.ndarray | float = 0.0
) -> np.ndarray:
    """Coefficients (R, K) that maximise each resample's likelihood.

    design (N, K) with the constant included where it is wanted; target (N,) or (R, N); weights (R, N); offset (N,).
    """
    cases, terms = design.shape
    coefficients = np.zeros((len(weights), terms))
    if len(weights) > 1:  # begin at the answer for all resamples together, which is near to each one's
        pooled = weights.mean(0, keepdims=True)
        shared = (weights * target).mean(0) / np.maximum(pooled[0], 1e-12)
        coefficients += fit_logistic(design, shared, pooled, offset)
    products = (design[:, :, None] * design[:, None, :]).reshape(cases, terms * terms)
    p, loss = _likelihood(coefficients, design, target, weights, offset)
    for _ in range(MOST_ITERATIONS):
        gradient = (weights * (target - p)) @ design - RIDGE * coefficients
        curvature = ((weights * (p * (1 - p))) @ products).reshape(-1, terms, terms) + RIDGE * np.eye(terms)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        longest = np.abs(step @ design.T).max(1, initial=1e-12)
        step *= np.minimum(1, LONGEST_STEP / longest)[:, None]
        if float(np.abs(step).max(initial=0)) < TOLERANCE:
            return coefficients + step
        for _ in range(12):
            p, new_loss = _likelihood(coefficients + step, design, target, weights, offset)
            worse = new_loss > loss + 1e-9 * np.abs(loss)
            if not worse.any():
                break
            step[worse] /= 2
        coefficients, loss = coefficients + step, new_loss
    return coefficients


def _likelihood(
    coefficients: np.ndarray,
    design: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray,
    offset: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities (R, N) and the penalised negative log-likelihood (R,)."""
    predictor = coefficients @ design.T + offset
    small = np.exp(-np.abs(predictor))
    p = np.where(predictor >= 0, 1.0, small) / (1 + small)
    each = np.log(1 + small) + np.maximum(predictor, 0) - target * predictor
    return p, np.asarray(np.einsum("rn,rn->r", weights, each) + RIDGE / 2 * (coefficients**2).sum(1))
