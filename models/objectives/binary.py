"""One outcome that happens or not, and several of them at once."""

import torch
from torch import nn

from models.objectives.objective import ObjectiveModule, log_odds


class BinaryObjective(ObjectiveModule):
    """One logit, the log-odds of the outcome. outcome (..., 1): 1 or 0."""

    outputs = 1
    columns = 1
    names: tuple[str, ...] = ("risk",)
    groups = (slice(0, 1),)

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """The log-odds of the prevalence."""
        return log_odds(outcome.double().mean(0)).float()

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy."""
        return _cross_entropy(logits[..., 0], outcome[..., 0])

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., 1) the risk."""
        return logits.sigmoid()

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """The logit itself."""
        return logits[..., 0]


class LabelsObjective(ObjectiveModule):
    """A logit for each of several labels. outcome (..., L): 1, 0, or NaN where unknown, which costs nothing."""

    def __init__(self, labels: tuple[str, ...], risk: str) -> None:
        super().__init__()
        self.names = labels
        self.outputs = self.columns = len(labels)
        self.groups = tuple(slice(i, i + 1) for i in range(len(labels)))
        self.risk = labels.index(risk)

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """The log-odds of each label among the cases of which it is known."""
        known = ~outcome.isnan()
        share = outcome.nan_to_num().double().sum(0) / known.sum(0).clamp(min=1)
        return torch.where(known.any(0), log_odds(share), 0.0).float()

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """The sum of the cross-entropies of what is known."""
        return (_cross_entropy(logits, outcome.nan_to_num()) * ~outcome.isnan()).sum(-1)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., L)."""
        return logits.sigmoid()

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """The logit of the label that is the risk."""
        return logits[..., self.risk]


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Element by element, in whatever shape the two have together."""
    return nn.functional.softplus(logits) - target.to(logits.dtype) * logits
