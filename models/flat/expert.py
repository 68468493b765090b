"""An expert that reads columns: boosted trees beside the network, which have their say in every logit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.statistics import Statistics
from models.flat.boosting import COMMON, choose_size
from models.flat.features import FlatFeatures, fit_flat
from models.flat.trees import BoostedTrees
from models.objectives import Objective

SHARE_PRIOR_SD = 0.3  # around a half: of few validation cases no extreme share is believed
COPY_WEIGHT = 0.5  # of a case that is shown again with some of its streams hidden


class TreeExpert(nn.Module):
    """Boosted trees on flat columns, one model per member, and how much they count.

    logits = (1 - share) x the network's + share x the trees', on the first `outputs` logits; share 0 before a fit. The
    trees were shown every case again with a random coalition of its streams, so that "absent" is something they know,
    as the network does. A mean of log-odds is a normalised product of experts (Hinton 2002, sec. 2).
    """

    share: torch.Tensor

    def __init__(self, statistics: Statistics, featured: Sequence[str], members: int, outputs: int) -> None:
        super().__init__()
        self.flat = FlatFeatures(statistics, featured)
        self.trees = BoostedTrees(members, outputs)
        self.outputs = outputs
        self.register_buffer("share", torch.zeros(()))

    def forward(self, logits: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """logits (B, members, O) of the network, columns (B, P) → both together (B, members, O)."""
        theirs = self.trees(columns).to(logits.dtype)
        mine = logits[..., : self.outputs]
        return torch.cat([mine + self.share * (theirs - mine), logits[..., self.outputs :]], -1)

    @property
    def counts(self) -> bool:
        """Whether it has anything to say."""
        return bool(self.share > 0)


def grow(
    expert: TreeExpert,
    cohort: Cohort,
    rows: np.ndarray,
    weight: np.ndarray,
    seed: int,
    size: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Grow the trees on these cases, and return their size. weight (n, members): how often each bootstrap drew them."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    streams = list(expert.flat.streams)
    fitted = fit_flat(cohort, rows, seed, streams)
    expert.flat.load_state_dict(fitted.state_dict())
    columns, names = fitted.columns(cohort, rows)
    classes = cohort.outcome[rows, 0].astype(int)
    subjects = cohort.index["subject_id"].to_numpy()[rows]
    known = np.flatnonzero(np.isfinite(columns).any(0))
    if size is None:
        size, _ = choose_size(columns[:, known], classes, subjects, seed)
    owner = np.array([streams.index(name.split(": ", 1)[0]) for name in names])
    shown = np.concatenate([columns, _with_streams_hidden(columns, owner, len(streams), seed)])[:, known]
    models = [
        HistGradientBoostingClassifier(**COMMON, **size, random_state=seed * 1009 + member).fit(
            shown, np.tile(classes, 2), np.concatenate([weight[:, member], COPY_WEIGHT * weight[:, member]])
        )
        for member in range(weight.shape[1])
    ]
    expert.trees.take(models, known)
    return size


def fit_share(
    expert: TreeExpert, objective: Objective, network: torch.Tensor, trees: torch.Tensor, outcome: torch.Tensor
) -> float:
    """Set how much the trees count: what fits validation cases best, held near a half.

    network (n, O), trees (n, outputs): mean logits of each by itself; outcome (n, K).
    """
    mine = network[:, : expert.outputs]
    best, found = float("inf"), 0.0
    for share in np.linspace(0, 1, 41):
        together = torch.cat([mine + share * (trees - mine), network[:, expert.outputs :]], 1)
        loss = float(objective.loss(together, outcome).sum()) + ((share - 0.5) / SHARE_PRIOR_SD) ** 2 / 2
        if loss < best:
            best, found = loss, float(share)
    expert.share.fill_(found)
    return found


def _with_streams_hidden(columns: np.ndarray, owner: np.ndarray, streams: int, seed: int) -> np.ndarray:
    """The same cases, each with a share u ~ U(0, 1) of its streams. owner (P,): the stream of each column."""
    rng = np.random.default_rng([seed, 20])
    keep = rng.random((len(columns), streams)) < rng.random((len(columns), 1))
    return np.where(keep[:, owner], columns, np.nan)
