"""Fitting the experts that read columns beside a trained network, and how much they count."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from models.flat.expert import fit_experts, fit_shares
from models.network import Network
from models.training.run import Run, mean_logits
from models.training.weights import seeded


def add_experts(network: Network, run: Run, size: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Fit the network's experts, and let the validation cases say how much they count.

    size: of trees and their number; chosen by cross-validation where it is None. Returns it, or None where there are no
    experts: none are asked for, or a class is missing among the cases.
    """
    experts, cohort = network.experts, run.cohort
    if experts is None:
        return None
    experts.share.zero_()
    rows, validation = (_with_any(network, run, split) for split in ("train", "validation"))
    if len(np.unique(cohort.outcome[rows, 0])) < max(2, experts.tree_outputs) or not len(validation):
        return None
    spoken = [mean_logits(network, cohort, validation, run.device)[0]]
    weight = run.weight.numpy()[np.isin(run.splits["train"], rows)]
    with seeded(run.seed):
        size = fit_experts(experts.cpu(), cohort, rows, weight, network.meaning, network.prior.cpu(), run.seed, size)
    experts.to(run.device)
    for place, expert in enumerate((experts.trees, experts.reader)):
        if expert is not None:
            experts.share.zero_()
            experts.share[place] = 1
            spoken.append(mean_logits(network, cohort, validation, run.device)[0])
    outcome = torch.from_numpy(cohort.outcome[validation]).double()
    fit_shares(experts, network.meaning, [torch.from_numpy(logits) for logits in spoken], outcome)
    return size


def _with_any(network: Network, run: Run, split: str) -> np.ndarray:
    """The cases of a split that have any stream of the network."""
    rows = run.splits[split]
    columns = [run.cohort.stream_names.index(name) for name in network.stream_names]
    return np.asarray(rows[run.cohort.present[rows][:, columns].any(1)])
