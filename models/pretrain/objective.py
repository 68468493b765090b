"""What a method of pretraining is for the run that trains it: losses by name, one optimiser per turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ingest.batch import Batch, Stream
from models.config import TrainingConfig


@dataclass(frozen=True)
class Cases:
    """Streams of B cases and whose they are, subject_ids (B,). There is no outcome here that could be looked at."""

    streams: Mapping[str, Stream]
    subject_ids: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Cases":
        """A batch without its outcomes."""
        streams = {name: stream.to(device) for name, stream in batch.streams.items()}
        return cls(streams, torch.from_numpy(np.array(batch.subject_ids)).to(device))


@dataclass(frozen=True)
class Loss:
    """A sum over `count` elements, cases or pairs; both are scalars."""

    total: torch.Tensor
    count: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """0 where there is nothing."""
        return self.total / self.count.clamp(min=1)


class Objective(Protocol):
    """A module that holds `encoders` beside what only pretraining needs.

    turns: what is optimised in turn on each batch, each by its own optimiser. alone: whether streams share no weight,
    so that each has a loss of its own name and stops by itself; else the one loss is named "together". stops_early:
    whether a lower validation loss means better encoders.
    """

    encoders: nn.ModuleDict

    @property
    def turns(self) -> Sequence[str]: ...
    @property
    def alone(self) -> bool: ...
    @property
    def stops_early(self) -> bool: ...

    def optimizer(self, turn: str, settings: TrainingConfig) -> torch.optim.Optimizer:
        """Over the parameters of one turn; each group says under `base` what its rate is before any schedule."""
        ...

    def losses(self, turn: str, cases: Cases) -> dict[str, Loss]:
        """What the turn makes small, by name."""
        ...


def adamw(parameters: Sequence[nn.Parameter], settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW as in training."""
    rate = settings.learning_rate
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.AdamW([{"params": chosen, "base": rate}], lr=rate, weight_decay=settings.weight_decay)
