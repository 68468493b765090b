"""Shapley and Owen values against slow formulas, axioms and the shap library."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explain.shapley import Game, exact_values, sampled_values, shapley_weights, subsets


def by_all_orders(worth: np.ndarray, players: int, groups: list[int] | None = None) -> np.ndarray:
    """The definition: mean gain over all orders (those that keep groups together, where given)."""
    total, count = np.zeros(players), 0
    for order in permutations(range(players)):
        if groups is not None:
            seen = [groups[p] for p in order]
            if any(seen[i] != seen[i - 1] and seen[i] in seen[:i] for i in range(1, players)):
                continue
        count += 1
        code = 0
        for player in order:
            total[player] += worth[code | 1 << player] - worth[code]
            code |= 1 << player
    return total / count


def table_game(worth: np.ndarray) -> Game:
    def game(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(worth[chosen @ (1 << np.arange(chosen.shape[1]))])

    return game


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_exact_values_equal_the_mean_over_all_orders(seed: int, players: int) -> None:
    worth = np.random.default_rng(seed).normal(size=1 << players)
    np.testing.assert_allclose(exact_values(worth), by_all_orders(worth, players), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_shares_sum_to_the_whole(seed: int, players: int) -> None:
    worth = np.random.default_rng(seed).normal(size=(3, 1 << players))
    np.testing.assert_allclose(exact_values(worth).sum(1), worth[:, -1] - worth[:, 0], atol=1e-12)


def test_a_player_that_changes_nothing_gets_exactly_nothing() -> None:
    members = subsets(4)
    worth = np.random.default_rng(0).normal(size=16)[members[:, :3] @ [1, 2, 4]]
    assert exact_values(worth)[3] == 0.0


def test_interchangeable_players_get_the_same() -> None:
    members = subsets(4)
    worth = np.random.default_rng(0).normal(size=(3, 2, 2))[
        members[:, 0] * 1 + members[:, 1], members[:, 2] * 1, members[:, 3] * 1
    ]
    values = exact_values(worth)
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_the_weights_of_all_coalitions_sum_to_one() -> None:
    sizes = subsets(5).sum(1)
    assert shapley_weights(6)[sizes].sum() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:shap")  # shap's colour maps, on import
def test_exact_values_agree_with_the_exact_explainer_of_shap() -> None:
    import shap

    worth = np.random.default_rng(1).normal(size=64)
    game = table_game(worth)
    explainer = shap.explainers.ExactExplainer(
        lambda x: game(np.asarray(x) > 0.5), shap.maskers.Independent(np.zeros((1, 6)))
    )
    theirs = explainer(np.ones((1, 6)))
    np.testing.assert_allclose(exact_values(worth), theirs.values[0], atol=1e-6)
    assert theirs.base_values[0] == pytest.approx(worth[0])


def test_sampled_values_sum_exactly_and_approach_the_exact_ones() -> None:
    worth = np.random.default_rng(2).normal(size=64)
    exact = exact_values(worth)
    few, _ = sampled_values(table_game(worth), np.arange(6), 4, np.random.default_rng(0))
    many, error = sampled_values(table_game(worth), np.arange(6), 4000, np.random.default_rng(0))
    assert few.sum() == pytest.approx(worth[-1] - worth[0], abs=1e-12)
    assert many.sum() == pytest.approx(worth[-1] - worth[0], abs=1e-12)
    assert (np.abs(many - exact) < 4 * error).all()
    assert error.max() < 0.05


def test_the_standard_error_is_the_spread_of_repeated_samples() -> None:
    worth = np.random.default_rng(4).normal(size=64)
    runs = [sampled_values(table_game(worth), np.arange(6), 32, np.random.default_rng(s)) for s in range(300)]
    spread = np.std([values for values, _ in runs], axis=0)
    stated = np.sqrt(np.mean([error**2 for _, error in runs], axis=0))
    np.testing.assert_allclose(stated, spread, rtol=0.2)


def test_grouped_orders_give_owen_values() -> None:
    worth = np.random.default_rng(5).normal(size=32)
    groups = [0, 0, 1, 1, 1]
    exact = by_all_orders(worth, 5, groups)
    assert np.abs(exact - exact_values(worth)).max() > 0.05  # the structure matters
    values, error = sampled_values(table_game(worth), np.array(groups), 6000, np.random.default_rng(0))
    assert (np.abs(values - exact) < 4 * error + 1e-9).all()


def test_an_additive_game_is_sampled_without_error() -> None:
    gains = np.arange(10.0)
    values, error = sampled_values(lambda chosen: chosen @ gains, np.arange(10), 4, np.random.default_rng(0))
    np.testing.assert_allclose(values, gains, atol=1e-12)
    np.testing.assert_allclose(error, 0, atol=1e-12)
