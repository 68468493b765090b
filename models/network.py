"""The network: encoders, a fusion, a readout. "Absent" is a state it knows, for whole streams and single elements."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import Statistics
from ingest.task import Task
from models.config import ModelConfig
from models.encoders import build_encoder
from models.encoders.featured import featured
from models.encoders.tokens import Tokens
from models.evidence import EVIDENCE
from models.flat.expert import ColumnExperts, build_experts
from models.fusions import FUSIONS
from models.objectives import Objective, build_objective

# Late fusions have no vector that all streams share: only how their evidence is joined.
LATE = {"late-average": "mean", "product-of-experts": "sum"}


class Network(nn.Module):
    """Streams → tokens → logits: the evidence of each stream by itself, plus what the fusion adds to it.

    A stream's evidence is what its tokens say of the logits beyond the prior. Evidence of independent streams adds
    (naive Bayes); the weights, which depend on what is absent, make up for streams that say the same, and the fusion
    adds what only streams together say. It begins at nothing, so that few cases suffice for a sound model and many
    for a subtle one. A configuration may leave either part out (`models.config.ModelConfig.evidence`, `LATE`). Where
    there are experts that read columns, the logits are a mean of the network's and theirs.

    Encoders see one stream each, so tokens computed once serve any coalition of streams: `encode`, then `fuse` with
    as many masks as wanted. O is the number of logits that the objective reads.
    """

    prior: torch.Tensor

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        evidence: nn.Module,
        fusion: nn.Module | None,
        objective: Objective,
        experts: ColumnExperts | None = None,
        *,
        width: int,
        members: int,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.alone = nn.ModuleDict({name: nn.Linear(width, objective.outputs) for name in encoders})
        self.evidence = evidence
        self.fusion = fusion
        self.readout = Readout(width, members, objective.outputs)
        self.objective = cast(nn.Module, objective)
        self.experts = experts
        self.width, self.members = width, members
        self.register_buffer("prior", torch.zeros(objective.outputs))

    @property
    def stream_names(self) -> list[str]:
        """The streams, in the order of every mask."""
        return list(self.encoders)

    @property
    def meaning(self) -> Objective:
        """The objective, by its own type."""
        return cast(Objective, self.objective)

    @torch.no_grad()
    def fit_prior(self, outcome: torch.Tensor) -> None:
        """Set the logits that hold without any stream from the training outcomes (N, K)."""
        self.prior.copy_(self.meaning.prior(outcome).to(self.prior.device))

    def encode(self, streams: Mapping[str, Stream]) -> dict[str, Tokens]:
        """Each stream's tokens."""
        return {name: self.encode_stream(name, streams[name]) for name in self.encoders}

    def encode_stream(self, name: str, stream: Stream) -> Tokens:
        """The tokens of one stream, with its columns where experts read them."""
        encoder = self.encoders[name]
        if self.experts is None or not self.experts.counts:
            return cast(Tokens, encoder(stream))
        columns = self.experts.flat.of(name)
        if columns.kind == "features":
            stream = featured(encoder, stream)  # once for both
        tokens = cast(Tokens, encoder(stream))
        return replace(tokens, columns=columns(stream))

    def fuse(self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, members, O) from tokens, with only the streams that keep (B, M) bool allows."""
        return self.fuse_and_embed(tokens, keep)[0]

    def fuse_and_embed(
        self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, members, O), and the fused vectors (B, members, D) behind them."""
        parts = [tokens[name] for name in self.encoders]
        if keep is not None:
            parts = [part.keep(keep[:, i]) for i, part in enumerate(parts)]
        evidence = torch.stack([self.alone[n](part.mean()) for n, part in zip(self.encoders, parts, strict=True)], 1)
        present = torch.stack([part.present.any(1) for part in parts], 1)
        logits: torch.Tensor = self.prior + self.evidence(evidence, present)
        if self.fusion is None:
            fused = torch.stack([part.mean() for part in parts], 1).mean(1)[:, None].expand(-1, self.members, -1)
        else:
            fused = self.fusion(parts)
            logits = logits + self.readout(fused)
        if self.experts is not None and self.experts.counts:
            logits = self.experts(logits, torch.cat([part.columns for part in parts], 1))
        return logits, fused

    def read_alone(self, name: str, tokens: Tokens) -> torch.Tensor:
        """(B, O) the logits that one stream's tokens give by themselves."""
        logits: torch.Tensor = self.prior + self.alone[name](tokens.mean())
        return logits

    def forward(self, streams: Mapping[str, Stream], keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, members, O)."""
        return self.fuse(self.encode(streams), keep)


class Readout(nn.Module):
    """O logits per member from its fused vector, each member with weights of its own; 0 before any training."""

    def __init__(self, width: int, members: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(members, outputs, width))
        self.bias = nn.Parameter(torch.zeros(members, outputs))

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """fused (B, members, D) → logits (B, members, O)."""
        return torch.einsum("bmd,mod->bmo", fused, self.weight) + self.bias


def build_network(config: ModelConfig, statistics: Statistics, task: Task) -> Network:
    """A network with new weights (and pretrained ones where the configuration names them)."""
    kind = config.fusion.kind
    if kind not in FUSIONS and kind not in LATE:
        raise TaskError(f"fusion: expected one of {', '.join([*FUSIONS, *LATE])}, got {kind!r}")
    if config.width % config.fusion.heads:
        raise TaskError(f"model.width {config.width}: expected a multiple of fusion.heads {config.fusion.heads}")
    encoders = {
        name: build_encoder(config.encoders[name], stream, config.width, config.dropout)
        for name, stream in statistics.streams.items()
    }
    fusion = None
    if kind in FUSIONS:
        fusion = FUSIONS[kind](config.fusion, config.width, len(encoders), config.members, config.dropout)
    # Of one stream the evidence is all there is.
    joined = "sum" if len(encoders) == 1 and config.evidence == "none" else LATE.get(kind, config.evidence)
    evidence = EVIDENCE[joined](len(encoders), config.members)
    objective = build_objective(task)
    frozen = {name: int(getattr(encoders[name], "plain", 0)) for name in encoders if config.encoders[name].frozen}
    experts = build_experts(config.experts, statistics, task, frozen, config.members, objective)
    return Network(encoders, evidence, fusion, objective, experts, width=config.width, members=config.members)
