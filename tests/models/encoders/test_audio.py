"""Networks over sound: what is hidden or beyond the end is not heard, and SpecAugment hides what the paper says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders import build_encoder
from models.encoders.audio_frames import halved
from models.encoders.audio_masks import spec_augment
from models.encoders.tokens import Tokens
from models.training.weights import seeded

WIDTH, CASES, FRAMES, MELS = 16, 5, 40, 16
LOG_MEL = StreamStatistics("audio", FRAMES, (MELS,), mean=(-6.0,) * MELS, std=(2.0,) * MELS)
LEADS = ("I", "II", "V1")
WAVEFORM = StreamStatistics("audio", 1000, (3,), names=LEADS, units=("mV",) * 3, mean=(0.1,) * 3, std=(1.0,) * 3)
KINDS = [
    ("convolution", LOG_MEL), ("log-mel-cnn", LOG_MEL), ("recurrent", LOG_MEL),
    ("convolution", WAVEFORM), ("recurrent", WAVEFORM),
]  # fmt: skip


def encoder_of(network: str, statistics: StreamStatistics, **config: object) -> torch.nn.Module:
    with seeded(0):
        chosen = EncoderConfig.model_validate({"network": network, **config})
        return build_encoder(chosen, statistics, WIDTH, 0.0).eval()


def stream_of(statistics: StreamStatistics) -> Stream:
    """Five recordings: the second lacks a piece in the middle, the third its second half, the last is absent."""
    bands, times = statistics.feature_shape[0], statistics.elements
    values = torch.randn(CASES, times, bands, generator=torch.Generator().manual_seed(1)) * 2 - 6 * (bands > 3)
    observed = torch.ones(CASES, times, bands, dtype=torch.bool)
    observed[1, times // 3 : times // 2] = False
    observed[2, times // 2 :] = False
    observed[4] = False
    if not statistics.names:
        return Stream(values * observed, observed[..., 0], torch.zeros(CASES, times))
    observed[3, :, 1] = False
    return Stream(values * observed, observed, torch.zeros(CASES, times))


def same(one: Tokens, other: Tokens, atol: float = 1e-5) -> None:
    assert torch.equal(one.present, other.present)
    torch.testing.assert_close(one.values, other.values, atol=atol, rtol=0)


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'waveform' if kind[1].names else 'log-mel'}")
def kind(request: pytest.FixtureRequest) -> tuple[str, StreamStatistics]:
    found: tuple[str, StreamStatistics] = request.param
    return found


@torch.no_grad()
def test_two_tokens_are_there_where_there_is_a_recording(kind: tuple[str, StreamStatistics]) -> None:
    tokens = encoder_of(*kind)(stream_of(kind[1]))
    assert tokens.values.shape == (CASES, 2, WIDTH)
    assert tokens.present.all(1).tolist() == [True] * 4 + [False]
    assert not bool(tokens.values[4].any())
    assert bool(torch.isfinite(tokens.values).all())
    assert not torch.allclose(tokens.values[0], tokens.values[1], atol=1e-3)


@torch.no_grad()
def test_what_lies_where_nothing_was_heard_is_never_read(kind: tuple[str, StreamStatistics]) -> None:
    stream, encoder = stream_of(kind[1]), encoder_of(*kind)
    there = stream.observed.reshape(*stream.observed.shape, *(1,) * (3 - stream.observed.ndim))
    rubbish = replace(stream, values=torch.where(there, stream.values, torch.tensor(float("nan"))))
    same(encoder(rubbish), encoder(stream), atol=0)


@torch.no_grad()
def test_what_is_beyond_the_end_changes_nothing(kind: tuple[str, StreamStatistics]) -> None:
    """Silence that was not recorded, be it 17 frames or none."""
    stream, encoder = stream_of(kind[1]), encoder_of(*kind)
    values = torch.nn.functional.pad(stream.values, (0, 0, 0, 17))
    observed = torch.nn.functional.pad(stream.observed, (*(0, 0) * (stream.observed.ndim - 2), 0, 17))
    same(encoder(Stream(values, observed, torch.zeros(values.shape[:2]))), encoder(stream))


@torch.no_grad()
def test_a_recording_reads_the_same_alone_as_in_company(kind: tuple[str, StreamStatistics]) -> None:
    stream, encoder = stream_of(kind[1]), encoder_of(*kind)
    together = encoder(stream)
    for case in range(CASES):
        alone = encoder(stream.rows(torch.tensor([case])))
        same(alone, Tokens(together.values[case : case + 1], together.present[case : case + 1]))


def test_every_weight_is_of_use(kind: tuple[str, StreamStatistics]) -> None:
    encoder = encoder_of(*kind)
    (encoder(stream_of(kind[1])).values * torch.linspace(-1, 1, WIDTH)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@torch.no_grad()
def test_a_gap_does_not_advance_the_recurrent_state() -> None:
    """Far from its edges a gap is as long as it likes: what was heard before and after it is all there is."""
    encoder = encoder_of("recurrent", LOG_MEL)
    frames = torch.randn(1, 12, MELS) - 6

    def with_gap(length: int) -> Tokens:
        gap = torch.zeros(1, length, MELS)
        values = torch.cat([frames[:, :6], gap, frames[:, 6:]], 1)
        observed = torch.cat([torch.ones(1, 6), torch.zeros(1, length), torch.ones(1, 6)], 1) > 0
        tokens: Tokens = encoder(Stream(values, observed, torch.zeros(values.shape[:2])))
        return tokens

    same(with_gap(4), with_gap(15))


@torch.no_grad()
@pytest.mark.parametrize("network", ["log-mel-cnn", "recurrent"])
def test_frames_are_hidden_in_training_only_and_only_where_asked(network: str) -> None:
    stream = stream_of(LOG_MEL)
    encoder = encoder_of(network, LOG_MEL)
    same(encoder(stream), encoder(stream), atol=0)
    plain = encoder_of(network, LOG_MEL, augment=False)
    same(plain.train()(stream), encoder(stream), atol=0)
    with seeded(0):
        learning = encoder.train()(stream)
    assert not torch.allclose(learning.values[:4], plain(stream).values[:4], atol=1e-3)
    waveform = encoder_of("recurrent", WAVEFORM)
    leads = stream_of(WAVEFORM)
    before = waveform(leads)
    same(waveform.train()(leads), before, atol=0)


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 60), mels=st.integers(1, 40), heard=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_spec_augment_hides_two_bands_and_two_stretches_at_most(
    frames: int, mels: int, heard: float, seed: int
) -> None:
    length = round(frames * heard)
    observed = torch.arange(frames)[None].expand(3, -1) < length
    with seeded(seed):
        kept = spec_augment(torch.ones(3, frames, mels), observed).numpy() > 0
    for case in range(3):
        bands, stretches = ~kept[case].any(0), ~kept[case].any(1)
        if bands.all() or stretches.all():  # of one band or one frame nothing is left to tell them by
            assert min(frames, mels) <= 4
            continue
        assert np.array_equal(kept[case], np.outer(~stretches, ~bands))
        assert not stretches[length:].any()
        for hidden, most in ((bands, mels // 4), (stretches, int(length * 0.2))):
            assert np.count_nonzero(np.diff(np.r_[0, hidden, 0]) == 1) <= 2
            assert hidden.sum() <= 2 * most


def test_masks_are_as_wide_as_the_paper_draws_them() -> None:
    """Width U{0 ... 8} of 32 bands, start uniform: a band is hidden by one mask of mean width 4, so for the share of
    hidden bands 1 - E[(1 - chance)²], by enumeration."""
    with seeded(0):
        kept = spec_augment(torch.ones(20_000, 1, 32), torch.zeros(20_000, 1, dtype=torch.bool)).numpy()[:, 0]
    chance = np.zeros(32)
    for width in range(9):
        for start in range(32 - width + 1):
            chance[start : start + width] += 1 / 9 / (32 - width + 1)
    # Standard error at most 0.0035.
    np.testing.assert_allclose(1 - kept.mean(0), 1 - (1 - chance) ** 2, atol=0.015)
    assert (kept == 0).any(1).mean() == pytest.approx(1 - 1 / 81, abs=0.005)


def test_half_as_many_frames_are_heard_where_either_was() -> None:
    observed = torch.tensor([[1, 0, 0, 0, 1], [0, 1, 0, 0, 0]]) > 0
    assert halved(observed).tolist() == [[True, False, True], [True, False, False]]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("wav2vec", "audio encoder: expected one of convolution, log-mel-cnn, recurrent, got 'wav2vec'"),
        ("log-mel-cnn", "log-mel-cnn: expected log-mel frames, got a waveform of 3 leads; take network convolution"),
    ],
)
def test_an_encoder_that_cannot_be_built_says_what_was_expected(network: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build_encoder(EncoderConfig(network=network), WAVEFORM, WIDTH, 0.1)
