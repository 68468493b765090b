"""What an image or a sound looks like, in few numbers that no training has bent: layout, brightness and texture.

A trained network may see in noise what it knows from training; these numbers are of the pixels themselves.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics

GRID = {2: 8, 3: 4}  # parts per side, by the number of dimensions
LEVELS = (0.02, 0.25, 0.5, 0.75, 0.98)
PIXELS_AT_MOST = 65_536  # that the levels are taken from
LEAST = 0.01  # of a standard deviation: less texture than that is none


def appearance(stream: Stream, statistics: StreamStatistics) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(n, F) what each element looks like, and (n,) whose it is. None for kinds of streams that have no looks,
    and where nobody has the stream.

    Elements are images; of a sound, the whole recording. Where `values` are the features of a frozen network, they are
    the looks.
    """
    here = stream.observed_times
    owner = here.nonzero()[:, 0]
    if len(owner) == 0:
        return None
    if statistics.kind != "audio" and stream.values.ndim == 3 and stream.values.is_floating_point():
        return (stream.values[here], owner) if statistics.kind in ("image", "text") else None
    return LOOKS[statistics.kind](stream, statistics) if statistics.kind in LOOKS else None


def _image(stream: Stream, statistics: StreamStatistics) -> tuple[torch.Tensor, torch.Tensor]:
    here = stream.observed_times
    images = _standardised(stream.values[here].float(), statistics)
    if stream.observed.ndim > 2:
        images = images * stream.observed[here].to(images.dtype)
    dimensions = images.ndim - 2
    pool: Any = nn.functional.adaptive_avg_pool2d if dimensions == 2 else nn.functional.adaptive_avg_pool3d
    size = [min(GRID[dimensions], side) for side in images.shape[2:]]
    layout = pool(images, size)
    texture = (pool(images**2, size) - layout**2).clamp(min=0).sqrt()
    pixels = images.flatten(2)
    some = pixels[..., :: max(1, -(-pixels.shape[-1] // PIXELS_AT_MOST))]
    levels = torch.quantile(some, images.new_tensor(LEVELS), dim=2).permute(1, 2, 0)
    steps = [images.diff(dim=axis).abs().flatten(2).mean(2) for axis in range(2, images.ndim)]
    parts = [layout, (texture + LEAST).log(), levels, (torch.stack(steps, 2) + LEAST).log()]
    return torch.cat([part.flatten(1) for part in parts], 1), here.nonzero()[:, 0]


def _audio(stream: Stream, statistics: StreamStatistics) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of every band over time, its spread, and how much it changes from one frame to the next."""
    there = stream.present
    values, here = stream.values[there].float().flatten(2), stream.observed_times[there][..., None]
    values = (values - values.new_tensor(statistics.mean)) / values.new_tensor(statistics.std)
    count = here.sum(1).clamp(min=1)
    mean = (values * here).sum(1) / count
    spread = (((values - mean[:, None]) ** 2 * here).sum(1) / count).sqrt()
    pairs = here[:, 1:] & here[:, :-1]
    steps = (values.diff(dim=1).abs() * pairs).sum(1) / pairs.sum(1).clamp(min=1)
    return torch.cat([mean, (spread + LEAST).log(), (steps + LEAST).log()], 1), there.nonzero()[:, 0]


def _standardised(images: torch.Tensor, statistics: StreamStatistics) -> torch.Tensor:
    shape = (1, -1) + (1,) * (images.ndim - 2)
    return (images - images.new_tensor(statistics.mean).reshape(shape)) / images.new_tensor(statistics.std).reshape(
        shape
    )


LOOKS: dict[str, Callable[[Stream, StreamStatistics], tuple[torch.Tensor, torch.Tensor]]] = {
    "image": _image,
    "audio": _audio,
}
