"""Images to one token each: a network of `image_networks` run on those that are there, then a projection."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.backbone import Backbone, Projection
from models.encoders.block_projection import BlockProjection
from models.encoders.image_networks import Built, build_image_network
from models.encoders.image_weights import load_weights, read_weights
from models.encoders.tokens import Standardise, Tokens


class ImageEncoder(nn.Module):
    """A backbone from (n, C, *shape) to (n, F), run only on the images that are there, then a projection.

    Where `observed` has the image's shape, unobserved pixels become the training mean. A frozen backbone's features
    (B, T, F) may be given in place of the images (B, T, C, *shape). With T > 1 a token also says its place and age.
    saved: what `architecture` gave of an encoder whose weights will be loaded: no pretrained ones are read.
    """

    def __init__(
        self,
        config: EncoderConfig,
        statistics: StreamStatistics,
        width: int,
        *,
        dropout: float,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.frozen = config.frozen
        channels, *shape = statistics.feature_shape
        built = build_image_network(config, channels, shape)
        _begin(built, config, pretrained=saved is None)
        # Channels last suits convolutions on most devices: 1.7 times as fast for efficientnet-lite0 on a CPU core.
        self.layout = torch.channels_last if len(shape) == 2 else torch.contiguous_format
        built.network.to(memory_format=self.layout)  # type: ignore[call-overload]  # absent from its stub
        self.backbone = Backbone(built.network, config)
        self.augment = config.augment and not config.frozen
        self.size = built.size
        mean, std = built.scale or (statistics.mean, statistics.std)
        self.standardise = Standardise(mean, std, trailing=len(shape))
        self.plain = built.blocks[-1] if built.blocks else 0  # features at the end that stand for themselves
        self.out: nn.Module = (
            BlockProjection(built.blocks, width)
            if built.blocks
            else Projection(self.size, width, statistics.elements, dropout=dropout, ages=True)
        )

    @property
    def architecture(self) -> dict[str, Any]:
        """What `saved` takes: a configuration and the statistics say all there is to say of an image network."""
        return {}

    def features(self, stream: Stream) -> torch.Tensor:
        """values (B, T, C, *shape) → (B, T, F), 0 where there is no image."""
        here = stream.observed_times
        out = stream.hours.new_zeros(*here.shape, self.size)
        if bool(here.any()):
            images = self.standardise(stream.values[here])
            if stream.observed.ndim > 2:
                images = images * stream.observed[here].to(images.dtype)
            if self.training and self.augment:
                images = jitter(images)
            out[here] = self._seen(images.contiguous(memory_format=self.layout)).to(out.dtype)
        return out

    def forward(self, stream: Stream) -> Tokens:
        """Images or features → tokens (B, T, D)."""
        features = stream.values if stream.values.ndim == 3 else self.features(stream)
        present = stream.observed_times
        return Tokens(self.out(features, stream.hours, present), present)

    def _seen(self, images: torch.Tensor) -> torch.Tensor:
        # One image alone may leave batch normalisation a single number per channel, which has no variance.
        alone = self.training and len(images) == 1
        self.backbone.train(self.training and not alone)
        features: torch.Tensor = self.backbone(images)
        self.backbone.train(self.training)
        return features


def _begin(built: Built, config: EncoderConfig, *, pretrained: bool) -> None:
    """Give a new network the weights it begins with: of `path`, else those that come with it."""
    if config.lora_rank and config.path is None and built.weights is None:
        raise TaskError(
            f"encoder.lora_rank {config.lora_rank}: expected pretrained weights to learn beside, got a new "
            f"{config.network}; give path, a safetensors file, or train it whole"
        )
    if not pretrained:
        return
    if config.path is not None:
        load_weights(built.network, read_weights(config.path), f"encoder.path {config.path}")
    elif built.weights is not None:
        load_weights(built.network, built.weights(), f"network {config.network}")


def jitter(images: torch.Tensor) -> torch.Tensor:
    """Small random shifts, turns, scales and changes of exposure, each image its own, on the images' device.

    images (n, C, H, W) or (n, C, D, H, W), standardised; volumes are turned in the plane of their slices. Nothing is
    ever mirrored: which side something is on matters.
    """
    n, dims = len(images), images.ndim - 2
    like: dict[str, Any] = {"device": images.device, "dtype": torch.float32}
    matrix = torch.zeros(n, dims, dims + 1, **like)
    scale = 1 + 0.16 * (torch.rand(n, **like) - 0.5)
    angle = 0.2 * (torch.rand(n, **like) - 0.5)
    for axis in range(dims):
        matrix[:, axis, axis] = scale
    # Coordinates run from -1 to 1 on either side: without its proportions a turned rectangle would be sheared.
    height_to_width = images.shape[-2] / images.shape[-1]
    matrix[:, 0, 0], matrix[:, 1, 1] = scale * angle.cos(), scale * angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -scale * angle.sin() * height_to_width, scale * angle.sin() / height_to_width
    matrix[:, :, dims] = 0.12 * (torch.rand(n, dims, **like) - 0.5)
    grid = nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = nn.functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    shape = (n,) + (1,) * (dims + 1)
    gain = 1 + 0.2 * (torch.rand(shape, **like) - 0.5)
    return (moved * gain + 0.2 * (torch.rand(shape, **like) - 0.5)).to(images.dtype)
