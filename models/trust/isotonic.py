"""Isotonic calibration: a rising curve of the log-odds, through the centres of the blocks of an isotonic regression."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

PSEUDO_CASES = 2.0  # each block is drawn to what it was by as many cases, so that none says 0 or 1
LEAST_GAP = 1e-6


@dataclass(frozen=True)
class Curve:
    """Log-odds to log-odds: straight between the knots, beyond them parallel to the diagonal. Strictly rising.

    at, logit (n,): the knots, both rising. variance (n,): of `logit`, from the number of cases behind a knot.
    """

    at: tuple[float, ...]
    logit: tuple[float, ...]
    variance: tuple[float, ...]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The curve at logits (...)."""
        at, to = logits.new_tensor(self.at), logits.new_tensor(self.logit)
        inside = logits.clamp(at[0], at[-1])
        place = torch.searchsorted(at, inside.contiguous(), right=True).clamp(1, max(len(at) - 1, 1))
        if len(at) == 1:
            return logits + (to[0] - at[0])
        left, right = at[place - 1], at[place]
        share = (inside - left) / (right - left)
        return to[place - 1] * (1 - share) + to[place] * share + (logits - inside)

    def spread(self, logits: torch.Tensor) -> torch.Tensor:
        """The variance of the curve at logits (...), straight between the knots and level beyond them."""
        found = np.interp(logits.detach().cpu().numpy(), self.at, self.variance)
        return torch.as_tensor(found, dtype=logits.dtype, device=logits.device)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for calibration.json."""
        return {name: list(numbers) for name, numbers in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Curve":
        """The inverse of `to_json`."""
        return cls(tuple(raw["at"]), tuple(raw["logit"]), tuple(raw["variance"]))


def fit_curve(logits: np.ndarray, target: np.ndarray) -> Curve:
    """Fit to log-odds (N,), calibrated as well as a straight line can, and outcomes (N,) 0 or 1.

    Pool adjacent violators; every block becomes one knot at its mean log-odds, as in centred isotonic regression (Oron
    & Flournoy 2017, algorithm 1), so that there are no steps and no ties. A block's share of events counts as much as
    its cases, and the mean risk that its log-odds say as much as `PSEUDO_CASES`.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(logits, kind="stable")
    x, y = np.asarray(logits, float)[order], np.asarray(target, float)[order]
    risk = 1 / (1 + np.exp(-x))
    starts = isotonic_regression(y).blocks
    count = np.diff(starts).astype(float)
    events, said, at = (np.add.reduceat(v, starts[:-1]) for v in (y, risk, x))
    share = (events + PSEUDO_CASES * said / count) / (count + PSEUDO_CASES)
    share = np.asarray(isotonic_regression(share, weights=count).x)  # blocks differ in how far they were drawn
    knots, where = np.unique(share, return_inverse=True)
    cases = np.bincount(where, count)
    centre = np.bincount(where, at) / cases
    apart = np.concatenate([[True], np.diff(centre) > LEAST_GAP])
    knots, cases, centre = knots[apart], cases[apart], centre[apart]
    variance = 1 / ((cases + PSEUDO_CASES) * knots * (1 - knots))
    to = np.log(knots) - np.log1p(-knots)
    return Curve(tuple(centre.tolist()), tuple(to.tolist()), tuple(variance.tolist()))
