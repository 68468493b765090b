"""What each fusion can learn and what it cannot: sums, products of two streams, tokens that match."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS
from models.training.weights import seeded

WIDTH, TRAINING, TEST, STEPS = 16, 4000, 2000, 600
Drawn = tuple[list[Tokens], torch.Tensor]

ADDITIVE = {"sum", "weighted"}
READS_PRODUCTS = {"concat", "gated", "bottleneck", "bilinear", "dense", "graph", "experts"}
READS_MATCHES = {"attention", "joint", "bottleneck", "bilinear", "correspondence"}
READS_MEANS = {"concat", "sum", "weighted", "gated", "dense", "graph", "experts"}


def whole(*values: torch.Tensor) -> list[Tokens]:
    """Streams of which everything is present; the last says nothing of the outcome."""
    noise = torch.randn(len(values[0]), 1, WIDTH)
    return [Tokens(v, torch.ones(v.shape[:2], dtype=torch.bool)) for v in (*values, noise)]


def outcome(logit: torch.Tensor) -> torch.Tensor:
    return (torch.rand(len(logit)) < logit.sigmoid()).float()


def summing(cases: int) -> Drawn:
    """The log-odds are a number of one stream's mean plus one of another's."""
    one, other = torch.randn(cases, 3, WIDTH), torch.randn(cases, 2, WIDTH)
    return whole(one, other), outcome(3 * (one[..., 0].mean(1) * 3**0.5 + other[..., 1].mean(1) * 2**0.5))


def product(cases: int) -> Drawn:
    """They are the product of the two: either by itself says nothing."""
    one, other = torch.randn(cases, 3, WIDTH), torch.randn(cases, 2, WIDTH)
    return whole(one, other), outcome(5 * (one[..., 0].mean(1) * 3**0.5) * (other[..., 1].mean(1) * 2**0.5))


def matching(cases: int) -> Drawn:
    """Four tokens each, of which each has one of four names, in any order, and a sign: how many signs agree by name?"""
    streams, signs = [], []
    for _ in range(2):
        names = torch.rand(cases, 4).argsort(1)
        sign = torch.randint(0, 2, (cases, 4)) * 2.0 - 1
        tokens = 0.1 * torch.randn(cases, 4, WIDTH)
        tokens.scatter_add_(2, names[..., None], torch.full((cases, 4, 1), 2.0))
        tokens[..., 8] += 2 * sign
        streams.append(tokens)
        signs.append(torch.zeros(cases, 4).scatter_(1, names, sign))
    return whole(*streams), outcome(2.5 * (signs[0] * signs[1]).sum(1))


def learned(kind: str, task: Callable[[int], Drawn]) -> float:
    """The AUROC on new cases after a short training."""
    from sklearn.metrics import roc_auc_score

    with seeded(0):
        fusion, head = FUSIONS[kind](FusionConfig(kind=kind), WIDTH, 3, 1, 0.0), torch.nn.Linear(WIDTH, 1)
        optimiser = torch.optim.AdamW([*fusion.parameters(), *head.parameters()], lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        parts, target = task(TRAINING)
        for _ in range(STEPS):
            rows = torch.randint(0, TRAINING, (128,))
            logit = head(fusion([t.rows(rows) for t in parts])[:, 0])[:, 0]
            optimiser.zero_grad()
            binary_cross_entropy_with_logits(logit, target[rows]).backward()  # type: ignore[no-untyped-call]  # torch's own
            optimiser.step()
            schedule.step()
        parts, target = task(TEST)
        with torch.no_grad():
            return float(roc_auc_score(target.numpy(), head(fusion(parts)[:, 0])[:, 0].numpy()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FUSIONS))
def test_every_fusion_learns_a_sum(kind: str) -> None:
    assert learned(kind, summing) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(ADDITIVE | READS_PRODUCTS))
def test_a_product_of_streams_is_learned_by_those_that_are_said_to_and_not_by_sums(kind: str) -> None:
    found = learned(kind, product)
    assert 0.4 < found < 0.6 if kind in ADDITIVE else found > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(READS_MATCHES | READS_MEANS))
def test_matching_tokens_are_learned_by_those_that_see_tokens_and_not_from_means(kind: str) -> None:
    found = learned(kind, matching)
    assert found > 0.8 if kind in READS_MATCHES - READS_MEANS else found < 0.72
