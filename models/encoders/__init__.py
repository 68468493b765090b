"""Encoders: one file per stream kind, each from a `Stream` to tokens."""

from collections.abc import Callable

from torch import nn

from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.audio import build_audio_encoder
from models.encoders.image import ImageEncoder
from models.encoders.series import build_series_encoder
from models.encoders.table import build_table_encoder
from models.encoders.text import build_text_encoder


def build_encoder(config: EncoderConfig, statistics: StreamStatistics, width: int, dropout: float) -> nn.Module:
    """The encoder for a stream of this kind."""
    return ENCODERS[statistics.kind](config, statistics, width, dropout)


ENCODERS: dict[str, Callable[[EncoderConfig, StreamStatistics, int, float], nn.Module]] = {
    "table": lambda config, statistics, width, dropout: build_table_encoder(config, statistics, width, dropout=dropout),
    "series": lambda config, statistics, width, dropout: build_series_encoder(
        config, statistics, width, dropout=dropout
    ),
    "image": lambda config, statistics, width, dropout: ImageEncoder(config, statistics, width, dropout=dropout),
    "text": lambda config, statistics, width, dropout: build_text_encoder(config, statistics, width, dropout=dropout),
    "audio": lambda config, statistics, width, dropout: build_audio_encoder(config, statistics, width, dropout=dropout),
}

__all__ = ["ENCODERS", "build_encoder"]
