"""What an objective gives: a likelihood for training, probabilities for people, one risk for the worklist."""

from typing import Protocol

import torch
from torch import nn


class Objective(Protocol):
    """The meaning of O logits. All methods work on the last dimension and leave those before it alone.

    outputs: O. columns: K, how many numbers state an outcome (`ingest.target`). names: of the P probabilities.
    groups: which outputs are calibrated together.
    """

    outputs: int
    columns: int
    names: tuple[str, ...]
    groups: tuple[slice, ...]

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """(O,) the logits that fit best without any stream. outcome (N, K)."""
        ...

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """(...) the negative log-likelihood. logits (..., O), outcome (..., K)."""
        ...

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., P)."""
        ...

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """(...) the log-odds of the risk event."""
        ...


class ObjectiveModule(nn.Module):
    """An `Objective` is a module, so that what it has fitted is saved with the weights."""

    outputs: int
    columns: int
    names: tuple[str, ...]
    groups: tuple[slice, ...]


def log_odds(share: torch.Tensor) -> torch.Tensor:
    """The log-odds of shares, kept half a per mille away from 0 and 1."""
    kept = share.clamp(5e-4, 1 - 5e-4)
    return kept.log() - (-kept).log1p()
