"""DeLong's test: the variance of AUROCs in closed form, and the difference of two on the same cases.

DeLong, DeLong & Clarke-Pearson 1988, doi:10.2307/2531595, by the midranks of Sun & Xu 2014,
doi:10.1109/LSP.2014.2337313. Where a subject has several cases, the variance is that of clustered data (Obuchowski
1997, doi:10.2307/2533958); with one case per subject it is DeLong's.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from models.evaluate.metrics import UndefinedError, check_outcomes, check_risk

Z = 1.959963984540054  # of a 95 % interval
SMALLEST_VARIANCE = 1e-15  # below it, rounding is all there is


@dataclass(frozen=True)
class Delong:
    """The AUROCs of M models on the same cases, auroc (M,), and their covariance (M, M)."""

    auroc: np.ndarray
    covariance: np.ndarray

    def interval(self, model: int = 0) -> tuple[float, float]:
        """The 95 % Wald interval of a model's AUROC, kept within 0 and 1."""
        half = Z * float(np.sqrt(self.covariance[model, model]))
        return max(0.0, float(self.auroc[model]) - half), min(1.0, float(self.auroc[model]) + half)


@dataclass(frozen=True)
class PairedTest:
    """AUROC of the first model less that of the second, with its standard error, z and two-sided p."""

    difference: float
    standard_error: float
    z: float
    p: float


def delong(target: np.ndarray, risks: np.ndarray, groups: np.ndarray | None = None) -> Delong:
    """AUROCs and covariance. target (N,) 0 or 1; risks (M, N) or (N,); groups (N,) the subject of each case, or None.

    Raises UndefinedError where fewer than two subjects have a case of a class.
    """
    check_outcomes(target)
    event = np.asarray(target) == 1
    risks = np.atleast_2d(np.asarray(risks, float))
    for risk in risks:
        check_risk(risk, len(event))
    group = np.arange(len(event)) if groups is None else np.unique(groups, return_inverse=True)[1]
    of_events, of_others = _components(risks, event)
    auroc = of_events.mean(1)
    return Delong(auroc, _covariance(of_events - auroc[:, None], of_others - auroc[:, None], group, event))


def delong_test(
    target: np.ndarray, risk_a: np.ndarray, risk_b: np.ndarray, groups: np.ndarray | None = None
) -> PairedTest:
    """Whether two models differ in AUROC. Two that rank all pairs alike have p = 1.

    Raises UndefinedError where they differ and the difference has no variance, as where both are constant or perfect.
    """
    found = delong(target, np.stack([np.asarray(risk_a, float), np.asarray(risk_b, float)]), groups)
    difference = float(found.auroc[0] - found.auroc[1])
    contrast = np.array([1.0, -1.0])
    variance = float(contrast @ found.covariance @ contrast)
    if variance <= SMALLEST_VARIANCE:
        if abs(difference) < 1e-12:
            return PairedTest(0.0, 0.0, 0.0, 1.0)
        raise UndefinedError("DeLong's test: the difference has no variance; the ranks leave none to estimate")
    z = difference / np.sqrt(variance)
    return PairedTest(difference, float(np.sqrt(variance)), float(z), float(2 * ndtr(-abs(z))))


def _components(risks: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The structural components: for each event (M, m) the share of others it is above, for each other (M, n) the
    share of events it is below, ties counting half."""
    from scipy.stats import rankdata

    everyone = rankdata(risks, axis=1)
    events, others = int(event.sum()), int((~event).sum())
    above = (everyone[:, event] - rankdata(risks[:, event], axis=1)) / others
    below = 1 - (everyone[:, ~event] - rankdata(risks[:, ~event], axis=1)) / events
    return above, below


def _covariance(of_events: np.ndarray, of_others: np.ndarray, group: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Obuchowski's equation 3 from centred components, summed by subject."""
    subjects = int(group.max()) + 1
    m, n = of_events.shape[1], of_others.shape[1]
    with_events, with_others = (len(np.unique(group[mask])) for mask in (event, ~event))
    if min(with_events, with_others) < 2:
        raise UndefinedError(
            f"DeLong's variance needs two subjects of each class, got {with_events} with the event and "
            f"{with_others} without"
        )
    a = _summed(of_events, group[event], subjects)
    b = _summed(of_others, group[~event], subjects)
    cross = subjects / (subjects - 1) * (a @ b.T) / (m * n)
    return np.asarray(
        with_events / (with_events - 1) * (a @ a.T) / m**2
        + with_others / (with_others - 1) * (b @ b.T) / n**2
        + cross
        + cross.T
    )


def _summed(values: np.ndarray, group: np.ndarray, subjects: int) -> np.ndarray:
    return np.stack([np.bincount(group, row, subjects) for row in values])
