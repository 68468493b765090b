"""Calibrating the logits of an objective: an affine map for each group of outputs that belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.objectives import Objective
from models.trust.calibrate import LOG_SCALE_PRIOR_SD, SHIFT_PRIOR_SD, Calibration, fit_calibration


@dataclass(frozen=True)
class LogitCalibration:
    """groups: the outputs of each part, `Objective.groups`. Of a binary outcome there is one part of one output."""

    parts: tuple[Calibration, ...]
    groups: tuple[slice, ...]

    @classmethod
    def identity(cls, objective: Objective) -> "LogitCalibration":
        """Nothing is changed."""
        return cls(tuple(Calibration() for _ in objective.groups), objective.groups)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """logits (..., O), calibrated."""
        scale, shift = self._numbers(logits)
        return logits * scale + shift

    def risk_variance(self, objective: Objective, logits: torch.Tensor) -> np.ndarray:
        """(B,) the variance of the risk's log-odds that comes from fitting the maps on few cases. logits (B, O).

        By the delta method: the log-odds' derivatives by each part's scale and shift, and their covariance.
        """
        slope = _risk_slope(objective, self.apply(logits))
        total = logits.new_zeros(len(logits))
        for part, group in zip(self.parts, self.groups, strict=True):
            by_shift = slope[:, group].sum(1)
            by_scale = (slope * logits)[:, group].sum(1)
            total = total + part.scale_variance * by_scale**2 + part.shift_variance * by_shift**2
            total = total + 2 * part.covariance * by_scale * by_shift
        return np.asarray(total.clamp(min=0).cpu().numpy())

    def _numbers(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.groups[-1].stop
        scale, shift = like.new_ones(outputs), like.new_zeros(outputs)
        for part, group in zip(self.parts, self.groups, strict=True):
            scale[group], shift[group] = part.scale, part.shift
        return scale, shift

    def to_json(self) -> dict[str, Any]:
        """Plain values, for calibration.json."""
        return {"parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], objective: Objective) -> "LogitCalibration":
        """The inverse of `to_json`."""
        return cls(tuple(Calibration.from_json(part) for part in raw["parts"]), objective.groups)


def fit_logits(objective: Objective, logits: np.ndarray, outcome: np.ndarray, target: np.ndarray) -> LogitCalibration:
    """Fit every part on logits (N, O) and outcomes (N, K). target (N,): the risk event, for the counts.

    A binary outcome by `fit_calibration`, which refuses outcomes of one class; all else by the same penalised
    likelihood of the objective.
    """
    if objective.outputs == 1:
        return LogitCalibration((fit_calibration(logits[:, 0], outcome[:, 0]),), objective.groups)
    raw = torch.as_tensor(logits, dtype=torch.float64)
    said = torch.as_tensor(outcome, dtype=torch.float64)
    counts = (len(said), int(np.nansum(target)))
    with torch.enable_grad():
        parameters = _minimum(objective, raw, said)
        curvature = torch.autograd.functional.hessian(  # type: ignore[no-untyped-call]
            _loss(objective, raw, said), parameters
        )
        covariance = torch.linalg.inv(curvature)
    return LogitCalibration(
        tuple(_part(parameters, covariance, place, counts) for place in range(len(objective.groups))), objective.groups
    )


def _risk_slope(objective: Objective, logits: torch.Tensor) -> torch.Tensor:
    """(B, O) the derivative of each case's log-odds by its own logits."""
    with torch.inference_mode(False), torch.enable_grad():
        here = logits.detach().clone().requires_grad_()
        return torch.autograd.grad(objective.risk_logit(here).sum(), here)[0]


def _loss(objective: Objective, logits: torch.Tensor, outcome: torch.Tensor) -> Any:
    """parameters (2 G,): log scales, then shifts → minus the log of likelihood times prior."""
    groups: Sequence[slice] = objective.groups
    place = torch.cat([torch.full((g.stop - g.start,), i) for i, g in enumerate(groups)])

    def loss(parameters: torch.Tensor) -> torch.Tensor:
        log_scale, shift = parameters[: len(groups)], parameters[len(groups) :]
        value = objective.loss(logits * log_scale.exp()[place] + shift[place], outcome).sum()
        prior = (log_scale / LOG_SCALE_PRIOR_SD) ** 2 / 2 + (shift / SHIFT_PRIOR_SD) ** 2 / 2
        total: torch.Tensor = value + prior.sum()
        return total

    return loss


def _minimum(objective: Objective, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
    loss = _loss(objective, logits, outcome)
    parameters = torch.zeros(2 * len(objective.groups), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(parameters)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return parameters.detach()


def _part(parameters: torch.Tensor, covariance: torch.Tensor, place: int, counts: tuple[int, int]) -> Calibration:
    """From (log scale, shift) to (scale, shift) by the delta method."""
    other = len(parameters) // 2 + place
    scale = float(parameters[place].exp())
    return Calibration(
        scale,
        float(parameters[other]),
        float(covariance[place, place]) * scale**2,
        float(covariance[other, other]),
        float(covariance[place, other]) * scale,
        *counts,
    )
