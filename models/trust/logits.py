"""Calibrating the logits of an objective: an affine map for each group of outputs that belong together.

What may be added: maps of their own for patterns of present streams, and for one binary target a rising curve behind
the map. Attributions are of calibrated log-odds, and a coalition of streams is calibrated as the case would be that has
no others; so they add up whatever the maps are, and a stream that is absent still says nothing.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ingest.errors import TaskError
from models.config import CalibrationConfig
from models.objectives import Objective
from models.trust.calibrate import LOG_SCALE_PRIOR_SD, SHIFT_PRIOR_SD, Calibration, fit_calibration
from models.trust.isotonic import Curve, fit_curve
from models.trust.patterns import Parts, fit_maps, fit_patterns, start_of


@dataclass(frozen=True)
class LogitCalibration:
    """groups: the outputs of each part, `Objective.groups`. Of a binary outcome there is one part of one output.

    patterns: the parts of patterns of present streams ("1011") that have their own. curve: behind the affine map.
    """

    parts: Parts
    groups: tuple[slice, ...]
    patterns: Mapping[str, Parts] = field(default_factory=dict)
    curve: Curve | None = None

    @classmethod
    def identity(cls, objective: Objective) -> "LogitCalibration":
        """Nothing is changed."""
        return cls(tuple(Calibration() for _ in objective.groups), objective.groups)

    def apply(self, logits: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        """logits (B, ..., O), calibrated. present (B, M) bool is needed where patterns have their own maps."""
        straight = self._affine(logits, present)
        return straight if self.curve is None else self.curve(straight)

    def risk_variance(
        self, objective: Objective, logits: torch.Tensor, present: torch.Tensor | None = None
    ) -> np.ndarray:
        """(B,) the variance of the risk's log-odds that comes from fitting the maps on few cases. logits (B, O).

        By the delta method: the log-odds' derivatives by each part's scale and shift, and their covariance. That of a
        curve is its own, for it takes the place of the line.
        """
        straight = self._affine(logits, present)
        if self.curve is not None:
            return np.asarray(self.curve.spread(straight[:, 0]).cpu().numpy())
        slope = _risk_slope(objective, straight)
        total = logits.new_zeros(len(logits))
        for place, group in enumerate(self.groups):
            scale, shift, both = (
                self._each(name, place, logits, present) for name in ("scale_variance", "shift_variance", "covariance")
            )
            by_shift = slope[:, group].sum(1)
            by_scale = (slope * logits)[:, group].sum(1)
            total = total + scale * by_scale**2 + shift * by_shift**2 + 2 * both * by_scale * by_shift
        return np.asarray(total.clamp(min=0).cpu().numpy())

    def _affine(self, logits: torch.Tensor, present: torch.Tensor | None) -> torch.Tensor:
        parts = []
        for place, group in enumerate(self.groups):
            scale, shift = (
                self._each(name, place, logits, present).reshape(-1, *(1,) * (logits.ndim - 1))
                for name in ("scale", "shift")
            )
            parts.append(logits[..., group] * scale + shift)
        return torch.cat(parts, -1)

    def _each(self, name: str, place: int, logits: torch.Tensor, present: torch.Tensor | None) -> torch.Tensor:
        """(B,) or (1,) a number of one part, each case's own where its pattern has its own."""
        common = logits.new_tensor([getattr(self.parts[place], name)])
        if not self.patterns:
            return common
        if present is None:
            raise ValueError("patterns have their own calibration: expected present (B, M), got none")
        found = common.repeat(len(logits))
        for pattern, parts in self.patterns.items():
            mine = (present == torch.tensor([c == "1" for c in pattern], device=present.device)).all(1)
            found[mine] = getattr(parts[place], name)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values, for calibration.json."""
        return {
            "parts": [part.to_json() for part in self.parts],
            "patterns": {pattern: [part.to_json() for part in parts] for pattern, parts in self.patterns.items()},
            "curve": None if self.curve is None else self.curve.to_json(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], objective: Objective) -> "LogitCalibration":
        """The inverse of `to_json`. A version of before there were patterns and curves has none."""
        return cls(
            _parts(raw["parts"]),
            objective.groups,
            {pattern: _parts(parts) for pattern, parts in raw.get("patterns", {}).items()},
            None if raw.get("curve") is None else Curve.from_json(raw["curve"]),
        )


def fit_logits(
    objective: Objective,
    logits: np.ndarray,
    outcome: np.ndarray,
    target: np.ndarray,
    present: np.ndarray | None = None,
    config: CalibrationConfig | None = None,
) -> LogitCalibration:
    """Fit every part on logits (N, O) and outcomes (N, K). target (N,): the risk event, for the counts.

    A binary outcome by `fit_calibration`, which refuses outcomes of one class; all else by the same penalised
    likelihood of the objective. present (N, M): for maps per pattern, where `config` asks for them.
    """
    config = config or CalibrationConfig()
    check_method(config, objective)
    objective = cast(Objective, deepcopy(cast(nn.Module, objective)).cpu())  # where logits and outcomes are
    if config.method == "none":
        return LogitCalibration.identity(objective)
    shifted = config.method != "temperature"
    fitted = LogitCalibration(_common(objective, logits, outcome, target, shifted=shifted), objective.groups)
    if config.per_pattern:
        if present is None:
            raise ValueError("calibration per pattern: expected present (N, M), got none")
        patterns = fit_patterns(objective, logits, outcome, target, present, fitted.parts, shifted=shifted)
        fitted = replace(fitted, patterns=patterns)
    if config.method == "isotonic":
        here = None if present is None else torch.as_tensor(present)
        straight = fitted.apply(torch.as_tensor(logits, dtype=torch.float64), here)[:, 0].numpy()
        fitted = replace(fitted, curve=fit_curve(straight, outcome[:, 0]))
    return fitted


def check_method(config: CalibrationConfig, objective: Objective) -> None:
    """Raise TaskError where the method is not for such outcomes."""
    if config.method == "isotonic" and objective.names != ("risk",):
        raise TaskError(
            "model.calibration.method isotonic: expected one binary target, got an objective of "
            f"{', '.join(objective.names)}; use platt or temperature"
        )


def _common(
    objective: Objective, logits: np.ndarray, outcome: np.ndarray, target: np.ndarray, *, shifted: bool
) -> Parts:
    if objective.outputs == 1:
        return (fit_calibration(logits[:, 0], outcome[:, 0], shifted=shifted),)
    groups = len(objective.groups)
    prior = [LOG_SCALE_PRIOR_SD] * groups + [SHIFT_PRIOR_SD] * groups * shifted
    parts, _ = fit_maps(
        objective,
        torch.as_tensor(logits, dtype=torch.float64),
        torch.as_tensor(outcome, dtype=torch.float64),
        torch.zeros_like(start_of([Calibration()] * groups, shifted=shifted)),
        torch.tensor(prior, dtype=torch.float64),
        (len(outcome), int(np.nansum(target))),
    )
    return parts


def _parts(raw: Sequence[Mapping[str, Any]]) -> Parts:
    return tuple(Calibration.from_json(part) for part in raw)


def _risk_slope(objective: Objective, logits: torch.Tensor) -> torch.Tensor:
    """(B, O) the derivative of each case's log-odds by its own logits."""
    with torch.inference_mode(False), torch.enable_grad():
        here = logits.detach().clone().requires_grad_()
        return torch.autograd.grad(objective.risk_logit(here).sum(), here)[0]
