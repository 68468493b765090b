"""What the networks over sound begin with: standardised frames, and convolutions that halve their number."""

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.audio_masks import spec_augment
from models.encoders.tokens import Standardise


class Frames(nn.Module):
    """Standardised frames or samples, 0 where not observed; SpecAugment in training where `augment`.

    Only log-mel frames are augmented: a waveform's features are leads, of which none may stand for another.
    """

    def __init__(self, statistics: StreamStatistics, *, augment: bool) -> None:
        super().__init__()
        self.standardise = Standardise(statistics.mean, statistics.std)
        self.augment = augment and not statistics.names

    def forward(self, stream: Stream) -> torch.Tensor:
        """values (B, T, mels or leads) → (B, T, mels or leads)."""
        there = stream.observed if stream.observed.ndim == 3 else stream.observed[..., None]
        frames: torch.Tensor = self.standardise(stream.values.masked_fill(~there, 0.0)) * there
        return spec_augment(frames, stream.observed_times) if self.training and self.augment else frames


class Halving(nn.ModuleList):
    """Convolutions of stride 2 until at most so many frames are left, each frame seen where any of its parts was."""

    def __init__(self, bands: int, width: int, frames: int, at_most: int, *, kernel_size: int) -> None:
        super().__init__()
        self.bands, self.frames = bands, frames
        while self.frames > at_most:
            self.append(nn.Conv1d(self.bands, width, kernel_size, stride=2, padding=kernel_size // 2))
            self.bands, self.frames = width, -(-self.frames // 2)

    def forward(self, signal: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """signal (B, bands, T), observed (B, T) → both with fewer T."""
        for convolution in self:
            observed = halved(observed)
            signal = nn.functional.gelu(convolution(signal)) * observed[:, None]
        return signal, observed


def halved(observed: torch.Tensor) -> torch.Tensor:
    """observed (B, T) → (B, ceil(T / 2)): whether either of two neighbours is."""
    return nn.functional.max_pool1d(observed[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
