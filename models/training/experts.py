"""Fitting the expert that reads columns beside a trained network, and how much it counts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from models.flat.expert import fit_share, grow
from models.network import Network
from models.training.run import Run, mean_logits


def fit_expert(network: Network, run: Run, size: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Give a trained network its expert, and let the validation cases say how much it counts.

    size: of trees and their number; chosen by cross-validation where it is None. Returns it, or None where there is no
    expert: none is asked for, or a class is missing among the cases.
    """
    expert, cohort = network.expert, run.cohort
    if expert is None:
        return None
    expert.share.fill_(0)
    rows, validation = (_with_any(network, run, split) for split in ("train", "validation"))
    if len(np.unique(cohort.outcome[rows, 0])) < max(2, expert.outputs) or not len(validation):
        return None
    mine, _ = mean_logits(network, cohort, validation, run.device)
    weight = run.weight.numpy()[np.isin(run.splits["train"], rows)]
    size = grow(expert, cohort, rows, weight, run.seed, size)
    expert.share.fill_(1)
    theirs, _ = mean_logits(network, cohort, validation, run.device)
    network_logits, tree_logits = torch.from_numpy(mine), torch.from_numpy(theirs[:, : expert.outputs])
    outcome = torch.from_numpy(cohort.outcome[validation]).double()
    fit_share(expert, network.meaning, network_logits, tree_logits, outcome)
    return size


def _with_any(network: Network, run: Run, split: str) -> np.ndarray:
    """The cases of a split that have any stream of the network."""
    rows = run.splits[split]
    columns = [run.cohort.stream_names.index(name) for name in network.stream_names]
    return np.asarray(rows[run.cohort.present[rows][:, columns].any(1)])
