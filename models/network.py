"""The network: encoders, a fusion and a head. "Absent" is a state it knows, for whole streams and single elements."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import Statistics
from models.config import ModelConfig
from models.encoders import build_encoder
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS
from models.heads import HEADS


class Network(nn.Module):
    """Streams → tokens → one fused vector per member → logits.

    Encoders see one stream each, so tokens computed once serve any coalition of streams: `encode`, then `fuse` with
    as many masks as wanted.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], fusion: nn.Module, head: nn.Module, width: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.head = head
        self.alone = nn.ModuleDict({name: nn.Linear(width, 1) for name in encoders})

    @property
    def stream_names(self) -> list[str]:
        """The streams, in the order of every mask."""
        return list(self.encoders)

    def encode(self, streams: Mapping[str, Stream]) -> dict[str, Tokens]:
        """Each stream's tokens."""
        return {name: encoder(streams[name]) for name, encoder in self.encoders.items()}

    def fuse(self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, members) from tokens, with only the streams that keep (B, M) bool allows."""
        return self.read(self.embed(tokens, keep))

    def embed(self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None) -> torch.Tensor:
        """The fused vectors (B, members, D)."""
        parts = [tokens[name] for name in self.encoders]
        if keep is not None:
            parts = [part.keep(keep[:, i]) for i, part in enumerate(parts)]
        fused: torch.Tensor = self.fusion(parts)
        return fused

    def read(self, fused: torch.Tensor) -> torch.Tensor:
        """Logits (B, members) from fused vectors."""
        logits: torch.Tensor = self.head(fused)
        return logits

    def read_alone(self, name: str, tokens: Tokens) -> torch.Tensor:
        """(B,) the logits that one stream's tokens give by themselves."""
        logits: torch.Tensor = self.alone[name](tokens.mean())[:, 0]
        return logits

    def forward(self, streams: Mapping[str, Stream], keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, members)."""
        return self.fuse(self.encode(streams), keep)


def build_network(config: ModelConfig, statistics: Statistics, head: str = "binary") -> Network:
    """A network with new weights (and pretrained ones where the configuration names them)."""
    if config.fusion.kind not in FUSIONS:
        raise TaskError(f"fusion: expected one of {', '.join(FUSIONS)}, got {config.fusion.kind!r}")
    if config.width % config.fusion.heads:
        raise TaskError(f"model.width {config.width}: expected a multiple of fusion.heads {config.fusion.heads}")
    encoders = {
        name: build_encoder(config.encoders[name], stream, config.width, config.dropout)
        for name, stream in statistics.streams.items()
    }
    fusion = FUSIONS[config.fusion.kind](config.fusion, config.width, len(encoders), config.members, config.dropout)
    prior = math.log(statistics.prevalence / (1 - statistics.prevalence))
    return Network(encoders, fusion, HEADS[head](config.width, config.members, prior), config.width)
