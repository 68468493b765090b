"""The share of each element of a stream: Owen values, which add up to the stream's own share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from explain.elements import Players
from explain.explanation import Element
from explain.shapley import Game, exact_values, sampled_values, shapley_weights, subsets
from explain.shares import FUSED_AT_ONCE, worth_of
from ingest.batch import Stream
from models.encoders.tokens import Tokens
from models.prediction import Predictor

EXACT_UP_TO = 7  # elements: 2^7 coalitions cost about as much as sampling them
PREFIXES_PER_PERMUTATION = 48  # more elements than this are sampled with fewer orders, at the same cost
VALUES_AT_ONCE = 2_000_000  # of the masked stream, about 8 MB before the encoder's own memory


def owen_values(
    predictor: Predictor,
    tokens: Mapping[str, Tokens],
    stream: Stream,
    name: str,
    players: Players,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[Element, ...]:
    """The elements of one stream of one case with their values. tokens: of the whole case (B = 1).

    The coalition structure is the streams (Owen 1977, "Values of games with a priori unions"): an element's value is
    the Shapley-weighted sum, over all coalitions of the other streams, of its Shapley value within its stream. Up to
    EXACT_UP_TO elements it is exact; beyond, sampled, and sums to the stream's share all the same.
    """
    game = stream_game(predictor, tokens, stream, name, players)
    count = len(players.elements)
    if count <= EXACT_UP_TO:
        values, errors = exact_values(game(subsets(count))), np.zeros(count)
    else:
        orders = max(min(permutations, permutations * PREFIXES_PER_PERMUTATION // count), 4)
        values, errors = sampled_values(game, players.groups, orders, rng)
    return tuple(
        replace(element, value=float(value), standard_error=float(error))
        for element, value, error in zip(players.elements, values, errors, strict=True)
    )


def stream_game(
    predictor: Predictor, tokens: Mapping[str, Tokens], stream: Stream, name: str, players: Players
) -> Game:
    """The game of one stream's elements: e ↦ Σ over coalitions S of the others of w(S) · v(S ∪ {stream with e}).

    Shapley values are linear, so those of this one game are the Owen values. It runs from Σ w(S) v(S), with no
    element, to that plus the stream's own share. Only this stream is encoded again; its tokens serve all S.
    """
    others = [n for n in predictor.stream_names if n != name and bool(tokens[n].present.any())]
    weights = shapley_weights(len(others) + 1)
    contexts = [[n for n, kept in zip(others, row, strict=True) if kept] for row in subsets(len(others))]
    at_once = int(np.clip(VALUES_AT_ONCE // stream.values.numel(), 1, FUSED_AT_ONCE))

    def game(chosen: np.ndarray) -> np.ndarray:
        worth = np.zeros(len(chosen))
        for start in range(0, len(chosen), at_once):
            part = slice(start, start + at_once)
            encoded = _encode(predictor, stream, name, players.keep(chosen[part]))
            worth[part] = _over_contexts(predictor, tokens, name, encoded, contexts, weights)
        return worth

    return game


@torch.inference_mode()
def _encode(predictor: Predictor, stream: Stream, name: str, keep: torch.Tensor) -> Tokens:
    n = len(keep)
    copies = Stream(
        stream.values.expand(n, *stream.values.shape[1:]),
        stream.observed.expand(n, *stream.observed.shape[1:]),
        stream.hours.expand(n, -1),
    )
    return predictor.network.encode_stream(name, copies.masked(keep))


def _over_contexts(
    predictor: Predictor,
    tokens: Mapping[str, Tokens],
    name: str,
    encoded: Tokens,
    contexts: Sequence[list[str]],
    weights: np.ndarray,
) -> np.ndarray:
    """(n,) float64: the weighted sum over contexts of the log-odds with each of n versions of one stream."""
    n = len(encoded.values)
    widened = {k: t.expand(n) for k, t in tokens.items()}
    widened[name] = encoded
    total = np.zeros(n)
    for context in contexts:
        total += weights[len(context)] * worth_of(predictor, widened, [*context, name])
    return total
