"""Auxiliary losses are the papers' formulas, written out as loops, and know nothing of cases that are not there."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import TrainingConfig
from models.encoders.tokens import Tokens
from models.training.contrast import Contrasts, cross_modal, supervised_contrastive, triplet

CASES, WIDTH = 11, 5


def drawn(seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(CASES, WIDTH)), rng.integers(0, classes, CASES), rng.random(CASES) < 0.8


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.stack([v / math.sqrt(sum(v**2)) for v in vectors])


def tensors(
    vectors: np.ndarray, label: np.ndarray, here: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.from_numpy(vectors), torch.from_numpy(label), torch.from_numpy(here)


def triplet_loops(vectors: np.ndarray, label: np.ndarray, here: np.ndarray, margin: float, hardest: bool) -> float:
    z, there = unit(vectors), np.flatnonzero(here)
    costs: dict[int, list[tuple[float, float]]] = {}
    for a, p, n in permutations(there.tolist(), 3):
        if label[a] == label[p] and label[a] != label[n]:
            near, far = sum((z[a] - z[p]) ** 2), sum((z[a] - z[n]) ** 2)
            costs.setdefault(a, []).append((near, far))
    if hardest:
        each = [max(0.0, max(p for p, _ in c) - min(n for _, n in c) + margin) for c in costs.values()]
    else:
        each = [max(0.0, p - n + margin) for c in costs.values() for p, n in c]
    return float(np.mean(each)) if each else 0.0


@pytest.mark.parametrize("hardest", [True, False])
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), margin=st.floats(0.05, 2))
def test_the_triplet_loss_is_schroffs(seed: int, margin: float, hardest: bool) -> None:
    vectors, label, here = drawn(seed)
    found = triplet(*tensors(vectors, label, here), margin, hardest=hardest)
    assert float(found) == pytest.approx(triplet_loops(vectors, label, here, margin, hardest), abs=1e-9)


def supervised_loops(vectors: np.ndarray, label: np.ndarray, here: np.ndarray, temperature: float) -> float:
    z, there = unit(vectors), np.flatnonzero(here)
    each = []
    for i in there:
        others = [a for a in there if a != i]
        alike = [p for p in others if label[p] == label[i]]
        if alike:
            below = sum(math.exp(z[i] @ z[a] / temperature) for a in others)
            each.append(-sum(math.log(math.exp(z[i] @ z[p] / temperature) / below) for p in alike) / len(alike))
    return float(np.mean(each)) if each else 0.0


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), temperature=st.floats(0.05, 1))
def test_the_supervised_contrast_is_khoslas(seed: int, temperature: float) -> None:
    vectors, label, here = drawn(seed)
    found = supervised_contrastive(*tensors(vectors, label, here), temperature)
    assert float(found) == pytest.approx(supervised_loops(vectors, label, here, temperature), rel=1e-6)


def clip_loops(streams: list[tuple[np.ndarray, np.ndarray]], temperature: float) -> float:
    pairs = []
    for i in range(len(streams)):
        for j in range(i + 1, len(streams)):
            both = np.flatnonzero(streams[i][1] & streams[j][1])
            if len(both) < 2:
                continue
            near = unit(streams[i][0])[both] @ unit(streams[j][0])[both].T / temperature
            rows = [-math.log(math.exp(near[k, k]) / sum(np.exp(near[k]))) for k in range(len(both))]
            columns = [-math.log(math.exp(near[k, k]) / sum(np.exp(near[:, k]))) for k in range(len(both))]
            pairs.append((np.mean(rows) + np.mean(columns)) / 2)
    return float(np.mean(pairs)) if pairs else 0.0


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.1, 0.3, 0.8, 1.0]))
def test_the_contrast_of_streams_is_clips(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    streams = [(rng.normal(size=(CASES, WIDTH)), rng.random(CASES) < share) for _ in range(3)]
    found = cross_modal([(torch.from_numpy(a), torch.from_numpy(b)) for a, b in streams], 0.2)
    assert float(found) == pytest.approx(clip_loops(streams, 0.2), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("label", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "nobody alike"])
def test_where_nothing_can_be_compared_there_is_neither_loss_nor_nan(label: list[int]) -> None:
    vector = torch.randn(4, 3, requires_grad=True)
    labels, here = torch.tensor(label), torch.ones(4, dtype=torch.bool)
    total = triplet(vector, labels, here, 0.2, hardest=True) + triplet(vector, labels, here, 0.2, hardest=False)
    total = total + supervised_contrastive(vector, labels, ~here, 0.1)
    nothing = torch.zeros(4, dtype=torch.bool)
    total = total + cross_modal([(vector, nothing), (vector, here)], 0.1)
    assert float(total.detach()) == 0
    total.backward()  # type: ignore[no-untyped-call]  # torch's own
    assert vector.grad is not None
    assert not bool(vector.grad.any())


def test_what_lies_where_nothing_is_there_does_not_matter() -> None:
    vectors, label, here = drawn(4)
    other = np.where(here[:, None], vectors, 1e3)
    one, two = tensors(vectors, label, here), tensors(other, label, here)
    assert float(triplet(*one, 0.3, hardest=True)) == pytest.approx(float(triplet(*two, 0.3, hardest=True)))
    assert float(supervised_contrastive(*one, 0.3)) == pytest.approx(float(supervised_contrastive(*two, 0.3)))
    beside = tensors(*drawn(5))[::2]
    assert float(cross_modal([(one[0], one[2]), beside], 0.3)) == pytest.approx(
        float(cross_modal([(two[0], two[2]), beside], 0.3))
    )


def test_a_configuration_weighs_and_sums_them() -> None:
    vectors, label, here = drawn(7)
    fused = torch.from_numpy(vectors).float()[:, None].repeat(1, 3, 1)
    outcome, there = torch.from_numpy(label)[:, None], torch.from_numpy(here)
    asked = TrainingConfig(triplet=0.5, supervised_contrastive=2.0, triplet_margin=0.4, temperature=0.3)
    expected = 0.5 * triplet_loops(vectors, label, here, 0.4, True) + 2.0 * supervised_loops(vectors, label, here, 0.3)
    assert float(Contrasts(asked).vectors(fused, outcome, there)) == pytest.approx(expected, rel=1e-4)
    tokens = {
        name: Tokens(torch.from_numpy(drawn(seed)[0]).float()[:, None], torch.from_numpy(drawn(seed)[2])[:, None])
        for name, seed in (("a", 1), ("b", 2))
    }
    alone = clip_loops([drawn(1)[::2], drawn(2)[::2]], 0.1)
    asked = TrainingConfig(cross_modal_contrastive=3.0)
    assert float(Contrasts(asked).streams(tokens)) == pytest.approx(3 * alone, rel=1e-4)
    assert not Contrasts(TrainingConfig()).of_vectors
    assert not Contrasts(TrainingConfig()).of_streams
