"""Networks over sound beside the default one: convolutions over the log-mel picture, and a recurrent one."""

from itertools import pairwise

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.audio_frames import Frames, Halving, halved
from models.encoders.readout import Readout
from models.encoders.tokens import AttentionPool, SumPool, Tokens

PICTURE_CHANNELS = (16, 32, 64)
RECURRENT_FRAMES = 256  # a recording is halved in length until it has at most so many


class LogMelCnn(nn.Module):
    """Two-dimensional convolutions over time and mel bands, so that a sound is known again at another pitch.

    Three times a convolution of stride 2 in both directions; frames of what is left are pooled by attention and by
    gated sums. Hidden frames are 0 after every layer. Normalisation is over the channels of one place (LayerNorm of
    ConvNeXt, Liu et al. 2022), so no case depends on its company, nor on how long the others are.
    """

    def __init__(self, config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        if statistics.names:
            raise TaskError(
                f"audio encoder log-mel-cnn: expected log-mel frames, got a waveform of {len(statistics.names)} leads; "
                "take network convolution or recurrent, or form: log-mel"
            )
        self.frames = Frames(statistics, augment=config.augment)
        sizes = (1, *PICTURE_CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in PICTURE_CHANNELS)
        bands, times = statistics.feature_shape[0], statistics.elements
        for _ in PICTURE_CHANNELS:
            bands, times = -(-bands // 2), -(-times // 2)
        self.project = nn.Sequential(nn.Linear(sizes[-1] * bands, width), nn.LayerNorm(width), nn.Dropout(dropout))
        self.attend = AttentionPool(width, 1)
        self.count = SumPool(width, 1, typical_elements=times)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, mels) → tokens (B, 2, D)."""
        observed = stream.observed_times
        picture = self.frames(stream)[:, None]  # (B, 1, T, mels)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            observed = halved(observed)
            picture = norm(convolution(picture).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            picture = nn.functional.gelu(picture) * observed[:, None, :, None]
        frames = self.project(picture.transpose(1, 2).flatten(2))
        values = torch.cat([self.attend(frames, observed), self.count(frames, observed)], 1)
        present = observed.any(1, keepdim=True).expand(-1, 2)
        return Tokens(values * present[..., None], present)


class RecurrentSound(nn.Module):
    """Convolutions, then a gated recurrent unit (Cho et al. 2014) over the frames that were heard.

    Frames that are hidden or beyond the end do not advance it. A waveform is halved in length as often as it takes.
    """

    def __init__(self, config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        self.frames = Frames(statistics, augment=config.augment)
        kernel_size = 9 if statistics.names else 5
        self.shorten = Halving(
            statistics.feature_shape[0], width, statistics.elements, RECURRENT_FRAMES, kernel_size=kernel_size
        )
        self.first = nn.Conv1d(self.shorten.bands, width, kernel_size=5, padding=2)
        layers = config.layers or 1
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(width, width, layers, batch_first=True, dropout=between)
        self.readout = Readout(width, width, dropout=dropout)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T, mels or leads) → tokens (B, 2, D)."""
        signal, observed = self.shorten(self.frames(stream).transpose(1, 2), stream.observed_times)
        heard = nn.functional.gelu(self.first(signal)).transpose(1, 2)
        order = (~observed).long().argsort(dim=1, stable=True)  # what was heard to the front
        heard = heard.gather(1, order[..., None].expand_as(heard))
        tokens: Tokens = self.readout(self.gru(heard)[0], observed.gather(1, order))
        return tokens
