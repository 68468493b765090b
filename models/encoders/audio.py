"""Log-mel frames and waveforms to tokens: convolutions over time, then counting and averaging pools."""

from collections.abc import Callable

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.audio_frames import Halving
from models.encoders.audio_networks import LogMelCnn, RecurrentSound
from models.encoders.tokens import AttentionPool, Standardise, SumPool, Tokens

FRAMES = 256  # a waveform is halved in length until it has at most so many


def build_audio_encoder(
    config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float
) -> nn.Module:
    """The audio encoder that a task asks for."""
    name = "convolution" if config.network == "default" else config.network
    if name not in AUDIO_NETWORKS:
        raise TaskError(f"audio encoder: expected one of {', '.join(AUDIO_NETWORKS)}, got {config.network!r}")
    return AUDIO_NETWORKS[name](config, statistics, width, dropout)


class AudioEncoder(nn.Module):
    """A one-dimensional convolutional network over the frames of a log-mel spectrogram, or the samples of a waveform.

    A waveform, whose features have names (its leads), first passes convolutions of stride 2, so that a frame sees
    enough of it: of an electrocardiogram at 100 Hz about a third of a second.
    """

    def __init__(self, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        self.standardise = Standardise(statistics.mean, statistics.std)
        at_most = FRAMES if statistics.names else statistics.elements
        self.shorten = Halving(statistics.feature_shape[0], width, statistics.elements, at_most, kernel_size=9)
        self.first = nn.Conv1d(self.shorten.bands, width, kernel_size=5, padding=2)
        self.second = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.attend = AttentionPool(width, 1)
        self.count = SumPool(width, 1, typical_elements=self.shorten.frames)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, mels or leads) → tokens (B, 2, D)."""
        there = stream.observed if stream.observed.ndim == 3 else stream.observed[..., None]
        signal = (self.standardise(stream.values.masked_fill(~there, 0.0)) * there).transpose(1, 2)
        signal, observed = self.shorten(signal, stream.observed_times)
        hidden = nn.functional.gelu(self.first(signal)) * observed[:, None].to(signal.dtype)
        hidden = hidden + nn.functional.gelu(self.second(hidden))
        frames = self.dropout(self.norm(hidden.transpose(1, 2)))
        values = torch.cat([self.attend(frames, observed), self.count(frames, observed)], 1)
        present = observed.any(1, keepdim=True).expand(-1, 2)
        return Tokens(values * present[..., None], present)


AUDIO_NETWORKS: dict[str, Callable[[EncoderConfig, StreamStatistics, int, float], nn.Module]] = {
    "convolution": lambda config, statistics, width, dropout: AudioEncoder(statistics, width, dropout=dropout),
    "log-mel-cnn": lambda config, statistics, width, dropout: LogMelCnn(config, statistics, width, dropout=dropout),
    "recurrent": lambda config, statistics, width, dropout: RecurrentSound(config, statistics, width, dropout=dropout),
}
