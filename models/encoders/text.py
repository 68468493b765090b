"""Token ids to tokens: a small reader of word sequences that is trained here, or a local transformers model."""

from collections.abc import Mapping
from typing import Any

from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.text_networks import TEXT_BODIES, WordEncoder
from models.encoders.text_transformer import TransformerEncoder


def build_text_encoder(
    config: EncoderConfig,
    statistics: StreamStatistics,
    width: int,
    *,
    dropout: float,
    saved: Mapping[str, Any] | None = None,
) -> WordEncoder | TransformerEncoder:
    """The text encoder that a task asks for. saved: see `TransformerEncoder`."""
    if config.network == "transformer":
        return TransformerEncoder(config, statistics, width, dropout=dropout, saved=saved)
    if config.network not in ("default", *TEXT_BODIES):
        raise TaskError(f"text encoder: expected one of {', '.join(TEXT_NETWORKS)}, got {config.network!r}")
    if config.path is not None or config.frozen or config.lora_rank:
        raise TaskError(
            f"text encoder {config.network!r}: expected no path, frozen or lora_rank, got some; they go with network: "
            "transformer, and this one is trained from the beginning"
        )
    return WordEncoder(config, statistics, width, dropout=dropout)


TEXT_NETWORKS = (*TEXT_BODIES, "transformer")
