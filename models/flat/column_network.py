"""A network on columns: piecewise-linear encoding, a projection that keeps the spectrum, a small MLP per member."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from models.objectives import Objective

BINS = 6
COMPONENTS = 192
HIDDEN = 64
EPOCHS = 10
FEWEST_VALUES = 20  # of a column, to be read as a number and not only as there or not there
RATE, DECAY, INPUT_DROPOUT, DROPOUT = 1e-3, 0.02, 0.2, 0.3
SD_FLOOR = 0.1  # a code that hardly varies is not blown up


class ColumnNetwork(nn.Module):
    """columns (B, P), NaN where missing → logits (B, members, O).

    A column becomes BINS numbers, how far its value has come through each of the training quantiles' intervals
    (Gorishniy et al. 2022, "On embeddings for numerical features", eq. 1), and a flag where it is missing. All of them,
    standardised, are projected on the first principal axes and divided by one number, so that what varies much stays
    large. Each member has an MLP of two layers and a linear path of its own.
    """

    edges: torch.Tensor
    centre: torch.Tensor
    spread: torch.Tensor
    axes: torch.Tensor
    prior: torch.Tensor

    def __init__(self, members: int, outputs: int) -> None:
        super().__init__()
        self.members, self.outputs = members, outputs
        self.register_buffer("prior", torch.zeros(outputs))
        for name, shape in {"edges": (0, BINS + 1), "centre": (0,), "spread": (0,), "axes": (0, COMPONENTS)}.items():
            self.register_buffer(name, torch.zeros(shape))
        sizes = (COMPONENTS, HIDDEN, HIDDEN)
        self.hidden = nn.ParameterList(nn.Parameter(torch.randn(members, a, b) * a**-0.5) for a, b in pairwise(sizes))
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, size)) for size in sizes[1:])
        self.last = nn.Parameter(torch.randn(members, HIDDEN, outputs) * 0.1 * HIDDEN**-0.5)
        self.straight = nn.Parameter(torch.zeros(members, COMPONENTS, outputs))

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """(B, members, O)."""
        return self.read(self.project(columns).expand(self.members, -1, -1)).transpose(0, 1)

    def project(self, columns: torch.Tensor) -> torch.Tensor:
        """(B, COMPONENTS)."""
        coded = (self._code(columns) - self.centre) / self.spread
        return torch.where(coded.isnan(), 0.0, coded) @ self.axes

    def read(self, projected: torch.Tensor) -> torch.Tensor:
        """projected (members, B, COMPONENTS) → (members, B, O)."""
        shown = nn.functional.dropout(projected, INPUT_DROPOUT, self.training)
        straight = shown @ self.straight
        for weight, bias in zip(self.hidden, self.bias, strict=True):
            shown = nn.functional.dropout(nn.functional.silu(shown @ weight + bias), DROPOUT, self.training)
        return self.prior + straight + shown @ self.last

    def _code(self, columns: torch.Tensor) -> torch.Tensor:
        """(B, P (BINS + 1)): NaN where a value is missing, beside its flag."""
        values = columns.float()
        width = self.edges.diff()
        come = (values[..., None] - self.edges[:, :-1]) / width.clamp(min=1e-30)
        come = torch.where(width > 0, come.clamp(0, 1), torch.nan)
        return torch.cat([come, values.isnan()[..., None].float()], -1).flatten(1)

    def _load_from_state_dict(self, state: dict[str, torch.Tensor], prefix: str, *rest: object) -> None:
        """As many columns as were fitted."""
        for name in ("edges", "centre", "spread", "axes"):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name], device=self.axes.device))
        super()._load_from_state_dict(state, prefix, *rest)

    def fit_projection(self, columns: np.ndarray, seed: int) -> None:
        """Fit the codes and their axes on training cases (n, P)."""
        from sklearn.utils.extmath import randomized_svd

        self.edges = torch.from_numpy(np.stack([_quantiles(column) for column in columns.T]))
        coded = self._code(torch.from_numpy(columns)).numpy()
        known = np.isfinite(coded)
        count = known.sum(0)
        filled = np.where(known, coded, 0.0)
        mean = filled.sum(0) / np.maximum(count, 1)
        deviation = np.sqrt((np.where(known, coded - mean, 0.0) ** 2).sum(0) / np.maximum(count, 1))
        spread = np.where(deviation > 0, np.maximum(deviation, SD_FLOOR), np.inf)  # what never varies says nothing
        self.centre, self.spread = (torch.from_numpy(x.astype(np.float32)) for x in (mean, spread))
        standard = np.where(known, (coded - mean) / spread, 0.0)
        components = min(COMPONENTS, *standard.shape)
        _, scale, axes = randomized_svd(standard - standard.mean(0), components, n_iter=2, random_state=seed)
        overall = math.sqrt(float((scale**2).sum()) / (len(standard) * components)) or 1.0
        placed = np.zeros((standard.shape[1], COMPONENTS), np.float32)
        placed[:, :components] = axes.T / overall
        self.axes = torch.from_numpy(placed)


def train_column_network(
    network: ColumnNetwork,
    versions: Sequence[np.ndarray],
    outcome: torch.Tensor,
    weight: torch.Tensor,
    objective: Objective,
    prior: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Train on cases (n, P) in several versions: the first whole, the others with streams hidden, seen half the time.

    outcome (n, K); weight (n, members): how often each member's bootstrap drew the case; prior (O,). Dropout draws from
    torch's global generator.
    """
    network.prior.copy_(prior)
    shown = torch.stack([network.project(torch.from_numpy(version)) for version in versions])
    cases, size = len(outcome), 128 if len(outcome) >= 2000 else 64
    steps = max(EPOCHS * math.ceil(cases / size), 2 * EPOCHS)  # the schedule needs room to warm up
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(EPOCHS):
        order = torch.stack([torch.randperm(cases, generator=generator) for _ in range(network.members)])
        for at in torch.split(order, size, 1):  # (members, b)
            hidden = torch.randint(1, len(versions), at.shape, generator=generator) if len(versions) > 1 else 0
            version = torch.where(torch.rand(at.shape, generator=generator) < 0.5, 0, hidden)
            losses = objective.loss(network.read(shown[version, at]), outcome[at])
            mine = weight[at, torch.arange(network.members)[:, None]]
            loss = ((losses * mine).sum(1) / mine.sum(1).clamp(min=1)).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()


def _quantiles(column: np.ndarray) -> np.ndarray:
    """(BINS + 1,) edges, the distinct training quantiles; the last one again where they are fewer."""
    known = column[np.isfinite(column)].astype(float)
    if len(known) < FEWEST_VALUES:
        return np.zeros(BINS + 1, np.float32)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)).astype(np.float32))
    return np.concatenate([edges, np.full(BINS + 1 - len(edges), edges[-1], np.float32)])
