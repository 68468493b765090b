"""Calibration: an affine map of the logit, fitted on the validation split, with its own uncertainty.

Scale and shift (Platt 1999), or the scale alone (temperature, Guo et al. 2017, eq. 9). The fit is the maximum of the
likelihood times a prior, log scale ~ N(0, 0.5^2) and shift ~ N(0, 0.5^2), so that a validation split of a few events
cannot turn the risks inside out; the scale is above 0 by construction.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.evaluate.metrics import EvaluationError, OneClassError

LOG_SCALE_PRIOR_SD = 0.5  # a network trained on the log-loss and stopped early is not far from calibrated
SHIFT_PRIOR_SD = 0.5


@dataclass(frozen=True)
class Calibration:
    """calibrated logit = scale x logit + shift; the covariance (3 numbers) is of (scale, shift)."""

    scale: float = 1.0
    shift: float = 0.0
    scale_variance: float = 0.0
    shift_variance: float = 0.0
    covariance: float = 0.0
    cases: int = 0
    events: int = 0

    def logit(self, logit: np.ndarray) -> np.ndarray:
        """Calibrated logits."""
        return self.scale * np.asarray(logit, float) + self.shift

    def risk(self, logit: np.ndarray) -> np.ndarray:
        """Calibrated risks."""
        return np.asarray(_sigmoid(self.logit(logit)))

    def logit_variance(self, logit: np.ndarray) -> np.ndarray:
        """The variance of the calibrated logit that comes from fitting scale and shift on few cases (Laplace)."""
        x = np.asarray(logit, float)
        variance = self.scale_variance * x**2 + 2 * self.covariance * x + self.shift_variance
        return np.asarray(np.maximum(variance, 0.0))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for calibration.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`."""
        return cls(**raw)


def fit_calibration(
    logits: np.ndarray, target: np.ndarray, split: str = "validation", *, shifted: bool = True
) -> Calibration:
    """Fit scale and shift, or the scale alone. logits (N,), target (N,) 0 or 1.

    Raises OneClassError where all outcomes are the same.
    """
    from scipy.optimize import minimize

    x, y = np.asarray(logits, float), np.asarray(target, float)
    events = int((y == 1).sum())
    if not (np.isfinite(x).all() and np.isin(y, (0, 1)).all() and x.shape == y.shape):
        raise EvaluationError(
            f"calibration needs finite logits and outcomes of 0 or 1, one each: got logits {x.shape} with "
            f"{int((~np.isfinite(x)).sum())} not finite, outcomes {y.shape} with "
            f"{int((~np.isin(y, (0, 1))).sum())} other"
        )
    if events in (0, len(y)):
        raise OneClassError(f"calibration needs both classes: {events} events in {len(y)} cases of the {split} split")
    found = minimize(_loss, np.zeros(2), args=(x, y, shifted), jac=True, method="BFGS", options={"gtol": 1e-8})
    scale, shift = float(np.exp(found.x[0])), float(found.x[1])
    p = _sigmoid(scale * x + shift)
    w = p * (1 - p)
    # The curvature of the penalised loss in (log scale, shift), with the expected (Fisher) information of the data,
    # which is always positive definite; then to (scale, shift) by the delta method.
    u = scale * x
    information = np.array(
        [
            [(w * u * u).sum() + LOG_SCALE_PRIOR_SD**-2, (w * u).sum()],
            [(w * u).sum(), w.sum() + SHIFT_PRIOR_SD**-2],
        ]
    )
    jacobian = np.diag([scale, 1.0])
    inverse = np.linalg.inv(information) if shifted else np.diag([1 / information[0, 0], 0.0])
    covariance = jacobian @ inverse @ jacobian
    return Calibration(
        scale,
        shift,
        float(covariance[0, 0]),
        float(covariance[1, 1]),
        float(covariance[0, 1]),
        len(y),
        events,
    )


def _loss(parameters: np.ndarray, x: np.ndarray, y: np.ndarray, shifted: bool) -> tuple[float, np.ndarray]:
    log_scale, shift = np.clip(parameters[0], -20, 20), parameters[1] * shifted
    u = np.exp(log_scale) * x
    predictor = u + shift
    residual = _sigmoid(predictor) - y
    prior = (log_scale / LOG_SCALE_PRIOR_SD) ** 2 / 2 + (shift / SHIFT_PRIOR_SD) ** 2 / 2
    loss = float((np.logaddexp(0, predictor) - y * predictor).sum() + prior)
    gradient = np.array(
        [
            (residual * u).sum() + log_scale / LOG_SCALE_PRIOR_SD**2,
            shifted * (residual.sum() + shift / SHIFT_PRIOR_SD**2),
        ]
    )
    return loss, gradient


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -700, 700))))
