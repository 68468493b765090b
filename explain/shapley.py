"""Shapley values of any game: exact from every coalition, or from sampled orders that keep groups together."""

from collections.abc import Callable
from math import comb, log2

import numpy as np

# A game: coalitions (n, players) bool -> their worth (n,) float64.
Game = Callable[[np.ndarray], np.ndarray]


def subsets(players: int) -> np.ndarray:
    """(2^players, players) bool: every coalition; coalition c holds player j where bit j of c is set."""
    codes = np.arange(1 << players)
    return np.asarray((codes[:, None] >> np.arange(players)) & 1 == 1)


def shapley_weights(players: int) -> np.ndarray:
    """(players,): the weight of one coalition of s others, s = 0 ... players - 1 (Shapley 1953, eq. 12)."""
    return np.array([1 / (players * comb(players - 1, size)) for size in range(players)])


def exact_values(worth: np.ndarray) -> np.ndarray:
    """Shapley values (..., players) from the worth (..., 2^players) of every coalition, in the order of `subsets`."""
    worth = np.asarray(worth, np.float64)
    players = round(log2(worth.shape[-1]))
    members = subsets(players)
    sizes, codes = members.sum(1), np.arange(len(members))
    values = np.zeros((*worth.shape[:-1], players))
    for player in range(players):
        others = codes[~members[:, player]]
        gains = worth[..., others | (1 << player)] - worth[..., others]
        values[..., player] = gains @ shapley_weights(players)[sizes[others]]
    return values


def sampled_values(
    game: Game, groups: np.ndarray, permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Owen values (players,) and their standard errors, from random orders and the reverse of each.

    groups (players,): whose members enter one after another, so that the values are Owen's for that structure
    (Owen 1977); all the same or all different: plain Shapley values. An order and its reverse are one antithetic
    sample (Mitchell et al. 2022, "Sampling permutations for Shapley value estimation", sec. 3.2), and the standard
    error is over these. The values of each order telescope, so they sum to game(all) - game(none) exactly.
    """
    players = len(groups)
    pairs = max((permutations + 1) // 2, 2)
    forward = [_order(groups, rng) for _ in range(pairs)]
    orders = np.array([order for one in forward for order in (one, one[::-1])])
    rank = np.argsort(orders, 1)
    inner = rank[:, None, :] < np.arange(1, players)[None, :, None]  # (orders, players - 1, players)
    ends = np.array([[False] * players, [True] * players])
    worth = game(np.concatenate([ends, inner.reshape(-1, players)]))
    curve = np.empty((len(orders), players + 1))
    curve[:, 0], curve[:, -1] = worth[0], worth[1]
    curve[:, 1:-1] = worth[2:].reshape(len(orders), players - 1)
    gains = np.empty((len(orders), players))
    np.put_along_axis(gains, orders, np.diff(curve, axis=1), 1)
    paired = gains.reshape(pairs, 2, players).mean(1)
    return paired.mean(0), paired.std(0, ddof=1) / np.sqrt(pairs)


def _order(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of the players in which each group stays together."""
    place = rng.permutation(int(groups.max()) + 1)[groups]
    return np.lexsort([rng.random(len(groups)), place])
