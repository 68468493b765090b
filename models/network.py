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
    """Streams → tokens → logits: the weighed evidence of each stream by itself, plus what the fusion adds to it.

    A stream's evidence is what its tokens say of the log-odds beyond the prior. Evidence of independent streams adds
    (naive Bayes); the weights, which depend on what is absent, make up for streams that say the same, and the fusion
    adds what only streams together say. It begins at nothing, so that few cases suffice for a sound model and many
    for a subtle one.

    Encoders see one stream each, so tokens computed once serve any coalition of streams: `encode`, then `fuse` with
    as many masks as wanted.
    """

    prior: torch.Tensor

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        *,
        width: int,
        members: int,
        prior_logit: float,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.head = head
        self.alone = nn.ModuleDict({name: nn.Linear(width, 1) for name in encoders})
        self.weigh = EvidenceWeights(len(encoders), members)
        self.register_buffer("prior", torch.tensor(prior_logit))

    @property
    def stream_names(self) -> list[str]:
        """The streams, in the order of every mask."""
        return list(self.encoders)

    def encode(self, streams: Mapping[str, Stream]) -> dict[str, Tokens]:
        """Each stream's tokens."""
        return {name: encoder(streams[name]) for name, encoder in self.encoders.items()}

    def fuse(self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, members) from tokens, with only the streams that keep (B, M) bool allows."""
        return self.fuse_and_embed(tokens, keep)[0]

    def fuse_and_embed(
        self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, members), and the fused vectors (B, members, D) behind them."""
        parts = [tokens[name] for name in self.encoders]
        if keep is not None:
            parts = [part.keep(keep[:, i]) for i, part in enumerate(parts)]
        evidence = torch.cat([self.alone[n](part.mean()) for n, part in zip(self.encoders, parts, strict=True)], 1)
        present = torch.stack([part.present.any(1) for part in parts], 1)
        fused: torch.Tensor = self.fusion(parts)
        return self.prior + self.weigh(evidence, present) + self.head(fused), fused

    def read_alone(self, name: str, tokens: Tokens) -> torch.Tensor:
        """(B,) the logits that one stream's tokens give by themselves."""
        logits: torch.Tensor = self.prior + self.alone[name](tokens.mean())[:, 0]
        return logits

    def forward(self, streams: Mapping[str, Stream], keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, members)."""
        return self.fuse(self.encode(streams), keep)


class EvidenceWeights(nn.Module):
    """How much each stream's own evidence counts, given what is absent: all of it at first."""

    def __init__(self, streams: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, streams))
        self.when_absent = nn.Parameter(torch.zeros(members, streams, streams))

    def forward(self, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """evidence (B, M), present (B, M) bool → (B, members)."""
        absent = (~present).to(evidence.dtype)
        weight = self.weight + torch.einsum("bn,msn->bms", absent, self.when_absent)
        return torch.einsum("bms,bs->bm", weight, evidence * present)


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
    network_head = HEADS[head](config.width, config.members)
    return Network(encoders, fusion, network_head, width=config.width, members=config.members, prior_logit=prior)
