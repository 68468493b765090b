"""Auxiliary losses that compare cases of a batch with each other. Cases that a mask leaves out change nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch.nn import functional as F

from models.config import TrainingConfig
from models.encoders.tokens import Tokens


@dataclass(frozen=True)
class Contrasts:
    """The auxiliary losses that a configuration asks for, weighed and summed."""

    settings: TrainingConfig

    @property
    def of_vectors(self) -> bool:
        """Whether fused vectors are compared."""
        return self.settings.triplet > 0 or self.settings.supervised_contrastive > 0

    @property
    def of_streams(self) -> bool:
        """Whether the streams of a case are compared."""
        return self.settings.cross_modal_contrastive > 0

    def vectors(self, fused: torch.Tensor, outcome: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        """fused (B, members, D), compared by its mean over the members; the class in outcome[:, 0]; here (B,) bool."""
        given = self.settings
        vector, label = fused.float().mean(1), outcome[:, 0]
        total = vector.new_zeros(())
        with torch.autocast(vector.device.type, enabled=False):  # 8 bits tell no near neighbours apart
            if given.triplet:
                hardest = given.triplet_mining == "batch-hard"
                total = total + given.triplet * triplet(vector, label, here, given.triplet_margin, hardest=hardest)
            if given.supervised_contrastive:
                contrast = supervised_contrastive(vector, label, here, given.temperature)
                total = total + given.supervised_contrastive * contrast
        return total

    def streams(self, tokens: Mapping[str, Tokens]) -> torch.Tensor:
        """The contrast of every pair of streams, by the mean tokens."""
        pooled = [(part.mean().float(), part.present.any(1)) for part in tokens.values()]
        with torch.autocast(pooled[0][0].device.type, enabled=False):
            return self.settings.cross_modal_contrastive * cross_modal(pooled, self.settings.temperature)


def triplet(
    vector: torch.Tensor, label: torch.Tensor, here: torch.Tensor, margin: float, *, hardest: bool
) -> torch.Tensor:
    """Mean of [|a - p|² - |a - n|² + margin]₊ over triplets of vectors of length 1 (Schroff et al. 2015, eq. 2).

    vector (B, D), label (B,), here (B,) bool. hardest: for each anchor its farthest positive and its nearest negative
    (Hermans et al. 2017, eq. 5, with squared distances); else all triplets. 0 where there is none.
    """
    unit = F.normalize(vector, dim=1)
    distance = 2 - 2 * unit @ unit.T
    positive, negative = _alike(label, here)
    if hardest:
        farthest = distance.masked_fill(~positive, -torch.inf).amax(1)
        nearest = distance.masked_fill(~negative, torch.inf).amin(1)
        there = positive.any(1) & negative.any(1)
        gap = torch.where(there, farthest, 0.0) - torch.where(there, nearest, 0.0)
    else:
        there = positive[:, :, None] & negative[:, None, :]  # (anchor, positive, negative)
        gap = distance[:, :, None] - distance[:, None, :]
    return ((gap + margin).clamp(min=0) * there).sum() / there.sum().clamp(min=1)


def supervised_contrastive(
    vector: torch.Tensor, label: torch.Tensor, here: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Khosla et al. 2020, eq. 2, as the mean over anchors that have a positive; vectors are brought to length 1.

    vector (B, D), label (B,), here (B,) bool. 0 where no two cases share a class.
    """
    unit = F.normalize(vector, dim=1)
    positive, negative = _alike(label, here)
    near = (unit @ unit.T / temperature).masked_fill(~(positive | negative), torch.finfo(unit.dtype).min)
    log_share = near - near.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    each = -torch.where(positive, log_share, 0.0).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)


def cross_modal(pooled: list[tuple[torch.Tensor, torch.Tensor]], temperature: float) -> torch.Tensor:
    """The symmetric InfoNCE of Radford et al. 2021 (fig. 3), averaged over the pairs of streams.

    pooled: of each stream its vectors (B, D) and which cases have it (B,) bool. A pair is compared over the cases that
    have both; one that fewer than two cases have is left out.
    """
    total, pairs = pooled[0][0].new_zeros(()), pooled[0][0].new_zeros(())
    for (one, has_one), (two, has_two) in combinations(pooled, 2):
        both = has_one & has_two
        near = F.normalize(one, dim=1) @ F.normalize(two, dim=1).T / temperature
        near = near.masked_fill(~(both[:, None] & both[None, :]), torch.finfo(near.dtype).min)
        own = near.diagonal()
        each = 0.5 * near.logsumexp(0) + 0.5 * near.logsumexp(1) - own
        enough = both.sum() > 1
        total = total + torch.where(both & enough, each, 0.0).sum() / both.sum().clamp(min=1)
        pairs = pairs + enough
    return total / pairs.clamp(min=1)


def _alike(label: torch.Tensor, here: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, B) bool: pairs of two cases that are there with the same label, and with different ones."""
    pair = here[:, None] & here[None, :]
    same = label[:, None] == label[None, :]
    others = ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    return pair & same & others, pair & ~same
