"""A calibration of its own for every pattern of present streams, drawn towards the common one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from models.objectives import Objective
from models.trust.calibrate import Calibration

LEAST_OF_EACH = 10  # cases with the risk event, and without, for a pattern to have a map of its own
SPREADS = (0.05, 0.1, 0.2, 0.4, 0.8)  # how far patterns may differ from each other: a standard deviation
Parts = tuple[Calibration, ...]


def fit_patterns(
    objective: Objective,
    logits: np.ndarray,
    outcome: np.ndarray,
    target: np.ndarray,
    present: np.ndarray,
    common: Sequence[Calibration],
    *,
    shifted: bool = True,
) -> dict[str, Parts]:
    """Pattern ("1011": which streams are there) → its maps, for patterns with enough cases of either kind.

    logits (N, O), outcome (N, K), target (N,), present (N, M). The maps' log scales and shifts are normal around those
    of `common`, with one standard deviation for all of them, that of `SPREADS` under which the outcomes are the most
    probable (empirical Bayes by Laplace's approximation, MacKay 1992, eq. 4.5): where patterns do not differ, neither
    do their maps.
    """
    codes = np.array([pattern_code(row) for row in present])
    rows = {
        code: np.flatnonzero(codes == code)
        for code in sorted(set(codes) - {"0" * present.shape[1]})
        if min((target[codes == code] == 1).sum(), (target[codes == code] == 0).sum()) >= LEAST_OF_EACH
    }
    centre = start_of(common, shifted=shifted)
    best, found = -np.inf, {}
    for spread in SPREADS if rows else ():
        fits = {
            code: fit_maps(
                objective,
                torch.as_tensor(logits[mine], dtype=torch.float64),
                torch.as_tensor(outcome[mine], dtype=torch.float64),
                centre,
                torch.full_like(centre, spread),
                (len(mine), int(np.nansum(target[mine]))),
            )
            for code, mine in rows.items()
        }
        if (evidence := sum(said for _, said in fits.values())) > best:
            best, found = evidence, {code: parts for code, (parts, _) in fits.items()}
    return found


def pattern_code(present: Sequence[bool] | np.ndarray) -> str:
    """A pattern as text, such as "1011"."""
    return "".join("1" if here else "0" for here in present)


def start_of(parts: Sequence[Calibration], *, shifted: bool) -> torch.Tensor:
    """(G,) or (2 G,) float64: log scales, then shifts where they are fitted."""
    numbers = [float(np.log(part.scale)) for part in parts]
    return torch.tensor(numbers + [part.shift for part in parts] * shifted, dtype=torch.float64)


def fit_maps(
    objective: Objective,
    logits: torch.Tensor,
    outcome: torch.Tensor,
    centre: torch.Tensor,
    spread: torch.Tensor,
    counts: tuple[int, int],
) -> tuple[Parts, float]:
    """One map per group of outputs, and the log of the outcomes' probability (Laplace).

    logits (N, O), outcome (N, K). Maximises likelihood times prior: parameters, log scales (G,) and then shifts (G,) if
    they are to be fitted, are normal around `centre` with standard deviation `spread`. counts: cases and events.
    """
    with torch.enable_grad():
        loss = _loss(objective, logits, outcome, centre, spread)
        parameters = _minimum(loss, centre)
        curvature = torch.autograd.functional.hessian(loss, parameters)  # type: ignore[no-untyped-call]
    covariance, groups = torch.linalg.inv(curvature), len(objective.groups)
    evidence = -float(loss(parameters).detach()) - float(torch.logdet(curvature)) / 2 - float(spread.log().sum())
    return tuple(_part(parameters, covariance, i, groups, counts) for i in range(groups)), evidence


def _loss(
    objective: Objective, logits: torch.Tensor, outcome: torch.Tensor, centre: torch.Tensor, spread: torch.Tensor
) -> Any:
    """parameters → minus the log of likelihood times prior, without the prior's constant."""
    groups = objective.groups
    place = torch.cat([torch.full((g.stop - g.start,), i) for i, g in enumerate(groups)])

    def loss(parameters: torch.Tensor) -> torch.Tensor:
        scaled = logits * parameters[: len(groups)].exp()[place]
        if len(parameters) > len(groups):
            scaled = scaled + parameters[len(groups) :][place]
        total: torch.Tensor = objective.loss(scaled, outcome).sum() + (((parameters - centre) / spread) ** 2).sum() / 2
        return total

    return loss


def _minimum(loss: Any, start: torch.Tensor) -> torch.Tensor:
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(parameters)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return parameters.detach()


def _part(
    parameters: torch.Tensor, covariance: torch.Tensor, place: int, groups: int, counts: tuple[int, int]
) -> Calibration:
    """From (log scale, shift) to (scale, shift) by the delta method."""
    scale = float(parameters[place].exp())
    variance = float(covariance[place, place]) * scale**2
    if len(parameters) == groups:
        return Calibration(scale, 0.0, variance, 0.0, 0.0, *counts)
    other = groups + place
    shift, shift_variance = float(parameters[other]), float(covariance[other, other])
    return Calibration(scale, shift, variance, shift_variance, float(covariance[place, other]) * scale, *counts)
