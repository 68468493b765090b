"""One of several classes, without an order or with one."""

import torch

from models.objectives.objective import ObjectiveModule, log_odds


class ClassesObjective(ObjectiveModule):
    """A logit for each of C classes, read by a softmax. outcome (..., 1): the position of the class."""

    risk: torch.Tensor

    def __init__(self, classes: tuple[str, ...], risk: tuple[str, ...]) -> None:
        super().__init__()
        self.names = classes
        self.outputs, self.columns = len(classes), 1
        self.groups = (slice(0, self.outputs),)
        self.register_buffer("risk", torch.tensor([name in risk for name in classes]), persistent=False)

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """Log shares of the classes, each counted once more than it is, so that a rare one has a share."""
        counts = torch.bincount(outcome[:, 0].long(), minlength=self.outputs).double() + 1
        return (counts / counts.sum()).log().float()

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return -_at(logits.log_softmax(-1), outcome)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., C)."""
        return logits.softmax(-1)

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """The log-odds of the classes that are the risk, together, against all others."""
        return logits[..., self.risk].logsumexp(-1) - logits[..., ~self.risk].logsumexp(-1)


class OrdinalObjective(ObjectiveModule):
    """C - 1 logits for C classes in order: the log-odds of being above class k for those who are not below it.

    The continuation-ratio model (Fienberg 1980; for networks CORN, Shi et al. 2021, eq. 4-6): probabilities of being
    above fall from class to class whatever the logits are. outcome (..., 1): the position of the class.
    """

    risk: torch.Tensor

    def __init__(self, classes: tuple[str, ...], risk: tuple[str, ...]) -> None:
        super().__init__()
        self.names = classes
        self.outputs, self.columns = len(classes) - 1, 1
        self.groups = (slice(0, self.outputs),)
        self.register_buffer("risk", torch.tensor([name in risk for name in classes]), persistent=False)

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """The log-odds of being above each class among those who reach it."""
        level = outcome[:, :1]
        steps = torch.arange(self.outputs, device=level.device)
        reach, above = (level >= steps).double().sum(0), (level > steps).double().sum(0)
        return log_odds((above + 0.5) / (reach + 1)).float()

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """Minus the log-probability of the class."""
        return -_at(self._log_probabilities(logits), outcome)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., C)."""
        return self._log_probabilities(logits).exp()

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """The log-odds of the classes that are the risk, together, against all others."""
        each = self._log_probabilities(logits)
        return each[..., self.risk].logsumexp(-1) - each[..., ~self.risk].logsumexp(-1)

    @staticmethod
    def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
        above = torch.nn.functional.logsigmoid(logits)
        stay = torch.nn.functional.logsigmoid(-logits)
        nothing = torch.zeros_like(logits[..., :1])
        reach = torch.cat([nothing, above.cumsum(-1)], -1)
        return reach + torch.cat([stay, nothing], -1)


def _at(values: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
    """values (..., C) at the class of outcome (..., 1), whose leading dimensions may be 1."""
    place = outcome.long().expand(*values.shape[:-1], 1)
    return values.gather(-1, place)[..., 0]
