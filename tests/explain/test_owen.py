"""Owen values inside a stream against all nested orders, computed by whole predictions."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from explain.elements import Facts, Players, stream_players
from explain.owen import owen_values, stream_game
from explain.shapley import exact_values, subsets
from explain.shares import explain_streams
from ingest.batch import Batch
from ingest.cohort import Cohort
from models.prediction import Predictor


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort()


@pytest.fixture(scope="module")
def small(cohort: Cohort, build_predictor: Callable[..., Predictor]) -> Predictor:
    return build_predictor(cohort, streams=["record", "vitals", "sound"])


def a_case(cohort: Cohort, predictor: Predictor) -> Batch:
    has = cohort.present[:, [cohort.stream_names.index(n) for n in predictor.stream_names]].all(1)
    return cohort.batch([int(np.flatnonzero(has)[0])], predictor.stream_names)


def players_of(predictor: Predictor, batch: Batch, name: str, text: str = "") -> Players:
    facts = Facts(predictor.task.streams[name], predictor.statistics.streams[name], text, (3, 4))
    return stream_players(batch.streams[name], facts)


@pytest.mark.parametrize("name", ["record", "vitals", "sound"])
def test_elements_have_the_mean_gain_over_all_nested_orders(cohort: Cohort, small: Predictor, name: str) -> None:
    batch = a_case(cohort, small)
    players = players_of(small, batch, name)
    count = len(players.elements)

    def worth(streams: set[str], chosen: set[int]) -> float:
        mask = players.keep(np.array([[i in chosen for i in range(count)]]))
        only = batch.with_streams({**batch.streams, name: batch.streams[name].masked(mask)})
        return float(small.predict(only.without(*(n for n in only.streams if n not in streams | {name}))).logit[0])

    expected, orders = np.zeros(count), 0
    for outer in permutations(small.stream_names):
        before = set(outer[: outer.index(name)])
        for inner in permutations(range(count)):
            orders += 1
            chosen: set[int] = set()
            for element in inner:
                expected[element] += worth(before, chosen | {element}) - worth(before, chosen)
                chosen = chosen | {element}
    expected /= orders

    found = owen_values(
        small, small.encode(batch), batch.streams[name], name, players, permutations=8, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose([e.value for e in found], expected, atol=1e-5)
    assert all(e.standard_error == 0 for e in found)
    share = explain_streams(small, batch)[0].streams[name]
    assert sum(e.value for e in found) == pytest.approx(share, abs=1e-5)


def test_sampled_patches_approach_the_exact_ones_and_sum_to_the_share(
    cohort: Cohort, build_predictor: Callable[..., Predictor]
) -> None:
    predictor = build_predictor(cohort, streams=["record", "xray"])
    batch = a_case(cohort, predictor)
    players = players_of(predictor, batch, "xray")
    assert len(players.elements) == 12
    tokens, stream = predictor.encode(batch), batch.streams["xray"]
    exact = exact_values(stream_game(predictor, tokens, stream, "xray", players)(subsets(12)))
    found = owen_values(predictor, tokens, stream, "xray", players, permutations=400, rng=np.random.default_rng(0))
    values, errors = np.array([[e.value, e.standard_error] for e in found]).T
    assert (np.abs(values - exact) < 5 * errors).all()
    assert errors.max() < 0.5 * np.abs(exact).max()
    share = explain_streams(predictor, batch)[0].streams["xray"]
    few = owen_values(predictor, tokens, stream, "xray", players, permutations=4, rng=np.random.default_rng(0))
    assert sum(e.value for e in few) == pytest.approx(share, abs=1e-5)


def test_an_image_with_no_patch_is_an_absent_image(cohort: Cohort, build_predictor: Callable[..., Predictor]) -> None:
    predictor = build_predictor(cohort, streams=["record", "xray"])
    batch = a_case(cohort, predictor)
    players = players_of(predictor, batch, "xray")
    game = stream_game(predictor, predictor.encode(batch), batch.streams["xray"], "xray", players)
    coalitions = explain_streams(predictor, batch)[0].coalitions
    nothing = game(np.zeros((1, 12), bool))[0]
    assert nothing == pytest.approx((coalitions[""] + coalitions["record"]) / 2, abs=1e-6)
