"""Distances from training are Mahalanobis distances of a covariance that few cases can support."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from models.trust.gaussian import LEAST_CASES, Gaussian, fit_gaussian
from models.trust.limits import upper_limit
from models.trust.neighbours import NEIGHBOUR, REFERENCES_AT_MOST, fit_neighbours


def vectors(n: int, size: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    loading = np.random.default_rng(99).normal(size=(4, size))
    return torch.from_numpy(rng.normal(size=(n, 4)) @ loading + 0.3 * rng.normal(size=(n, size)) + 5)


def fitted(x: torch.Tensor) -> Gaussian:
    found = fit_gaussian(x)
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "size"), [(300, 6), (60, 40), (900, 400)])
def test_it_is_the_mahalanobis_distance_of_the_covariance_it_states(n: int, size: int) -> None:
    known = fitted(vectors(n, size))
    axes, variance, rest = (part.double().numpy() for part in (known.axes, known.variance, known.rest))
    covariance = axes.T @ np.diag(variance - rest) @ axes + rest * np.eye(size)
    new = vectors(50, size, seed=1)
    centred = (new.numpy() - known.mean.numpy()) / known.scale.numpy()
    expected = np.sqrt(np.einsum("nf,fg,ng->n", centred, np.linalg.inv(covariance), centred))
    assert known.distance(new) == pytest.approx(expected, rel=1e-3)


def test_with_many_cases_it_is_the_distance_by_the_sample_covariance_and_its_square_is_chi_squared() -> None:
    x, new = vectors(20_000, 5), vectors(4000, 5, seed=1)
    squared = fitted(x).distance(new) ** 2
    inverse = np.linalg.inv(np.cov(x.numpy().T))
    centred = new.numpy() - x.numpy().mean(0)
    assert squared == pytest.approx(np.einsum("nf,fg,ng->n", centred, inverse, centred), rel=0.02)
    assert np.quantile(squared, [0.5, 0.95]) == pytest.approx(chi2.ppf([0.5, 0.95], 5), rel=0.08)


def test_the_axes_of_a_large_matrix_are_its_principal_ones() -> None:
    x = vectors(700, 500)
    known = fitted(x)
    scaled = (x - x.mean(0)) / x.std(0)
    exact = np.linalg.svd(scaled.numpy(), full_matrices=False)[1][:4] ** 2 / 699
    assert known.variance[:4].numpy() == pytest.approx(exact, rel=1e-3)


def test_a_part_that_never_varied_is_not_infinitely_far() -> None:
    x = vectors(200, 6)
    x[:, 2] = 0.0
    new = vectors(5, 6, seed=1)
    new[:, 2] = 1e-3
    assert (fitted(x).distance(new) < 20).all()


def test_too_few_cases_give_nothing() -> None:
    assert fit_gaussian(vectors(LEAST_CASES - 1, 3)) is None
    assert fit_neighbours(vectors(LEAST_CASES - 1, 3)) is None


def test_neighbours_are_at_the_distance_of_the_fifth_nearest_direction() -> None:
    x, new = vectors(300, 30), vectors(20, 30, seed=1)
    known = fit_neighbours(x)
    assert known is not None
    unit, other = (v.numpy() / np.linalg.norm(v.numpy(), axis=1, keepdims=True) for v in (x, new))
    expected = np.sort(np.linalg.norm(other[:, None] - unit[None], axis=2), 1)[:, NEIGHBOUR - 1]
    assert known.distance(new) == pytest.approx(expected, abs=1e-5)
    assert known.distance(7 * new) == pytest.approx(expected, abs=1e-5)
    many = fit_neighbours(vectors(2000, 8))
    assert many is not None
    assert many.reference.shape == (REFERENCES_AT_MOST, 8)


@pytest.mark.parametrize("n", [30, 5000])
def test_a_limit_is_exceeded_as_seldom_as_stated(n: int) -> None:
    """By few scores, whose logarithms are normal here, and by many, of any kind."""
    rng = np.random.default_rng(n)
    share, new = 0.01, np.exp(0.4 * rng.normal(size=200_000))
    limits = [upper_limit(np.exp(0.4 * rng.normal(size=n)), share) for _ in range(200)]
    assert np.mean([(new > limit).mean() for limit in limits]) == pytest.approx(share, rel=0.25)


def test_a_limit_of_few_scores_is_above_all_of_them_and_of_hardly_any_there_is_none() -> None:
    scores = np.array([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 1.0, 9.0])
    assert upper_limit(scores, 0.3) <= 9.0
    assert upper_limit(scores, 0.001) >= 9.0
    assert upper_limit(scores[:7], 0.01) == float("inf")
