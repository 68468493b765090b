"""Token ids to tokens: a small trainable reader of word sequences, or a local transformers model."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.tokens import AttentionPool, SumPool, Tokens


class WordEncoder(nn.Module):
    """Word vectors, two convolutions (so that "no rales" differs from "rales"), and counting and attention pools."""

    def __init__(self, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(statistics.vocabulary_size, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.3)
        self.first = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.second = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.attend = AttentionPool(width, 1)
        self.count = SumPool(width, 1, typical_elements=statistics.elements)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T) token ids → tokens (B, 2, D)."""
        longest = int(stream.observed.any(0).nonzero().max()) + 1 if bool(stream.observed.any()) else 1
        observed = stream.observed[:, :longest]
        words = self.words(stream.values[:, :longest]) * observed[..., None]
        # Padding stays 0 throughout, so that a note reads the same in any company.
        there = observed[:, None].to(words.dtype)
        hidden = self.dropout(words).transpose(1, 2)
        hidden = (hidden + nn.functional.gelu(self.first(hidden))) * there
        hidden = hidden + nn.functional.gelu(self.second(hidden))
        elements = self.dropout(self.norm(hidden.transpose(1, 2)))
        values = torch.cat([self.attend(elements, observed), self.count(elements, observed)], 1)
        present = observed.any(1, keepdim=True).expand(-1, 2)
        return Tokens(values * present[..., None], present)


class TransformerEncoder(nn.Module):
    """A pretrained transformers model from a local folder, mean-pooled over the observed tokens, then projected.

    The stream must have been tokenised by the same folder (`tokenizer:` of the task's stream).
    """

    def __init__(self, config: EncoderConfig, width: int, *, dropout: float) -> None:
        super().__init__()
        self.frozen = config.frozen
        self.backbone = _local_transformer(config.path)
        self.backbone.requires_grad_(not config.frozen)
        self.size: int = cast(Any, self.backbone.config).hidden_size
        self.out = nn.Sequential(nn.LayerNorm(self.size), nn.Dropout(dropout), nn.Linear(self.size, width))

    def features(self, stream: Stream) -> torch.Tensor:
        """values (B, T) token ids → (B, 1, H); 0 where there is no text."""
        here = stream.present
        pooled = stream.hours.new_zeros(len(here), 1, self.size)
        if bool(here.any()):
            ids, observed = stream.values[here], stream.observed[here]
            hidden = self.backbone(input_ids=ids, attention_mask=observed.long()).last_hidden_state
            weight = observed[..., None].to(hidden.dtype)
            pooled[here, 0] = ((hidden * weight).sum(1) / weight.sum(1)).to(pooled.dtype)
        return pooled

    def forward(self, stream: Stream) -> Tokens:
        """Token ids, or features (B, 1, H) computed before → tokens (B, 1, D)."""
        if stream.values.ndim == 3:
            features = stream.values
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                features = self.features(stream)
        present = stream.present[:, None]
        return Tokens(self.out(features) * present[..., None], present)

    def train(self, mode: bool = True) -> "TransformerEncoder":
        """A frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


def _local_transformer(path: str | None) -> nn.Module:
    if path is None or not Path(path).is_dir():
        raise TaskError(f"encoder.path: expected the folder of a transformers model, got {path!r}")
    try:
        from transformers import AutoModel
    except ImportError:
        raise TaskError("network 'transformer' needs the extra: pip install 'telltale[nlp]'") from None
    try:
        model: nn.Module = AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise TaskError(f"encoder.path {path}: expected a transformers model in safetensors, got: {error}") from None
    return model


def build_text_encoder(
    config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float
) -> WordEncoder | TransformerEncoder:
    """The text encoder that a task asks for."""
    if config.network in ("default", "words"):
        return WordEncoder(statistics, width, dropout=dropout)
    if config.network == "transformer":
        return TransformerEncoder(config, width, dropout=dropout)
    raise TaskError(f"text encoder: expected words or transformer, got {config.network!r}")
