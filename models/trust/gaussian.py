"""How far vectors are from those of training: Mahalanobis distance, with a covariance that few cases can support."""

from dataclasses import dataclass

import numpy as np
import torch

CASES_PER_AXIS = 5
AXES_AT_MOST = 32
LEAST_CASES = 20
EXACT_AT_MOST, ITERATIONS = 256, 6
LEAST_SCALE = 0.1  # of the root mean square of all parts
LEAST_VARIANCE = 1e-3  # along any direction, once parts are scaled


@dataclass(frozen=True)
class Gaussian:
    """Vectors of F numbers, each scaled to unit variance, as k principal axes and the same variance in all others.

    The covariance of probabilistic principal component analysis (Tipping & Bishop 1999, eq. 7-8). mean, scale (F,),
    axes (k, F), variance (k,), rest (1,); float32, as they are kept beside the weights.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    axes: torch.Tensor
    variance: torch.Tensor
    rest: torch.Tensor

    def distance(self, vectors: torch.Tensor) -> np.ndarray:
        """(n,) float64: Mahalanobis distances (Lee et al. 2018, eq. 2, of a single class). vectors (n, F)."""
        scaled = (vectors.detach().cpu().double() - self.mean.double()) / self.scale.double()
        along = scaled @ self.axes.double().T
        beside = ((scaled**2).sum(1) - (along**2).sum(1)).clamp(min=0)
        return np.asarray(((along**2 / self.variance.double()).sum(1) + beside / self.rest.double()).sqrt().numpy())

    def state(self) -> dict[str, torch.Tensor]:
        """What is kept."""
        return dict(vars(self))


def fit_gaussian(vectors: torch.Tensor) -> Gaussian | None:
    """Fit to vectors (n, F). None where they are too few."""
    x = vectors.detach().cpu().double()
    if len(x) < LEAST_CASES or x.shape[1] == 0:
        return None
    mean, scale = x.mean(0), x.std(0)
    # A part that hardly varied, such as the black corner of an image, must not be all that counts.
    scale = scale.clamp(min=max(LEAST_SCALE * float((scale**2).mean().sqrt()), 1e-9))
    scaled = (x - mean) / scale
    n, size = scaled.shape
    k = min(size, n // CASES_PER_AXIS, AXES_AT_MOST)
    singular, axes = _principal(scaled, k)
    spread = singular**2 / (n - 1)
    left = size - k
    rest = float((scaled**2).sum() / (n - 1) - spread.sum()) / left if left else 1.0
    rest = max(rest, LEAST_VARIANCE)
    parts = (mean, scale, axes, spread.clamp(min=rest if left else LEAST_VARIANCE), torch.tensor([rest]))
    return Gaussian(*(part.float().contiguous() for part in parts))


def _principal(scaled: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest singular values of scaled (n, F), and their right vectors (k, F).

    Of large matrices by subspace iteration (Halko et al. 2011, algorithm 4.4), from the same random start every time.
    """
    if min(scaled.shape) <= EXACT_AT_MOST:
        _, singular, axes = torch.linalg.svd(scaled, full_matrices=False)
        return singular[:k], axes[:k]
    start = torch.randn(scaled.shape[1], k + 8, generator=torch.Generator().manual_seed(0), dtype=scaled.dtype)
    basis = torch.linalg.qr(start).Q
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(scaled.T @ (scaled @ basis)).Q
    _, singular, axes = torch.linalg.svd(scaled @ basis, full_matrices=False)
    return singular[:k], (axes @ basis.T)[:k]
