"""Encoders: one file per stream kind, each from a `Stream` to tokens."""

from collections.abc import Callable

from torch import nn

from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.audio import AudioEncoder
from models.encoders.image import ImageEncoder
from models.encoders.series import SeriesEncoder
from models.encoders.table import TableEncoder
from models.encoders.text import build_text_encoder


def build_encoder(config: EncoderConfig, statistics: StreamStatistics, width: int, dropout: float) -> nn.Module:
    """The encoder for a stream of this kind."""
    return ENCODERS[statistics.kind](config, statistics, width, dropout)


ENCODERS: dict[str, Callable[[EncoderConfig, StreamStatistics, int, float], nn.Module]] = {
    "table": lambda config, statistics, width, dropout: TableEncoder(statistics, width, dropout=dropout),
    "series": lambda config, statistics, width, dropout: SeriesEncoder(statistics, width, dropout=dropout),
    "image": lambda config, statistics, width, dropout: ImageEncoder(config, statistics, width, dropout=dropout),
    "text": lambda config, statistics, width, dropout: build_text_encoder(config, statistics, width, dropout=dropout),
    "audio": lambda config, statistics, width, dropout: AudioEncoder(statistics, width, dropout=dropout),
}

__all__ = ["ENCODERS", "build_encoder"]
