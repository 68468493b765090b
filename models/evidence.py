"""How the evidence of single streams is joined: weighed by what else is there, summed, averaged, or left out."""

from collections.abc import Callable

import torch
from torch import nn


class WeighedEvidence(nn.Module):
    """How much each stream's own evidence counts, given what is absent: all of it at first."""

    def __init__(self, streams: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, streams))
        self.when_absent = nn.Parameter(torch.zeros(members, streams, streams))

    def forward(self, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """evidence (B, M, O), present (B, M) bool → (B, members, O)."""
        absent = (~present).to(evidence.dtype)
        weight = self.weight + torch.einsum("bn,msn->bms", absent, self.when_absent)
        return torch.einsum("bms,bso->bmo", weight, evidence * present[..., None])


class SummedEvidence(nn.Module):
    """The product of experts: evidence adds on the log-odds (Hinton 2002, with the prior counted once)."""

    def __init__(self, streams: int, members: int) -> None:
        super().__init__()
        self.members = members

    def forward(self, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """evidence (B, M, O), present (B, M) bool → (B, members, O), the same for all members."""
        return (evidence * present[..., None]).sum(1, keepdim=True).expand(-1, self.members, -1)


class MeanEvidence(nn.Module):
    """The late average: the mean of the logits that each present stream gives by itself."""

    def __init__(self, streams: int, members: int) -> None:
        super().__init__()
        self.members = members

    def forward(self, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """evidence (B, M, O), present (B, M) bool → (B, members, O), the same for all members."""
        here = present[..., None].to(evidence.dtype)
        mean = (evidence * here).sum(1, keepdim=True) / here.sum(1, keepdim=True).clamp(min=1)
        return mean.expand(-1, self.members, -1)


class NoEvidence(nn.Module):
    """Only the fusion has a say."""

    def __init__(self, streams: int, members: int) -> None:
        super().__init__()
        self.members = members

    def forward(self, evidence: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """evidence (B, M, O) → zeros (B, members, O)."""
        return torch.zeros_like(evidence[:, :1]).expand(-1, self.members, -1)


# (streams M, members) -> module
EVIDENCE: dict[str, Callable[[int, int], nn.Module]] = {
    "weighed": WeighedEvidence,
    "sum": SummedEvidence,
    "mean": MeanEvidence,
    "none": NoEvidence,
}
