"""What a case costs: its negative log-likelihood, which may count rare classes more and easy cases less."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ingest.errors import TaskError
from ingest.task import Task
from models.config import TrainingConfig
from models.objectives import Objective

CLASSES = ("binary", "multiclass", "ordinal")  # kinds of target of which a case has one class


class Cost(Protocol):
    """An objective, or what stands in for its loss."""

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """(...) of logits (..., O) and outcome (..., K)."""
        ...


@dataclass(frozen=True)
class ClassCost:
    """The cost of a case of one class. weight (C,): of each class, or None; gamma: of the focal loss, 0 for none.

    Weights alone would move the logits to where the classes are weighed, and away from the shares that they have. So
    the likelihood is that of the class under the weighed shares w_c p_c / Σ w p, whose best p are those without weights
    (the prior correction of King & Zeng 2001, eq. 7, made while training): logits stay calibrated in the large, and
    what is left is for the calibration. With gamma the cost is (1 - p)^gamma times it (Lin et al. 2017, eq. 5 with
    their α as `weight`), which makes risks timid: its logits need the calibration.
    """

    objective: Objective
    weight: torch.Tensor | None
    gamma: float

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """(...) of logits (..., O) and outcome (..., K), whose first number is the class."""
        nll = self.objective.loss(logits, outcome)
        own = None
        if self.weight is not None:
            own = self.weight[outcome[..., 0].long()]
            nll = nll - own.log() + (self._shares(logits) * self.weight).sum(-1).log()
        if self.gamma:
            # Away from 0, where a power below 1 has no slope.
            nll = (-torch.expm1(-nll)).clamp(min=1e-12) ** self.gamma * nll
        return nll if own is None else own * nll

    def _shares(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., C) the probability of every class."""
        shares = self.objective.probabilities(logits)
        return torch.cat([1 - shares, shares], -1) if shares.shape[-1] == 1 else shares


def build_cost(
    settings: TrainingConfig, task: Task, objective: Objective, outcome: np.ndarray, device: torch.device
) -> Cost:
    """What training makes small. outcome (N, K): of its cases. Raises TaskError where the target has no classes."""
    gamma = settings.focal_gamma if settings.loss == "focal" else 0.0
    if settings.class_weights == "none" and gamma == 0:
        return objective
    _expect_classes(task, {"loss: focal": bool(gamma), "class_weights: balanced": settings.class_weights != "none"})
    weight = None
    if settings.class_weights == "balanced":
        classes = max(2, len(objective.names))
        weight = torch.from_numpy(balanced(outcome[:, 0], classes)).to(device)
    return ClassCost(objective, weight, gamma)


def check_contrasts(settings: TrainingConfig, task: Task) -> None:
    """Raises TaskError where auxiliary losses compare classes and the target has none."""
    asked = {"triplet": settings.triplet > 0, "supervised_contrastive": settings.supervised_contrastive > 0}
    if any(asked.values()) and task.target.kind not in CLASSES:
        _expect_classes(task, asked)


def balanced(classes: np.ndarray, count: int) -> np.ndarray:
    """(C,) float32: N / (C n_c), the C counting the classes that are there; 1 for one that is not.

    Over the cases the weights have mean 1.
    """
    found = np.bincount(classes.astype(int), minlength=count)
    weight = len(classes) / (np.count_nonzero(found) * np.maximum(found, 1))
    return np.where(found > 0, weight, 1.0).astype(np.float32)


def _expect_classes(task: Task, asked: Mapping[str, bool]) -> None:
    if task.target.kind not in CLASSES or len(task.targets) > 1:
        keys = " and ".join(key for key, here in asked.items() if here)
        kinds = ", ".join(target.kind for target in task.targets.values())
        raise TaskError(
            f"task {task.name}, model.training.{keys}: expected one target of kind {', '.join(CLASSES)}, got {kinds}; "
            "leave it out"
        )
