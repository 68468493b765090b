"""Experts that read columns: boosted trees and a small network, which have their say beside the fusion."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.statistics import Statistics
from ingest.task import Task
from models.flat.boosting import COMMON, choose_size
from models.flat.column_network import ColumnNetwork, train_column_network
from models.flat.features import FlatFeatures, fit_flat
from models.flat.trees import BoostedTrees
from models.objectives import Objective

SHARE_PRIOR_SD = 0.3  # of each share, around equal ones: of few validation cases no extreme one is believed
STEPS = 20  # a share is a multiple of 1 / STEPS
COPY_WEIGHT = 0.5  # for the trees, of a case that is shown again with some of its streams hidden
HIDDEN_VERSIONS = 3  # for the column network


class ColumnExperts(nn.Module):
    """Boosted trees and a column network, each of as many models as the fusion has members, and how much they count.

    logits = (1 - Σ share) x the network's + Σ share x the expert's. Trees tell classes: they speak to the first
    `tree_outputs` logits, and where they are silent the network stands in for them. share (2,): of the trees and of
    the column network, 0 before a fit. Experts were shown every case also with a random coalition of its
    streams, so that "absent" is something they know, as the network does. A weighted mean of log-odds is a normalised
    product of experts (Hinton 2002, sec. 2).
    """

    share: torch.Tensor

    def __init__(self, flat: FlatFeatures, trees: BoostedTrees | None, reader: ColumnNetwork | None) -> None:
        super().__init__()
        self.flat, self.trees, self.reader = flat, trees, reader
        self.tree_outputs = 0 if trees is None else trees.root.shape[1]
        self.register_buffer("share", torch.zeros(2))

    def forward(self, logits: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """logits (B, members, O) of the network, columns (B, P) → all together (B, members, O)."""
        spoken = [logits]
        if self.trees is not None:
            theirs = self.trees(columns).to(logits.dtype)
            spoken.append(torch.cat([theirs, logits[..., self.tree_outputs :]], -1))
        if self.reader is not None:
            spoken.append(self.reader(columns).to(logits.dtype))
        return _joined(spoken, self._shares())

    def _shares(self) -> torch.Tensor:
        """(1 + experts,) how much the network and each expert count."""
        there = [expert is not None for expert in (self.trees, self.reader)]
        theirs = self.share[torch.tensor(there, device=self.share.device)]
        return torch.cat([(1 - theirs.sum())[None], theirs])

    @property
    def counts(self) -> bool:
        """Whether anybody has anything to say."""
        return bool((self.share > 0).any())


def build_experts(
    kinds: Sequence[str],
    statistics: Statistics,
    task: Task,
    featured: Mapping[str, int],
    members: int,
    objective: Objective,
) -> ColumnExperts | None:
    """The experts of these kinds, not fitted yet. featured: as in `FlatFeatures`.

    There are no trees for outcomes other than classes.
    """
    classes = {"binary": 1, "multiclass": len(getattr(task.target, "classes", ()))}.get(task.target.kind, 0)
    trees = BoostedTrees(members, classes) if "trees" in kinds and classes else None
    reader = ColumnNetwork(members, objective.outputs) if "columns" in kinds else None
    if trees is None and reader is None:
        return None
    return ColumnExperts(FlatFeatures(statistics, task, featured), trees, reader)


def fit_experts(
    experts: ColumnExperts,
    cohort: Cohort,
    rows: np.ndarray,
    weight: np.ndarray,
    objective: Objective,
    prior: torch.Tensor,
    seed: int,
    size: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Fit all of them on these cases. weight (n, members): how often each member's bootstrap drew the case; prior (O,).

    size: of the trees and their number, chosen by cross-validation where it is None. Returns it. The column network
    draws its dropout from torch's global generator.
    """
    streams = list(experts.flat.streams)
    featured = {name: experts.flat.of(name).plain for name in streams if experts.flat.of(name).kind == "features"}
    fitted = fit_flat(cohort, rows, seed, streams, featured)
    experts.flat.load_state_dict(fitted.state_dict())
    columns, names = fitted.columns(cohort, rows)
    owner = np.array([streams.index(name.split(": ", 1)[0]) for name in names], np.int64)
    if experts.trees is not None:
        classes, subjects = cohort.outcome[rows, 0].astype(int), cohort.index["subject_id"].to_numpy()[rows]
        hidden = with_streams_hidden(columns, owner, len(streams), [seed, 20])
        size = _grow(experts.trees, columns, hidden, classes, subjects, weight, seed, size)
    if experts.reader is not None:
        experts.reader.fit_projection(columns, seed)
        versions = [with_streams_hidden(columns, owner, len(streams), [seed, 30, v]) for v in range(HIDDEN_VERSIONS)]
        train_column_network(
            experts.reader,
            [columns, *versions],
            torch.from_numpy(cohort.outcome[rows]),
            torch.from_numpy(weight),
            objective,
            prior,
            torch.Generator().manual_seed(seed),
        )
    return size or {}


def _grow(
    trees: BoostedTrees,
    columns: np.ndarray,
    hidden: np.ndarray,
    classes: np.ndarray,
    subjects: np.ndarray,
    weight: np.ndarray,
    seed: int,
    size: Mapping[str, Any] | None,
) -> Mapping[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    known = np.flatnonzero(np.isfinite(columns).any(0))
    if size is None:
        size, _ = choose_size(columns[:, known], classes, subjects, seed)
    shown, said = np.concatenate([columns, hidden])[:, known], np.tile(classes, 2)
    weights = np.concatenate([weight, COPY_WEIGHT * weight])
    models = [
        HistGradientBoostingClassifier(**COMMON, **size, random_state=(seed * 1009 + member) % 2**32).fit(
            shown, said, weights[:, member]
        )
        for member in range(weight.shape[1])
    ]
    trees.take(models, known)
    return size


@torch.no_grad()
def fit_shares(
    experts: ColumnExperts, objective: Objective, spoken: Sequence[torch.Tensor], outcome: torch.Tensor
) -> None:
    """Set how much each counts: what fits validation cases best, held near equal shares.

    spoken: mean logits (n, O) of the network, then of each expert there is, by itself; outcome (n, K).
    """
    equal = 1 / len(spoken)
    best, found = float("inf"), torch.zeros(len(spoken))
    for parts in np.ndindex(*(STEPS + 1,) * (len(spoken) - 1)):
        if sum(parts) > STEPS:
            continue
        shares = torch.tensor([STEPS - sum(parts), *parts], dtype=torch.float64) / STEPS
        fit = objective.loss(_joined(spoken, shares), outcome).sum()
        loss = float(fit + (((shares - equal) / SHARE_PRIOR_SD) ** 2).sum() / 2)
        if loss < best:
            best, found = loss, shares
    there = [expert is not None for expert in (experts.trees, experts.reader)]
    experts.share.zero_()
    experts.share[torch.tensor(there)] = found[1:].to(experts.share)


def _joined(spoken: Sequence[torch.Tensor], shares: torch.Tensor) -> torch.Tensor:
    """The weighted mean of logits (..., O), the network's first."""
    return torch.einsum("e...,e->...", torch.stack(list(spoken)), shares.to(spoken[0].dtype))


def with_streams_hidden(columns: np.ndarray, owner: np.ndarray, streams: int, seed: Sequence[int]) -> np.ndarray:
    """The same cases, each with a share u ~ U(0, 1) of its streams. owner (P,): the stream of each column."""
    rng = np.random.default_rng(list(seed))
    keep = rng.random((len(columns), streams)) < rng.random((len(columns), 1))
    return np.where(keep[:, owner], columns, np.nan)
