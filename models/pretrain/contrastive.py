"""Contrast between modalities: what two streams say of the same case is alike, and unlike what they say of others."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from torch import nn

from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import TrainingConfig
from models.pretrain.objective import Cases, Loss
from models.training.losses import hide_elements

LARGEST_LOG_SCALE = math.log(100)  # of the factor on cosines (Radford et al. 2021, sec. 2.5)
FIRST_LOG_SCALE = math.log(1 / 0.07)


class CrossModalContrast(nn.Module):
    """Every pair of streams, over the cases of a batch that have both (Radford et al. 2021, CLIP, fig. 3).

    The mean of a stream's tokens is projected to a unit vector. Each pair of streams learns a temperature of its own,
    for some have more to say about each other than others. Elements are hidden at random, as in training.
    """

    turns = ("contrast",)
    alone = False
    stops_early = True

    def __init__(
        self, encoders: Mapping[str, nn.Module], _statistics: Mapping[str, StreamStatistics], width: int,
        *, element_mask: float = 0.4,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(encoders) < 2:
            raise TaskError(
                f"pretraining by contrast: expected at least two streams, got {', '.join(encoders) or 'none'}; "
                "take --method masked for one"
            )
        self.encoders = nn.ModuleDict(encoders)
        self.element_mask = element_mask
        self.pairs = list(combinations(encoders, 2))
        self.projections = nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in encoders})
        self.log_scale = nn.Parameter(torch.full((len(self.pairs),), FIRST_LOG_SCALE))

    def optimizer(self, turn: str, settings: TrainingConfig) -> torch.optim.Optimizer:
        """A temperature is not drawn towards 0."""
        weights = [p for p in self.parameters() if p.requires_grad and p is not self.log_scale]
        rate = settings.learning_rate
        return torch.optim.AdamW(
            [
                {"params": weights, "base": rate, "weight_decay": settings.weight_decay},
                {"params": [self.log_scale], "base": rate, "weight_decay": 0.0},
            ],
            lr=rate,
        )

    def losses(self, turn: str, cases: Cases) -> dict[str, Loss]:
        """The mean over the pairs of streams that at least two cases have."""
        said, present = {}, {}
        for name, stream in cases.streams.items():
            tokens = self.encoders[name](hide_elements(stream, self.element_mask))
            said[name], present[name] = self.projections[name](tokens.mean()), tokens.present.any(1)
        total = self.log_scale.new_zeros(())
        count = 0
        for (one, other), log_scale in zip(self.pairs, self.log_scale, strict=True):
            both = present[one] & present[other]
            if int(both.sum()) < 2:
                continue
            subject = cases.subject_ids[both]
            scale = log_scale.clamp(max=LARGEST_LOG_SCALE).exp()
            total = total + info_nce(said[one][both], said[other][both], scale, subject[:, None] == subject)
            count += 1
        return {"together": Loss(total, torch.tensor(count, device=total.device))}


def info_nce(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, same: torch.Tensor | None = None
) -> torch.Tensor:
    """The symmetrical cross-entropy of telling which of n belongs to which; ln n where nothing is told.

    first, second (n, P) of the same cases; scale: the inverse temperature; same (n, n): of the same subject, cases
    that are not held against each other. van den Oord et al. 2018, eq. 4, in both directions.
    """
    cosine = nn.functional.normalize(first.float(), dim=1) @ nn.functional.normalize(second.float(), dim=1).T
    logits = cosine * scale
    target = torch.arange(len(first), device=first.device)
    if same is not None:
        itself = target[:, None] == target
        logits = logits.masked_fill(same & ~itself, -torch.inf)
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
