"""Sets and intervals hold the outcome as often as they promise: in every class, in every group, of any model."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.trust.conformal import Conformal, conformal_quantile, fit_intervals, fit_sets
from models.trust.groups import Groups

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def drawn(n: int, rng: np.random.Generator) -> Drawn:
    """A biased model of a rare outcome, whose mistakes differ between two groups: (n, 2), label, group."""
    group = rng.random(n) < 0.3
    logit = rng.normal(-1.5, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-(logit + np.where(group, 1.5, 0))))).astype(int)
    said = 1 / (1 + np.exp(-1.7 * logit))
    return np.stack([1 - said, said], 1), label, np.where(group, "b", "a")


@pytest.mark.parametrize("score", ["label", "adaptive"])
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_promise_is_kept_in_every_class_of_every_group(score: str, level: float) -> None:
    rng = np.random.default_rng(0)
    held: dict[tuple[str, int], list[float]] = {(g, c): [] for g in "ab" for c in (0, 1)}
    for _ in range(150):
        shares, label, group = drawn(800, rng)
        fitted = fit_sets(shares, label, group, ("0", "1"), (level,), score, Groups("record.sex"))
        new, truth, where = drawn(1500, rng)
        inside = fitted.sets(new, where)[np.arange(1500), 0, truth]
        for g, c in held:
            held[g, c].append(float(inside[(where == g) & (truth == c)].mean()))
    for key, coverage in held.items():
        assert level - 0.02 < np.mean(coverage) < level + 0.02, key


def test_without_the_groups_the_smaller_one_is_not_held_to_the_promise() -> None:
    """That the test above can fail."""
    rng = np.random.default_rng(1)
    shares, label, group = drawn(20_000, rng)
    fitted = fit_sets(shares, label, np.full(20_000, "all"), ("0", "1"), (0.9,), "label", Groups())
    inside = fitted.sets(shares, np.full(20_000, "all"))[np.arange(20_000), 0, label]
    assert min(inside[(group == g) & (label == c)].mean() for g in "ab" for c in (0, 1)) < 0.88


def test_several_classes_are_held_each_by_itself() -> None:
    rng = np.random.default_rng(2)

    def three(n: int) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal([1.0, 0.0, -1.0], 1.2, (n, 3))
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return shares**1.5 / (shares**1.5).sum(1, keepdims=True), (rng.random((n, 1)) > shares.cumsum(1)).sum(1)

    held = []
    for _ in range(100):
        shares, label = three(900)
        fitted = fit_sets(shares, label, np.full(900, "all"), tuple("abc"), (0.9,), "adaptive", Groups())
        new, truth = three(2000)
        inside = fitted.sets(new, np.full(2000, "all"))[np.arange(2000), 0, truth]
        held.append([inside[truth == c].mean() for c in range(3)])
    assert np.abs(np.mean(held, 0) - 0.9).max() < 0.02


def test_intervals_hold_the_number_as_often_as_promised_in_every_group() -> None:
    rng = np.random.default_rng(3)

    def numbers(n: int) -> tuple[np.ndarray, ...]:
        group, std = rng.random(n) < 0.4, rng.uniform(0.5, 2, n)
        mean = rng.normal(0, 3, n)
        return mean, std, mean + std * np.where(group, 2.0, 0.7) * rng.standard_t(4, n), np.where(group, "b", "a")

    held = {"a": [], "b": []}  # type: dict[str, list[float]]
    for _ in range(150):
        mean, std, value, group = numbers(400)
        fitted = fit_intervals(mean, std, value, group, (0.9,), Groups("record.sex"))
        mean, std, value, group = numbers(1000)
        low, high = fitted.intervals(mean, std, group)[:, 0].T
        inside = (low <= value) & (value <= high)
        for g, found in held.items():
            found.append(float(inside[group == g].mean()))
    assert all(abs(np.mean(found) - 0.9) < 0.02 for found in held.values())


@pytest.mark.parametrize("n", [9, 19, 37, 200])
def test_the_coverage_of_few_cases_is_that_of_their_rank(n: int) -> None:
    """A new score is at most the k-th smallest of n with probability k / (n + 1), for any distribution."""
    rng = np.random.default_rng(n)
    inside = [rng.exponential() <= conformal_quantile(rng.exponential(size=n), 0.9) for _ in range(20_000)]
    assert np.mean(inside) == pytest.approx(math.ceil(round((n + 1) * 0.9, 9)) / (n + 1), abs=0.008)


def test_with_too_few_cases_nothing_is_ruled_out() -> None:
    assert conformal_quantile(np.arange(8.0), 0.9) == math.inf
    assert conformal_quantile(np.arange(9.0), 0.9) == 8.0
    fitted = fit_sets(np.full((5, 2), 0.5), np.zeros(5, int), np.full(5, "a"), ("0", "1"), (0.9,), "label", Groups())
    assert fitted.sets(np.array([[1.0, 0.0]]), np.array(["a"])).tolist() == [[[True, True]]]
    assert fitted.sets(np.array([[1.0, 0.0]]), np.array(["never seen"])).tolist() == [[[True, True]]]


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(0, 100))
def test_a_higher_level_rules_out_no_more(weights: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(weights, 60)
    label = rng.integers(0, len(weights), 60)
    names = tuple(str(i) for i in range(len(weights)))
    fitted = fit_sets(shares, label, np.full(60, "all"), names, (0.6, 0.8, 0.95), "adaptive", Groups())
    sets = fitted.sets(shares, np.full(60, "all"))
    assert (sets[:, 0] <= sets[:, 1]).all()
    assert (sets[:, 1] <= sets[:, 2]).all()


def test_it_goes_to_json_and_back_with_infinite_limits() -> None:
    shares, label, group = drawn(60, np.random.default_rng(5))
    fitted = fit_sets(shares, label, group, ("0", "1"), (0.9, 0.99), "label", Groups("record.age", (50.0, 70.0)))
    assert any(math.isinf(x) for limits in fitted.limits.values() for level in limits for x in level)
    assert Conformal.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False))) == fitted
