"""Log-mel frames to tokens: convolutions over time, then counting and averaging pools."""

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.tokens import AttentionPool, Standardise, SumPool, Tokens


class AudioEncoder(nn.Module):
    """A one-dimensional convolutional network over the frames of a log-mel spectrogram."""

    def __init__(self, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        bands = statistics.feature_shape[0]
        self.standardise = Standardise(statistics.mean, statistics.std)
        self.first = nn.Conv1d(bands, width, kernel_size=5, padding=2)
        self.second = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.attend = AttentionPool(width, 1)
        self.count = SumPool(width, 1, typical_elements=statistics.elements)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, mels) → tokens (B, 2, D)."""
        observed = stream.observed if stream.observed.ndim == 2 else stream.observed.any(2)
        standard = self.standardise(stream.values) * observed[..., None]
        hidden = nn.functional.gelu(self.first(standard.transpose(1, 2))) * observed[:, None].to(standard.dtype)
        hidden = hidden + nn.functional.gelu(self.second(hidden))
        frames = self.dropout(self.norm(hidden.transpose(1, 2)))
        values = torch.cat([self.attend(frames, observed), self.count(frames, observed)], 1)
        present = observed.any(1, keepdim=True).expand(-1, 2)
        return Tokens(values * present[..., None], present)
