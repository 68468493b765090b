"""How far features are from the nearest ones of training, for networks that were trained on other data.

Their features are sparse and heavy-tailed, no Gaussian; what they mean is in their direction (Sun et al. 2022,
"Out-of-distribution detection with deep nearest neighbors", sec. 3).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

REFERENCES_AT_MOST = 500
NEIGHBOUR = 5  # the distance to the fifth nearest: a single odd training case makes nothing familiar
LEAST_CASES = 20


@dataclass(frozen=True)
class Neighbours:
    """reference (R, F): features of training cases, each of length 1; float32, as they are kept beside the weights."""

    reference: torch.Tensor

    def distance(self, vectors: torch.Tensor) -> np.ndarray:
        """(n,) float64: from each of vectors (n, F), made of length 1, to its fifth nearest reference. 0 to 2."""
        unit = nn.functional.normalize(vectors.detach().cpu().double(), dim=1)
        near = torch.cdist(unit, self.reference.double()).topk(NEIGHBOUR, dim=1, largest=False)
        return np.asarray(near.values[:, -1].numpy())

    def state(self) -> dict[str, torch.Tensor]:
        """What is kept."""
        return {"reference": self.reference}


def fit_neighbours(vectors: torch.Tensor) -> Neighbours | None:
    """From vectors (n, F), of which some are drawn where they are many. None where they are too few."""
    if len(vectors) < LEAST_CASES:
        return None
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:REFERENCES_AT_MOST]
    return Neighbours(nn.functional.normalize(vectors.detach().cpu().double()[order], dim=1).float().contiguous())
