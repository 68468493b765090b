"""Log-mel frames and waveforms to tokens: convolutions over time, then counting and averaging pools."""

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.tokens import AttentionPool, Standardise, SumPool, Tokens

FRAMES = 256  # a waveform is halved in length until it has at most so many


class AudioEncoder(nn.Module):
    """A one-dimensional convolutional network over the frames of a log-mel spectrogram, or the samples of a waveform.

    A waveform, whose features have names (its leads), first passes convolutions of stride 2, so that a frame sees
    enough of it: of an electrocardiogram at 100 Hz about a third of a second.
    """

    def __init__(self, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        bands, frames = statistics.feature_shape[0], statistics.elements
        self.standardise = Standardise(statistics.mean, statistics.std)
        self.shorten = nn.ModuleList()
        while statistics.names and frames > FRAMES:
            self.shorten.append(nn.Conv1d(bands, width, kernel_size=9, stride=2, padding=4))
            bands, frames = width, -(-frames // 2)
        self.first = nn.Conv1d(bands, width, kernel_size=5, padding=2)
        self.second = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.attend = AttentionPool(width, 1)
        self.count = SumPool(width, 1, typical_elements=frames)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, mels or leads) → tokens (B, 2, D)."""
        there = stream.observed if stream.observed.ndim == 3 else stream.observed[..., None]
        signal = (self.standardise(stream.values) * there).transpose(1, 2)
        observed = stream.observed_times
        for convolution in self.shorten:
            observed = nn.functional.max_pool1d(observed[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
            signal = nn.functional.gelu(convolution(signal)) * observed[:, None]
        hidden = nn.functional.gelu(self.first(signal)) * observed[:, None].to(signal.dtype)
        hidden = hidden + nn.functional.gelu(self.second(hidden))
        frames = self.dropout(self.norm(hidden.transpose(1, 2)))
        values = torch.cat([self.attend(frames, observed), self.count(frames, observed)], 1)
        present = observed.any(1, keepdim=True).expand(-1, 2)
        return Tokens(values * present[..., None], present)
