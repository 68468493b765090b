"""A local transformers model over notes of any length: read in overlapping chunks, one token each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.backbone import Backbone, Projection
from models.encoders.tokens import Tokens

CHUNKS_AT_MOST = 16
OVERLAP = 8  # an eighth of a chunk was read in the one before, so that no sentence is only seen cut in two
ATTENTION = r"(?i)att"  # the layers that low-rank updates are for: the projections of attention, whatever their names


@dataclass(frozen=True)
class Chunks:
    """How T tokens are cut: `count` chunks of `length`, each beginning with the last `overlap` of the one before."""

    count: int
    length: int
    overlap: int

    @classmethod
    def of(cls, elements: int, most: int) -> "Chunks":
        """T tokens for a model that reads `most` at once. Raises TaskError where they are more than it can be given."""
        if elements <= most:
            return cls(1, elements, 0)
        overlap = most // OVERLAP
        count = 1 + -(-(elements - most) // (most - overlap))
        if count > CHUNKS_AT_MOST:
            limit = most + (CHUNKS_AT_MOST - 1) * (most - overlap)
            raise TaskError(
                f"max_tokens {elements:,}: expected at most {limit:,}, {CHUNKS_AT_MOST} chunks of the {most} tokens "
                "that the transformer reads at once; set max_tokens lower, or take network: words"
            )
        return cls(count, most, overlap)

    def cut(self, values: torch.Tensor) -> torch.Tensor:
        """(B, T) → (B, count, length), filled up with 0."""
        step = self.length - self.overlap
        whole = self.length + (self.count - 1) * step
        return nn.functional.pad(values, (0, whole - values.shape[1])).unfold(1, self.length, step)

    def present(self, observed: torch.Tensor) -> torch.Tensor:
        """observed (B, count, length) → (B, count): whether a chunk holds a token that the one before does not."""
        new = torch.ones(self.count, self.length, dtype=torch.bool, device=observed.device)
        new[1:, : self.overlap] = False
        return (observed & new).any(2)


class TransformerEncoder(nn.Module):
    """Each chunk passes the model between the special tokens that it expects; its tokens are averaged, then projected.

    The stream must have been tokenised by the same folder (`tokenizer:` of the task's stream). saved: what
    `architecture` gave of an encoder whose weights will be loaded: the folder is not needed then.
    """

    prefix: torch.Tensor
    suffix: torch.Tensor

    def __init__(
        self,
        config: EncoderConfig,
        statistics: StreamStatistics,
        width: int,
        *,
        dropout: float,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.frozen = config.frozen
        model = _model_of(saved["config"]) if saved is not None else _local_model(config.path)
        prefix, suffix = (saved["prefix"], saved["suffix"]) if saved is not None else _special_tokens(str(config.path))
        self.register_buffer("prefix", torch.tensor(prefix, dtype=torch.int64))
        self.register_buffer("suffix", torch.tensor(suffix, dtype=torch.int64))
        self.backbone = Backbone(model, config, ATTENTION)
        known = cast(Any, model.config)
        if statistics.vocabulary_size > known.vocab_size:
            raise TaskError(
                f"encoder.path {config.path}: expected token ids below {known.vocab_size:,}, got a tokenizer of "
                f"{statistics.vocabulary_size:,}; set the stream's tokenizer to the same folder and align again"
            )
        self.chunks = Chunks.of(statistics.elements, _positions(model, statistics.elements) - len(prefix) - len(suffix))
        self.size: int = known.hidden_size
        self.out = Projection(self.size, width, self.chunks.count, dropout=dropout)

    @property
    def architecture(self) -> dict[str, Any]:
        """What `saved` takes, as plain values: all that is needed of the folder beside the weights."""
        known = json.loads(cast(Any, self.backbone.network.config).to_json_string(use_diff=False))
        return {"config": known, "prefix": self.prefix.tolist(), "suffix": self.suffix.tolist()}

    def features(self, stream: Stream) -> torch.Tensor:
        """values (B, T) token ids → (B, 1, H), or of several chunks (B, 1, K * (H + 1)); 0 where there is no text.

        Each of several has one more number: 1 where it holds text. They are one row, as features of a stream as a
        whole are kept (`ingest.cohort`).
        """
        ids, observed = self.chunks.cut(stream.values), self.chunks.cut(stream.observed)
        present = self.chunks.present(observed)
        pooled = stream.hours.new_zeros(*present.shape, self.size)
        if bool(present.any()):
            pooled[present] = self._read(ids[present], observed[present]).to(pooled.dtype)
        if self.chunks.count == 1:
            return pooled
        return torch.cat([pooled, present[..., None].to(pooled.dtype)], -1).flatten(1)[:, None]

    def forward(self, stream: Stream) -> Tokens:
        """Token ids, or features computed before → tokens (B, K, D), one per chunk."""
        features = stream.values if stream.values.ndim == 3 else self.features(stream)
        present = stream.present[:, None]
        if self.chunks.count > 1:
            features = features.reshape(len(features), self.chunks.count, self.size + 1)
            features, present = features[..., :-1], present & (features[..., -1] > 0)
        return Tokens(self.out(features, stream.hours[:, :1].expand_as(present), present), present)

    def _read(self, ids: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """ids, observed (n, L), each with something observed → (n, H)."""
        end = (observed * torch.arange(1, observed.shape[1] + 1, device=ids.device)).amax(1)
        longest = int(end.max())
        ids, observed = (ids * observed)[:, :longest], observed[:, :longest]
        n, before, after = len(ids), len(self.prefix), len(self.suffix)
        sequence = torch.cat([self.prefix.expand(n, -1), ids, ids.new_zeros(n, after)], 1)
        seen = torch.cat([observed.new_ones(n, before), observed, observed.new_zeros(n, after)], 1)
        place = before + end[:, None] + torch.arange(after, device=ids.device)
        sequence = sequence.scatter(1, place, self.suffix.expand(n, -1))
        seen = seen.scatter(1, place, torch.ones_like(place, dtype=torch.bool))
        hidden = self.backbone(input_ids=sequence, attention_mask=seen.long()).last_hidden_state
        weight = observed[..., None].to(hidden.dtype)
        mean: torch.Tensor = (hidden[:, before : before + longest] * weight).sum(1) / weight.sum(1)
        return mean


def _local_model(path: str | None) -> nn.Module:
    if path is None or not Path(path).is_dir():
        raise TaskError(f"encoder.path: expected the folder of a transformers model, got {path!r}")
    transformers = _transformers()
    try:
        model: nn.Module = transformers.AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise TaskError(f"encoder.path {path}: expected a transformers model in safetensors, got: {error}") from None
    return model


def _model_of(known: Mapping[str, Any]) -> nn.Module:
    """A model of this configuration, with new weights."""
    transformers = _transformers()
    model: nn.Module = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**known))
    return model


def _special_tokens(path: str) -> tuple[list[int], list[int]]:
    """The ids that the folder's tokenizer puts before and after a text; none where the folder holds no tokenizer."""
    if not (Path(path) / "tokenizer.json").is_file():
        return [], []
    tokenizer = _transformers().AutoTokenizer.from_pretrained(path, local_files_only=True, use_fast=True)
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = list(encoded["input_ids"]), list(encoded["special_tokens_mask"])
    return ids[: special.index(0)], ids[len(special) - special[::-1].index(0) :]


def _positions(model: nn.Module, otherwise: int) -> int:
    """How many tokens the model reads at once. RoBERTa and its kin count places from behind the padding's id."""
    most = getattr(model.config, "max_position_embeddings", None)
    behind = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return otherwise if most is None or most < 1 else most - (0 if behind is None else behind + 1)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise TaskError("network 'transformer' needs the extra: pip install 'telltale[nlp]'") from None
    return transformers
