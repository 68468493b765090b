"""Networks that make images and sounds out of noise."""

from typing import Any

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics

NOISE = 64
FIRST_SIDE = 4  # doubled until the picture is covered
FEWEST, MOST_PLANES = 16, 256
MOST_DOUBLINGS = 6
FAREST = 5.0  # standard deviations: beyond that encoders clip, too


class Generator(nn.Module):
    """Noise (n, NOISE) → pictures (n, channels, *shape) in z-scores, after Radford et al. 2016, sec. 3.

    Sides are doubled and then convolved, where theirs convolves with fractional strides (which leaves a chequered
    pattern, Odena et al. 2016); groups are normalised, since a batch may be small. What is too large is cut off.
    """

    def __init__(self, channels: int, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape
        doublings = 0
        while doublings < MOST_DOUBLINGS and min(shape) >= FIRST_SIDE * 2 ** (doublings + 1):
            doublings += 1
        conv: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(shape)]
        self.first = [-(-side // 2**doublings) for side in shape]
        planes = min(MOST_PLANES, FEWEST * 2**doublings)
        self.planes = planes
        self.enter = nn.Linear(NOISE, planes * int(torch.tensor(self.first).prod()))
        layers: list[nn.Module] = [nn.GroupNorm(8, planes), nn.ReLU()]
        for _ in range(doublings):
            fewer = max(FEWEST, planes // 2)
            layers += [
                nn.Upsample(scale_factor=2),
                conv(planes, fewer, 3, padding=1, bias=False),
                nn.GroupNorm(8, fewer),
                nn.ReLU(),
            ]
            planes = fewer
        self.layers = nn.Sequential(*layers, conv(planes, channels, 3, padding=1), Grain(channels))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(n, NOISE) → (n, channels, *shape)."""
        picture = self.layers(self.enter(noise).reshape(len(noise), self.planes, *self.first))
        whole = picture[(slice(None), slice(None), *(slice(side) for side in self.shape))]
        bounded: torch.Tensor = FAREST * (whole / FAREST).tanh()
        return bounded


class Grain(nn.Module):
    """Noise of its own at every place, as loud as is learnt: a sensor's noise should not betray a picture.

    Karras et al. 2019, "A style-based generator architecture", sec. 3.2, in the last layer alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loudness = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """(n, channels, *shape) → the same shape."""
        loudness = self.loudness.reshape(-1, *(1,) * (picture.ndim - 2))
        return picture + loudness * torch.randn_like(picture)


class StreamGenerator(nn.Module):
    """Streams of noise that differ from real ones in their values alone: times and what is observed are the real ones'.

    A log-mel spectrogram is a picture of one channel, a waveform a line with a channel per lead.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, statistics: StreamStatistics) -> None:
        super().__init__()
        self.kind = statistics.kind if statistics.kind == "image" else ("waveform" if statistics.names else "log-mel")
        shape = list(statistics.feature_shape)
        if self.kind == "image":
            trailing = (1,) * (len(shape) - 1)
            self.generator = Generator(shape[0], shape[1:])
        else:
            trailing = ()
            waveform = self.kind == "waveform"
            frames = statistics.elements
            self.generator = Generator(shape[0], [frames]) if waveform else Generator(1, [frames, shape[0]])
        self.register_buffer("mean", torch.tensor(statistics.mean).reshape(-1, *trailing), persistent=False)
        self.register_buffer("std", torch.tensor(statistics.std).reshape(-1, *trailing), persistent=False)

    def forward(self, like: Stream) -> Stream:
        """As many cases as in `like`, in physical units."""
        batch, elements = like.hours.shape
        pictures = batch * elements if self.kind == "image" else batch
        made = self.generator(torch.randn(pictures, NOISE, device=like.hours.device))
        if self.kind == "waveform":
            made = made.transpose(1, 2)
        values = made.reshape(like.values.shape) * self.std + self.mean
        there = like.observed.reshape(*like.observed.shape, *(1,) * (values.ndim - like.observed.ndim))
        return Stream(values * there, like.observed, like.hours)
