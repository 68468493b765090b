"""Image networks in two and three dimensions, frames in their order, and weights from a file: all of them or none."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.backbone import fixed_keys
from models.encoders.image import ImageEncoder, jitter
from models.encoders.image_networks import IMAGE_NETWORKS, build_image_network
from models.encoders.image_weights import load_weights, read_weights
from models.features import feature_key
from models.training.weights import seeded

WIDTH = 16
QUICK = ["resnet10", "vit", "cnn", "strided"]
SLOW = ["resnet18", "resnet34", "resnet50", "densenet121", "densenet169", *(f"efficientnet-b{n}" for n in range(5))]
SIZES = {"resnet10": 128, "resnet18": 512, "resnet34": 512, "resnet50": 2048, "densenet121": 1024, "densenet169": 1664,
         "efficientnet-b0": 1280, "efficientnet-b1": 1280, "efficientnet-b2": 1408, "efficientnet-b3": 1536,
         "efficientnet-b4": 1792, "efficientnet-lite0": 1280,
         "efficientnet-lite0-stages": 8345, "vit": 192, "cnn": 128, "strided": 128}  # fmt: skip


def facts(*shape: int, elements: int = 1) -> StreamStatistics:
    return StreamStatistics("image", elements, shape, mean=(0.4,) * shape[0], std=(0.2,) * shape[0])


def encoder_of(statistics: StreamStatistics, seed: int = 0, **config: object) -> ImageEncoder:
    with seeded(seed):
        return ImageEncoder(EncoderConfig.model_validate(config), statistics, WIDTH, dropout=0.1).eval()


def stream_of(statistics: StreamStatistics, cases: int = 4, seed: int = 1) -> Stream:
    """Every image there, an hour apart."""
    with seeded(seed):
        values = torch.rand(cases, statistics.elements, *statistics.feature_shape)
    hours = torch.arange(1 - statistics.elements, 1).float().expand(cases, -1)
    return Stream(values, torch.ones(values.shape[:2], dtype=torch.bool), hours)


def network_of(name: str, channels: int = 1, shape: tuple[int, ...] = (32, 32), seed: int = 0) -> nn.Module:
    with seeded(seed):
        return build_image_network(EncoderConfig(network=name), channels, shape).network.eval()


@pytest.mark.parametrize("shape", [(1, 33, 40), (3, 32, 32), (1, 5, 20, 33), (1, 1, 16, 16)])
@pytest.mark.parametrize("network", QUICK)
def test_small_networks_read_and_learn_from_images_and_thin_volumes(network: str, shape: tuple[int, ...]) -> None:
    _reads_and_learns(network, shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 33, 40), (3, 64, 64), (1, 32, 32, 32)])
@pytest.mark.parametrize("network", SLOW)
def test_large_networks_read_and_learn_from_images_and_volumes(network: str, shape: tuple[int, ...]) -> None:
    _reads_and_learns(network, shape)


def _reads_and_learns(network: str, shape: tuple[int, ...]) -> None:
    statistics = facts(*shape)
    encoder, stream = encoder_of(statistics, network=network, augment=False), stream_of(statistics)
    with torch.no_grad():
        features = encoder.features(stream)
    assert features.shape == (4, 1, SIZES[network])
    tokens = encoder.train()(stream)
    assert tokens.values.shape == (4, 1, WIDTH)
    assert not torch.allclose(tokens.values[0], tokens.values[1], atol=1e-3)
    tokens.values.square().sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > 0.8 * len(list(encoder.parameters()))


def test_every_network_is_tested() -> None:
    assert {*QUICK, *SLOW, "efficientnet-lite0", "efficientnet-lite0-stages"} == set(IMAGE_NETWORKS) == set(SIZES)


@pytest.mark.parametrize("network", ["resnet10", "vit", "strided"])
@torch.no_grad()
def test_absent_images_do_not_reach_the_network_and_change_nothing(network: str) -> None:
    statistics = facts(1, 32, 32, elements=3)
    encoder, stream = encoder_of(statistics, network=network), stream_of(statistics)
    there = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    seen: list[int] = []
    encoder.backbone.network.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    tokens = encoder(stream.masked(there))
    assert seen == [5]
    assert torch.equal(tokens.present, there)
    assert not bool(tokens.values[~there].any())
    whole = encoder(stream)
    torch.testing.assert_close(tokens.values[there], whole.values[there], atol=1e-5, rtol=0)
    garbage = replace(stream.masked(there), values=stream.values, hours=stream.hours * there)
    torch.testing.assert_close(encoder(garbage).values[there], tokens.values[there], atol=1e-5, rtol=0)
    seen.clear()
    assert not bool(encoder(stream.masked(torch.zeros(1, 1, dtype=torch.bool))).values.any())
    assert seen == []


@torch.no_grad()
def test_frames_in_another_order_say_something_else() -> None:
    statistics = facts(1, 32, 32, elements=3)
    encoder, stream = encoder_of(statistics, network="cnn"), stream_of(statistics)
    at_once = replace(stream, hours=torch.zeros_like(stream.hours))  # the frames of one object have one time
    turned = replace(at_once, values=stream.values.flip(1))
    forward, backward = encoder(at_once).mean(), encoder(turned).mean()
    torch.testing.assert_close(forward, backward, atol=1e-5, rtol=0)  # one place is added to one frame each
    torch.testing.assert_close(encoder(turned).values[:, 1], encoder(at_once).values[:, 1], atol=1e-5, rtol=0)
    difference = encoder(turned).values.flip(1) - encoder(at_once).values
    place = encoder.out.place
    assert place is not None
    torch.testing.assert_close(difference[0], place.flip(0) - place, atol=1e-5, rtol=0)
    assert float(difference[:, 0].abs().max()) > 0.01


@pytest.mark.parametrize("earlier_hours", [1 / 3600, 0.1, 24.0, 24 * 365.0])
@torch.no_grad()
def test_an_older_frame_says_something_else_be_it_older_by_seconds_or_years(earlier_hours: float) -> None:
    statistics = facts(1, 32, 32, elements=2)
    encoder, stream = encoder_of(statistics, network="cnn"), stream_of(statistics)
    stream = replace(stream, hours=torch.zeros_like(stream.hours))
    earlier = replace(stream, hours=stream.hours - torch.tensor([earlier_hours, 0.0]))
    now, then = encoder(stream).values, encoder(earlier).values
    assert float((now[:, 0] - then[:, 0]).abs().max()) > 0.05
    assert torch.equal(now[:, 1], then[:, 1])


@torch.no_grad()
def test_a_single_image_says_what_it_shows_whatever_its_age() -> None:
    statistics = facts(1, 32, 32)
    encoder, stream = encoder_of(statistics), stream_of(statistics)
    older = replace(stream, hours=stream.hours - 100)
    assert torch.equal(encoder(older).values, encoder(stream).values)


@torch.no_grad()
def test_frozen_features_of_frames_give_what_the_frames_give() -> None:
    statistics = facts(1, 32, 32, elements=2)
    encoder, stream = encoder_of(statistics, frozen=True), stream_of(statistics)
    stream = stream.masked(torch.tensor([[1, 1], [0, 1], [1, 0], [0, 0]], dtype=torch.bool))
    kept = replace(stream, values=encoder.features(stream))
    assert kept.values.shape == (4, 2, encoder.size)
    torch.testing.assert_close(encoder(kept).values, encoder(stream).values)
    key = feature_key(encoder)
    for parameter in encoder.out.parameters():
        parameter.add_(1)
    assert feature_key(encoder) == key  # places and ages are learnt behind the features


def test_a_batch_with_one_image_can_be_learnt_from() -> None:
    statistics = facts(1, 8, 32, 32)  # resnet10 leaves one voxel of it
    encoder = encoder_of(statistics, network="resnet10", augment=False).train()
    stream = stream_of(statistics).masked(torch.tensor([[False], [True], [False], [False]]))
    encoder(stream).values.square().sum().backward()
    assert encoder.backbone.network.training
    gradient = encoder.backbone.network.get_parameter("conv1.weight").grad
    assert gradient is not None
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone.", "encoders.xray.backbone.network."])
@pytest.mark.parametrize("network", ["resnet10", "vit", "cnn"])
def test_a_checkpoint_is_read_back_under_any_prefix_and_without_its_classifier(
    network: str, prefix: str, tmp_path: Path
) -> None:
    kept = network_of(network, seed=7).state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({**{f"{prefix}{key}": t for key, t in kept.items()}, f"{prefix}fc.weight": torch.zeros(3, 3)}, path)
    encoder = encoder_of(facts(1, 32, 32), network=network, path=str(path), seed=8)
    mine = encoder.backbone.network.state_dict()
    assert mine.keys() == kept.keys()
    assert all(torch.equal(mine[key], tensor) for key, tensor in kept.items())


@torch.no_grad()
def test_monais_vision_transformer_is_read_as_it_is() -> None:
    from monai.networks.nets import ViT

    published = ViT(1, (32, 32), (8, 8), 192, 768, 6, 4, spatial_dims=2, qkv_bias=True).eval()
    network = network_of("vit")
    load_weights(network, published.state_dict(), "here")
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(network(images), published(images)[0].mean(1))


@pytest.mark.slow
@torch.no_grad()
def test_a_densenet_is_read_under_torchvisions_names() -> None:
    published = {
        re.sub(r"layers\.(norm|conv)", r"\1", key): tensor
        for key, tensor in network_of("densenet121", seed=3).state_dict().items()
        if not key.endswith("num_batches_tracked")  # older files lack it
    }
    assert "features.denseblock1.denselayer1.norm1.weight" in published
    network, images = network_of("densenet121", seed=4), torch.randn(2, 1, 32, 32)
    load_weights(network, {**published, "classifier.weight": torch.zeros(2, 1024)}, "here")
    torch.testing.assert_close(network(images), network_of("densenet121", seed=3)(images))


@pytest.mark.parametrize("name", ["resnet10", "cnn"])
@torch.no_grad()
def test_grey_images_pass_weights_of_colour_as_three_equal_channels_would(name: str) -> None:
    colour, grey = network_of(name, 3, seed=1), network_of(name, 1, seed=2)
    load_weights(grey, colour.state_dict(), "here")
    images = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_weights_that_do_not_fit_are_named() -> None:
    network = network_of("cnn")
    state = dict(network.state_dict())
    before = {key: tensor.clone() for key, tensor in state.items()}
    state["0.weight"] = torch.zeros(16, 1, 5, 5)
    state["stem.bias"] = state.pop("5.weight")
    with pytest.raises(TaskError) as error:
        load_weights(network, state, "encoder.path x.safetensors")
    assert str(error.value) == (
        "encoder.path x.safetensors: expected the weights of Sequential, got 1 missing (5.weight); "
        "1 unexpected (stem.bias); 1 of another shape (0.weight [16, 1, 5, 5] for [16, 1, 3, 3])"
    )
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    with pytest.raises(
        TaskError, match=r"got 12 missing \(0.weight, 1.weight, 1.bias, 4.weight, and 8 more\); 1 unexp"
    ):
        load_weights(network, {"some.thing": torch.zeros(1)}, "x")


def test_a_network_in_space_does_not_take_weights_of_the_plane() -> None:
    with pytest.raises(TaskError, match=r"of another shape \(0.weight \[16, 1, 3, 3\] for \[16, 1, 3, 3, 3\], "):
        load_weights(network_of("cnn", shape=(8, 16, 16)), network_of("cnn").state_dict(), "x")


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.bin", "weights.ckpt", "weights"])
def test_a_pickle_is_never_opened(name: str, tmp_path: Path) -> None:
    path = tmp_path / name

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(f"{path}.sprung"),))  # type: ignore[return-value]  # a pickle may hold anything

    torch.save({"conv1.weight": Trap()}, path)
    with pytest.raises(
        TaskError, match=r"expected a .safetensors file; a checkpoint such as .* is a pickle and runs code"
    ):
        encoder_of(facts(1, 32, 32), path=str(path))
    assert not Path(f"{path}.sprung").exists()


def test_a_file_that_is_missing_or_no_safetensors_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"encoder.path no/where.safetensors: expected a .safetensors file, found none"):
        read_weights("no/where.safetensors")
    path = tmp_path / "disguised.safetensors"
    torch.save({}, path)
    with pytest.raises(TaskError, match=r"disguised.safetensors: expected safetensors, got: .*[Hh]eader"):
        read_weights(str(path))


def test_low_rank_updates_begin_at_the_checkpoints_output_and_alone_learn(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(network_of("resnet10", seed=7).state_dict(), path)
    statistics = facts(1, 32, 32)
    stream = stream_of(statistics)
    frozen = encoder_of(statistics, path=str(path), frozen=True)
    adapted = encoder_of(statistics, path=str(path), lora_rank=2, augment=False)
    with torch.no_grad():
        torch.testing.assert_close(adapted.train().features(stream), frozen.features(stream), atol=1e-5, rtol=1e-4)
    learnt = [name for name, p in adapted.backbone.named_parameters() if p.requires_grad]
    assert learnt
    assert all(name.endswith((".up", ".down")) for name in learnt)
    fixed = fixed_keys(adapted)
    before = {key: tensor.clone() for key, tensor in adapted.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in adapted.parameters() if p.requires_grad), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        adapted(stream).values.square().sum().backward()
        optimizer.step()
    after = adapted.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in fixed)
    assert all(not torch.equal(before[f"backbone.{name}"], after[f"backbone.{name}"]) for name in learnt)


def test_low_rank_updates_need_something_to_learn_beside() -> None:
    with pytest.raises(
        TaskError, match=r"encoder.lora_rank 4: expected pretrained weights .*, got a new resnet50; give path"
    ):
        encoder_of(facts(1, 32, 32), network="resnet50", lora_rank=4)


@pytest.mark.parametrize("config", [{}, {"frozen": True}, {"lora_rank": 2}])
@torch.no_grad()
def test_a_saved_encoder_is_built_without_the_file_that_it_began_with(
    config: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(network_of("resnet10").state_dict(), path)
    statistics = facts(1, 32, 32)
    chosen = EncoderConfig.model_validate({"path": str(path), **config})
    first = ImageEncoder(chosen, statistics, WIDTH, dropout=0.1).eval()
    path.unlink()
    second = ImageEncoder(chosen, statistics, WIDTH, dropout=0.1, saved=first.architecture).eval()
    second.load_state_dict(first.state_dict())
    stream = stream_of(statistics)
    assert torch.equal(first(stream).values, second(stream).values)
    with pytest.raises(TaskError, match="found none"):
        ImageEncoder(chosen, statistics, WIDTH, dropout=0.1)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (
            {"network": "vit"},
            (1, 160, 256, 256),
            r"at most 2048 patches, got \[160, 256, 256\] with 2560 of \[16, 16, 16\]",
        ),
        ({"network": "vit", "heads": 5}, (1, 32, 32), "expected heads that divide 192, got 5"),
        ({"network": "densenet121"}, (1, 24, 64, 64), r"at least 32 on every side, got \[24, 64, 64\]; resnet10, vit"),
        ({"network": "efficientnet-b0"}, (1, 31, 31), r"at least 32 on every side, got \[31, 31\]"),
        ({"frozen": True, "lora_rank": 2, "path": "x"}, (1, 32, 32), "expected a .safetensors file"),
    ],
)
def test_a_network_that_cannot_take_the_shape_says_so(
    config: dict[str, object], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        encoder_of(facts(*shape), **config)


@torch.no_grad()
def test_an_image_that_is_no_multiple_of_its_patch_is_filled_up_with_the_mean() -> None:
    network = network_of("vit", shape=(33, 40))
    filled = network_of("vit", shape=(40, 40))
    load_weights(filled, network.state_dict(), "here")
    images = torch.randn(2, 1, 33, 40)
    painted = torch.zeros(2, 1, 40, 40)
    painted[:, :, :33] = images
    torch.testing.assert_close(network(images), filled(painted))


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (6, 24, 48)])
def test_turned_images_keep_their_proportions(shape: tuple[int, ...]) -> None:
    height, width = shape[-2:]
    # The channels hold where each pixel was, in pixels: how they change from pixel to pixel is what was done to it.
    y, x = np.mgrid[:height, :width]
    where = torch.tensor(np.stack([x, y]), dtype=torch.float32)
    images = where.reshape(2, *(1,) * (len(shape) - 2), height, width).expand(2, *shape).expand(16, -1, *shape)
    with seeded(2):
        moved = jitter(images.contiguous())
    h, w, d = height // 2, width // 2, shape[0] // 2
    plane = (moved if len(shape) == 2 else moved[:, :, d]).numpy()
    across, down = plane[:, :, h, w + 1] - plane[:, :, h, w], plane[:, :, h + 1, w] - plane[:, :, h, w]  # (16, 2)
    np.testing.assert_allclose((across * down).sum(1), 0, atol=1e-3)
    np.testing.assert_allclose((across**2).sum(1), (down**2).sum(1), rtol=1e-3)
    turned = np.arctan2(across[:, 1], across[:, 0])
    assert 0.05 < np.abs(turned).max() <= 0.1 + 1e-3
    assert across[:, 0].min() > 0.5  # never mirrored
