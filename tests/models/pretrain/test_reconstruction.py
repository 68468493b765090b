"""Reconstruction looks at hidden elements that were observed, and at nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ingest.batch import Batch, Stream
from ingest.cohort import Cohort
from ingest.statistics import StreamStatistics
from models.encoders.columns import Columns
from models.encoders.tokens import Tokens
from models.pretrain.decoders import DECODERS, TextDecoder, element_losses
from models.pretrain.hiding import hidden_elements, hide
from models.pretrain.objective import Loss
from models.training.weights import seeded

KINDS = {"record": "table", "vitals": "series", "xray": "image", "notes": "text", "sound": "audio"}
WIDTH = 16


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=160)


@pytest.fixture(scope="module")
def batch(cohort: Cohort) -> Batch:
    return cohort.batch(np.arange(40))


def spread(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return mask.reshape(*mask.shape, *(1,) * (like.ndim - mask.ndim)).expand(like.shape)


def decoded(cohort: Cohort, name: str, stream: Stream, hidden: torch.Tensor) -> tuple[Any, torch.Tensor]:
    """A decoder's loss for random tokens, and the gradient of the loss by the values."""
    with seeded(0):
        decoder = DECODERS[KINDS[name]](cohort.statistics.streams[name], WIDTH)
        tokens = Tokens(torch.randn(len(stream.values), 3, WIDTH), torch.rand(len(stream.values), 3) < 0.7)
    values = stream.values
    if values.is_floating_point():
        values = values.clone().requires_grad_()
    loss = decoder.losses(Stream(values, stream.observed, stream.hours), hidden, tokens, nn.Identity())
    if values.requires_grad:
        loss.total.backward()  # type: ignore[no-untyped-call]
        return Loss(loss.total.detach(), loss.count), cast(torch.Tensor, values.grad)
    return Loss(loss.total.detach(), loss.count), torch.zeros(values.shape)


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_what_is_hidden_was_observed_and_never_the_whole_of_a_case(batch: Batch, name: str, seed: int) -> None:
    stream = batch.streams[name]
    with seeded(seed):
        shown = hide(stream, KINDS[name])
    hidden = hidden_elements(stream, shown)
    observed = spread(stream.observed, shown.observed)
    assert torch.equal(hidden | shown.observed, observed)
    assert not bool((hidden & shown.observed).any())
    assert torch.equal(shown.present, stream.present)
    assert bool(hidden.any())


@pytest.mark.parametrize("name", KINDS)
def test_the_loss_turns_on_hidden_values_alone(cohort: Cohort, batch: Batch, name: str) -> None:
    stream = batch.streams[name]
    with seeded(2):
        hidden = hidden_elements(stream, hide(stream, KINDS[name]))
    loss, gradient = decoded(cohort, name, stream, hidden)
    wide = spread(hidden, stream.values) if hidden.ndim < stream.values.ndim else hidden.expand(stream.values.shape)
    assert bool((gradient[~wide] == 0).all())
    with seeded(7):
        noise = torch.rand(stream.values.shape) * (1 if name == "record" else 5)  # a level of two is 0 or 1
    noise = noise.to(stream.values.dtype)
    elsewhere = Stream(torch.where(wide, stream.values, noise), stream.observed, stream.hours)
    assert torch.equal(decoded(cohort, name, elsewhere, hidden)[0].total, loss.total)
    here = Stream(torch.where(wide, noise, stream.values), stream.observed, stream.hours)
    assert not torch.equal(decoded(cohort, name, here, hidden)[0].total, loss.total)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_hidden_is_no_loss_and_no_nan(cohort: Cohort, batch: Batch, name: str) -> None:
    stream = batch.streams[name]
    nothing = hidden_elements(stream, hide(stream, KINDS[name])) & False
    loss, _ = decoded(cohort, name, stream, nothing)
    assert (float(loss.total), float(loss.count), float(loss.mean)) == (0, 0, 0)


def test_numbers_are_squared_errors_of_z_scores_and_levels_cross_entropies() -> None:
    statistics = StreamStatistics(
        "table", 3, (), names=("age", "site", "dose"), mean=(60.0, 0.0, 5.0), std=(12.0, 1.0, 2.0),
        levels={"site": ("a", "b", "c")},
    )  # fmt: skip
    values = torch.tensor([[72.0, 2, 5], [48, 0, 9], [60, 1, 5]])
    hidden = torch.tensor([[True, True, False], [False, True, True], [False, False, False]])
    said = torch.tensor(np.random.default_rng(0).normal(size=(3, 5)), dtype=torch.float32)
    found = element_losses(Columns(statistics), said, values, hidden)
    p = said.double().numpy()
    expected = (p[0, 0] - 1.0) ** 2 + (p[1, 4] - 2.0) ** 2
    for row, level in ((0, 2), (1, 0)):
        expected += np.log(np.exp(p[row, 1:4]).sum()) - p[row, 1 + level]
    assert float(found.total) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == 4


@torch.no_grad()
def test_a_sound_is_measured_frame_by_frame_against_a_formula(cohort: Cohort, batch: Batch) -> None:
    statistics = cohort.statistics.streams["sound"]
    stream = batch.streams["sound"]
    with seeded(1):
        decoder = DECODERS["audio"](statistics, WIDTH)
        tokens = Tokens(torch.randn(40, 2, WIDTH), torch.ones(40, 2, dtype=torch.bool))
        hidden = hidden_elements(stream, hide(stream, "audio"))
    said = (
        decoder.out(decoder.reading(decoder.queries, tokens))
        .detach()
        .numpy()
        .reshape(40, -1, statistics.feature_shape[0])
    )  # type: ignore[union-attr,operator]
    z = np.clip((stream.values.numpy() - np.array(statistics.mean)) / np.array(statistics.std), -5, 5)
    error = ((said[:, : z.shape[1]] - z) ** 2)[hidden.numpy()]
    found = decoder.losses(stream, hidden, tokens, nn.Identity())
    assert float(found.total) == pytest.approx(error.sum(), rel=1e-4)
    assert int(found.count) == error.size


@torch.no_grad()
def test_a_cell_of_an_image_is_the_mean_of_its_hidden_pixels(cohort: Cohort) -> None:
    statistics = replace(cohort.statistics.streams["xray"], mean=(0.5,), std=(0.25,))
    with seeded(0):
        decoder = DECODERS["image"](statistics, WIDTH)
    stream = Stream(torch.full((1, 1, 1, 32, 32), 0.5), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1))
    hidden = torch.zeros(1, 1, 1, 32, 32, dtype=torch.bool)
    hidden[..., 4:8, 8:12] = True
    tokens = Tokens(torch.randn(1, 1, WIDTH), torch.ones(1, 1, dtype=torch.bool))
    before = decoder.losses(stream, hidden, tokens, nn.Identity())
    assert int(before.count) == 16  # a patch of 4 x 4 pixels has 4 x 4 cells
    patch = 1 * 8 + 2
    said = decoder.out(decoder.reading((decoder.patches + decoder.places).flatten(0, 1)[None], tokens))[0, patch]  # type: ignore[union-attr,operator]
    assert float(before.total) == pytest.approx(float(said.square().sum()), rel=1e-4)  # all z-scores are 0
    brighter = replace(stream, values=stream.values + 0.25 * hidden)
    after = decoder.losses(brighter, hidden, tokens, nn.Identity())
    assert float(after.total) == pytest.approx(float((said - 1).square().sum()), rel=1e-4)


@torch.no_grad()
def test_a_volume_and_an_odd_shape_are_decoded(cohort: Cohort) -> None:
    for shape in ((5, 12, 17), (19, 7)):
        statistics = replace(
            cohort.statistics.streams["xray"], feature_shape=(2, *shape), mean=(0.0,) * 2, std=(1.0,) * 2
        )
        decoder = DECODERS["image"](statistics, WIDTH)
        stream = Stream(torch.randn(3, 1, 2, *shape), torch.ones(3, 1, dtype=torch.bool), torch.zeros(3, 1))
        hidden = hidden_elements(stream, hide(stream, "image"))
        tokens = Tokens(torch.randn(3, 1, WIDTH), torch.ones(3, 1, dtype=torch.bool))
        found = decoder.losses(stream, hidden, tokens, nn.Identity())
        assert float(found.total) > 0
        assert float(found.count) > 0


def test_of_a_large_vocabulary_the_hidden_words_are_always_candidates() -> None:
    decoder = TextDecoder(StreamStatistics("text", 8, (), vocabulary_size=50_000), WIDTH)
    target = torch.tensor([3, 49_999, 3, 17])
    chosen = decoder._candidates(target)
    assert len(chosen) <= 3 + 1024
    assert torch.equal(chosen, chosen.unique())
    assert torch.equal(chosen[torch.searchsorted(chosen, target)], target)
    small = TextDecoder(StreamStatistics("text", 8, (), vocabulary_size=40), WIDTH)
    assert torch.equal(small._candidates(target[:1]), torch.arange(40))
