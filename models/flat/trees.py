"""Gradient-boosted trees as tensors: fitted by scikit-learn, kept as safetensors, asked on any device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

PARTS = ("feature", "threshold", "left", "right", "missing_left", "value", "root", "baseline")


class BoostedTrees(nn.Module):
    """Several boosted models, one per member, of O raw outputs each.

    Nodes of all trees lie one after another; a leaf points to itself. root (members, O, T): each tree's first node;
    models of fewer trees than T have empty ones. baseline (members, O). A missing value goes where it went when the
    tree grew (Ke et al. 2017, sec. 3; scikit-learn's HistGradientBoosting).
    """

    feature: torch.Tensor
    threshold: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    missing_left: torch.Tensor
    value: torch.Tensor
    root: torch.Tensor
    baseline: torch.Tensor

    def __init__(self, members: int, outputs: int) -> None:
        super().__init__()
        whole, real = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.float64)
        for name in ("feature", "left", "right"):
            self.register_buffer(name, whole.clone())
        for name in ("threshold", "value"):
            self.register_buffer(name, real.clone())
        self.register_buffer("missing_left", torch.ones(1, dtype=torch.bool))
        self.register_buffer("root", torch.zeros(members, outputs, 0, dtype=torch.int64))
        self.register_buffer("baseline", torch.zeros(members, outputs, dtype=torch.float64))

    def take(self, models: Sequence[Any], columns: np.ndarray) -> None:
        """Become these fitted HistGradientBoosting models, one per member. columns: which of the P they were shown."""
        nodes: list[np.ndarray] = []
        roots: list[np.ndarray] = []
        start = 1  # node 0 is an empty tree
        for model in models:
            grown = [[tree.nodes for tree in step] for step in model._predictors]
            root = np.zeros((len(grown[0]), len(grown)), np.int64)
            for step, trees in enumerate(grown):
                for output, tree in enumerate(trees):
                    root[output, step] = start
                    nodes.append(_absolute(tree, start, columns))
                    start += len(tree)
            roots.append(root)
        longest = max(root.shape[1] for root in roots)
        padded = [np.pad(root, ((0, 0), (0, longest - root.shape[1]))) for root in roots]
        every = np.concatenate([_absolute(EMPTY, 0, columns), *nodes])
        for name in PARTS[:6]:
            setattr(self, name, torch.from_numpy(np.ascontiguousarray(every[name])).to(self.root.device))
        self.root = torch.from_numpy(np.stack(padded)).to(self.root.device)
        self.baseline = torch.from_numpy(
            np.stack([np.asarray(model._baseline_prediction, np.float64).reshape(-1) for model in models])
        ).to(self.root.device)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """columns (B, P) float64, NaN where missing → raw outputs (B, members, O) float64."""
        members, outputs, trees = self.root.shape
        at = self.root.flatten().expand(len(columns), -1)
        while True:
            value = columns.gather(1, self.feature[at])
            goes_left = torch.where(value.isnan(), self.missing_left[at], value <= self.threshold[at])
            after = torch.where(goes_left, self.left[at], self.right[at])
            if bool((after == at).all()):
                break
            at = after
        leaves = self.value[at].reshape(len(columns), members, outputs, trees)
        return leaves.sum(-1) + self.baseline

    def _load_from_state_dict(self, state: dict[str, torch.Tensor], prefix: str, *rest: object) -> None:
        """As many nodes as were saved."""
        for name in PARTS:
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name], device=self.root.device))
        super()._load_from_state_dict(state, prefix, *rest)


NODE = np.dtype(
    [
        ("feature", np.int64),
        ("threshold", np.float64),
        ("left", np.int64),
        ("right", np.int64),
        ("missing_left", np.bool_),
        ("value", np.float64),
    ]
)
EMPTY = np.array(
    [(0.0, 0, 0.0, True, 0, 0, True)],
    dtype=[
        ("value", np.float64), ("feature_idx", np.int64), ("num_threshold", np.float64),
        ("missing_go_to_left", np.bool_), ("left", np.int64), ("right", np.int64), ("is_leaf", np.bool_),
    ],
)  # fmt: skip


def _absolute(tree: np.ndarray, start: int, columns: np.ndarray) -> np.ndarray:
    """A tree's nodes with places counted over all trees; leaves stay where they are."""
    own = np.arange(start, start + len(tree))
    leaf = tree["is_leaf"].astype(bool)
    out = np.zeros(len(tree), NODE)
    out["feature"] = np.where(leaf, 0, columns[np.where(leaf, 0, tree["feature_idx"])])
    out["threshold"] = np.where(leaf, 0.0, tree["num_threshold"])
    out["missing_left"] = tree["missing_go_to_left"].astype(bool)
    out["left"] = np.where(leaf, own, tree["left"].astype(np.int64) + start)
    out["right"] = np.where(leaf, own, tree["right"].astype(np.int64) + start)
    out["value"] = np.where(leaf, tree["value"], 0.0)
    return out
