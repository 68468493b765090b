"""Losses are the means that they say, and what is hidden at random is hidden as it says."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.batch import Batch, Stream
from ingest.cohort import Cohort
from models.network import Network
from models.objectives.binary import BinaryObjective
from models.training.losses import alone_loss, hide_elements, member_loss
from models.training.weights import seeded

STREAMS = ("record", "vitals", "labs", "xray", "notes", "sound")


@pytest.fixture(scope="module")
def batch(synthetic_cohort: Callable[..., Cohort]) -> Batch:
    return synthetic_cohort(n=160).batch(np.arange(160))


def test_the_member_loss_is_the_mean_over_the_cases_that_each_member_drew() -> None:
    rng = np.random.default_rng(0)
    logits, target, drawn = rng.normal(size=(9, 3)), rng.integers(0, 2, 9), rng.poisson(1.0, (9, 3))
    losses = [
        -np.log(1 / (1 + np.exp(-logits[i, m] if target[i] else logits[i, m])))
        for i in range(9)
        for m in range(3)
        for _ in range(drawn[i, m])
    ]
    given = (torch.tensor(x, dtype=torch.float32) for x in (logits[..., None], target[:, None], drawn))
    assert float(member_loss(BinaryObjective(), *given)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_case_that_nobody_drew_gives_no_loss_and_no_nan() -> None:
    assert float(member_loss(BinaryObjective(), torch.ones(2, 3, 1), torch.ones(2, 1), torch.zeros(2, 3))) == 0


def test_a_streams_own_loss_is_over_the_cases_that_have_it(
    batch: Batch, synthetic_cohort: Callable[..., Cohort], shaken_network: Callable[..., Network]
) -> None:
    network = shaken_network(synthetic_cohort(n=160))
    with torch.no_grad():
        tokens = network.encoders["sound"](batch.streams["sound"])
        here = batch.streams["sound"].present.numpy()
        logit = network.read_alone("sound", tokens)[:, 0].numpy()[here]
        loss = float(alone_loss(network, "sound", tokens, batch.outcome))
    y = batch.target.numpy()[here]
    assert 0 < here.sum() < len(here)
    assert loss == pytest.approx(float(np.mean(np.logaddexp(0, logit) - y * logit)), rel=1e-5)


@pytest.mark.parametrize("name", STREAMS)
@settings(deadline=None, max_examples=15)
@given(most=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_hiding_reveals_nothing_and_never_hides_a_stream_whole(batch: Batch, name: str, most: float, seed: int) -> None:
    stream = batch.streams[name]
    with seeded(seed):
        hidden = hide_elements(stream, most)
    assert torch.equal(hidden.present, stream.present)
    assert not bool((hidden.observed & ~spread(stream.observed, hidden.observed)).any())
    kept = spread(hidden.observed, hidden.values)
    assert torch.equal(hidden.values[kept], stream.values[kept])
    assert not bool(hidden.values[~kept].any())


@pytest.mark.parametrize("name", ["vitals", "xray", "notes", "sound"])  # of few elements, all hidden means none hidden
def test_more_is_hidden_the_more_it_may(batch: Batch, name: str) -> None:
    stream = batch.streams[name]
    with seeded(0):
        share = [1 - int(hide_elements(stream, most).values.count_nonzero()) / int(stream.values.count_nonzero())
                 for most in (0.1, 0.5, 0.9)]  # fmt: skip
    assert 0 < share[0] < share[1] < share[2] < 0.9


def test_of_an_image_whole_patches_are_hidden(batch: Batch) -> None:
    with seeded(0):
        seen = hide_elements(batch.streams["xray"], 0.5).observed[:, 0, 0]
    side = seen.shape[1] // 8
    patches = seen.unfold(1, side, side).unfold(2, side, side).flatten(3)
    assert torch.equal(patches.any(3), patches.all(3))
    assert bool(patches.any(3).any())


def test_hiding_nothing_gives_the_stream_itself(batch: Batch) -> None:
    assert hide_elements(batch.streams["vitals"], 0) is batch.streams["vitals"]


def test_a_stream_that_nobody_has_stays_so() -> None:
    stream = Stream(torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, 4))
    assert not bool(hide_elements(stream, 0.5).present.any())


def spread(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim)).expand(like.shape)
