"""Small fusions with weights that are random throughout, and tokens of which some are absent."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS
from models.training.weights import seeded

Vector = npt.NDArray[np.float64]

WIDTH, MEMBERS = 16, 3
SMALL = {"heads": 2, "layers": 2, "rank": 5, "growth": 6, "bottlenecks": 2, "experts": 3}


@pytest.fixture(scope="session")
def build_fusion() -> Callable[..., torch.nn.Module]:
    """A factory: `build_fusion(kind, streams=3, seed=2, **settings)`, width 16, 3 members, no weight left at 0 or 1."""

    def make(kind: str, streams: int = 3, seed: int = 2, **settings: Any) -> torch.nn.Module:
        config = FusionConfig.model_validate({"kind": kind, **SMALL, **settings})
        with seeded(seed):
            module = FUSIONS[kind](config, WIDTH, streams, MEMBERS, 0.0).eval()
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        return module

    return make


@pytest.fixture(scope="session")
def draw_tokens() -> Callable[..., list[Tokens]]:
    """A factory: `draw_tokens(sizes=(4, 1, 2), batch=7, seed=0, share=0.6)`, tokens of which that share is present."""

    def make(
        sizes: Sequence[int] = (4, 1, 2), *, batch: int = 7, seed: int = 0, share: float = 0.6, width: int = WIDTH
    ) -> list[Tokens]:
        rng = torch.Generator().manual_seed(seed)
        parts = []
        for size in sizes:
            present = torch.rand(batch, size, generator=rng) < share
            parts.append(Tokens(torch.randn(batch, size, width, generator=rng) * present[..., None], present))
        return parts

    return make


class Weights:
    """A fusion's weights as float64 arrays, and its layers one vector at a time: what known answers are made of."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.arrays = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}

    def __getitem__(self, name: str) -> Vector:
        return self.arrays[name]

    def linear(self, name: str, x: Vector) -> Vector:
        """What `nn.Linear` makes of x."""
        rows = self[f"{name}.weight"]
        bias = self.arrays.get(f"{name}.bias", np.zeros(len(rows)))
        return np.array([sum(row[k] * x[k] for k in range(len(x))) + b for row, b in zip(rows, bias, strict=True)])

    def each(self, name: str, i: int, x: Vector) -> Vector:
        """What `EachLinear` makes of its i-th vector x."""
        weight = self[f"{name}.weight"][i]
        total = self[f"{name}.bias"][i].copy()
        for k in range(len(x)):
            total += x[k] * weight[k]
        return total

    def norm(self, name: str, x: Vector) -> Vector:
        """What `nn.LayerNorm` makes of x."""
        centred = x - sum(x) / len(x)
        return centred / math.sqrt(sum(centred**2) / len(x) + 1e-5) * self[f"{name}.weight"] + self[f"{name}.bias"]

    def layer(self, name: str, heads: int, query: Vector, keys: list[Vector]) -> Vector:
        """What `Layer` makes of one query that sees these keys, all of which are present."""
        seen = query
        if keys:
            asked = self.linear(f"{name}.attention.query", self.norm(f"{name}.norm", query))
            normed = [self.norm(f"{name}.norm", key) for key in keys]
            offered = [self.linear(f"{name}.attention.key", x) for x in normed]
            told = [self.linear(f"{name}.attention.value", x) for x in normed]
            size = len(query) // heads
            parts = []
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                share = self.softmax([float(asked[own] @ key[own]) / math.sqrt(size) for key in offered])
                parts.append(sum(w * value[own] for w, value in zip(share, told, strict=True)))
            seen = query + self.linear(f"{name}.attention.out", np.concatenate(parts))
        hidden = self.gelu(self.linear(f"{name}.think.1", self.norm(f"{name}.think.0", seen)))
        return np.asarray(seen + self.linear(f"{name}.think.4", hidden))

    @staticmethod
    def softmax(scores: Sequence[float]) -> list[float]:
        """By its definition."""
        powers = [math.exp(score) for score in scores]
        return [power / sum(powers) for power in powers]

    @staticmethod
    def gelu(x: Vector) -> Vector:
        """x Φ(x) (Hendrycks & Gimpel 2016)."""
        return np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x])


Answer = Callable[[Weights, list[list[Vector]]], Any]


@pytest.fixture(scope="session")
def check_against() -> Callable[..., None]:
    """`check_against(answer, module, parts)`: a fusion gives what `answer(weights, streams)` computes case by case.

    answer: a function of `Weights` and, for each stream, the list of its present tokens, (D,) each → (members, D).
    """

    def check(
        answer: Callable[[Weights, list[list[Vector]]], Any], module: torch.nn.Module, parts: list[Tokens]
    ) -> None:
        weights = Weights(module)
        with torch.no_grad():
            fused = module(parts)
        coalitions = set()
        for case in range(len(fused)):
            streams = [list(t.values[case][t.present[case]].double().numpy()) for t in parts]
            coalitions.add(tuple(bool(tokens) for tokens in streams))
            assert fused[case].numpy() == pytest.approx(np.asarray(answer(weights, streams)), abs=1e-5)
        assert len(coalitions) >= 4  # else too little was asked

    return check
