"""What single fusions promise beyond the contract: matches that are found, experts in use, weights handed on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions.correspondence import sinkhorn
from models.fusions.experts import ExpertsFusion
from models.fusions.graph import GraphFusion
from models.fusions.pooling import masked_softmax, mean_of_present

Build = Callable[..., torch.nn.Module]
Draw = Callable[..., list[Tokens]]


def drawn_scores(seed: int, scale: float, rows: int = 5, columns: int = 4) -> tuple[torch.Tensor, ...]:
    """scores (1, rows, columns), and which rows and columns are there: the first always."""
    rng = torch.Generator().manual_seed(seed)
    here, there = torch.rand(1, rows, generator=rng) < 0.6, torch.rand(1, columns, generator=rng) < 0.6
    here[:, 0] = there[:, 0] = True
    return torch.randn(1, rows, columns, generator=rng) * scale, here, there


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0, 3))
def test_a_transport_plan_has_the_marginals_of_what_is_present(seed: int, scale: float) -> None:
    scores, here, there = drawn_scores(seed, scale)
    plan = sinkhorn(scores.double(), here, there, 100).exp() * (here[:, :, None] & there[:, None])
    # Columns are scaled last, so they are exact; rows converge.
    torch.testing.assert_close(plan.sum(1), there / there.sum(1, keepdim=True).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(plan.sum(2), here / here.sum(1, keepdim=True).double(), atol=1e-2, rtol=0)


def test_without_steps_the_alignment_is_the_similarity_itself() -> None:
    scores, here, there = drawn_scores(0, 1.0)
    assert torch.equal(sinkhorn(scores, here, there, 0), scores)


def test_a_plan_of_great_similarities_is_finite_and_so_is_its_gradient() -> None:
    scores, here, there = drawn_scores(1, 1e4)
    plan = sinkhorn(scores.requires_grad_(), here, there, 10)
    masked_softmax(plan, there[:, None]).square().sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert bool(torch.isfinite(plan).all())
    assert scores.grad is not None
    assert bool(torch.isfinite(scores.grad).all())


def test_tokens_that_are_the_same_find_each_other_in_any_order() -> None:
    """Soft assignment alone sends two tokens to the same partner where one is loud; equal marginals do not."""
    rng = torch.Generator().manual_seed(3)
    tokens = torch.nn.functional.normalize(torch.randn(1, 6, 16, generator=rng), dim=2)
    tokens[:, 0] *= 3  # every product with it is great
    order = torch.randperm(6, generator=rng)
    scores = 20 * tokens @ tokens[:, order].transpose(1, 2)
    everyone = torch.ones(1, 6, dtype=torch.bool)
    found = sinkhorn(scores, everyone, everyone, 100)[0].argmax(1)
    assert order[found].tolist() == list(range(6))


@torch.no_grad()
def test_an_absent_streams_weight_goes_to_the_others_in_proportion() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 5.0]]))
    share = masked_softmax(scores, torch.tensor([[True, True, False]]))
    assert share[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert masked_softmax(scores, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 0]]


@torch.no_grad()
def test_a_mean_over_present_keeps_the_shape_of_what_it_is_of() -> None:
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    present = torch.tensor([[True, False, True], [False, False, False]])
    expected = np.stack([(values[0, 0].numpy() + values[0, 2].numpy()) / 2, np.zeros((2, 2))])
    assert mean_of_present(values, present).numpy() == pytest.approx(expected)


@pytest.fixture
def experts(build_fusion: Build) -> ExpertsFusion:
    module = build_fusion("experts", experts=3)
    assert isinstance(module, ExpertsFusion)
    return module


@torch.no_grad()
def test_a_router_that_asks_all_alike_is_in_balance_and_one_that_asks_a_single_expert_is_not(
    experts: ExpertsFusion, draw_tokens: Draw
) -> None:
    parts = draw_tokens()
    experts.router.weight.zero_()
    experts.router.bias.zero_()
    assert float(experts.imbalance(parts)) == pytest.approx(0, abs=1e-6)
    experts.router.bias.view(experts.members, 3)[:, 1] = 100
    assert float(experts.imbalance(parts)) == pytest.approx(2)  # E - 1, its greatest value


def test_the_imbalance_is_the_squared_coefficient_of_variation_and_trains_the_router_alone(
    experts: ExpertsFusion, draw_tokens: Draw
) -> None:
    parts = draw_tokens()
    penalty = experts.imbalance(parts)
    routed = experts.route(parts).detach().numpy()
    assert routed.sum(2) == pytest.approx(np.ones(routed.shape[:2]), abs=1e-6)
    importance = [[sum(case[member][e] for case in routed) for e in range(3)] for member in range(experts.members)]
    expected = np.mean([(np.std(row) / np.mean(row)) ** 2 for row in importance])
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-4)
    penalty.backward()  # type: ignore[no-untyped-call]  # torch's own
    reached = {name for name, parameter in experts.named_parameters() if parameter.grad is not None}
    assert reached == {"router.weight", "router.bias"}


@torch.no_grad()
def test_at_first_every_stream_of_the_graph_hears_all_that_are_there_alike() -> None:
    graph = GraphFusion(FusionConfig(kind="graph"), 16, 3, 2, 0.0)
    there = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    spread = graph.normalised(there).numpy()
    assert spread[0] == pytest.approx(np.full((3, 3), 1 / 3))
    assert spread[1] == pytest.approx(np.array([[0.5, 0, 0.5], [0, 0, 0], [0.5, 0, 0.5]]))
    assert spread[2] == pytest.approx(np.zeros((3, 3)))
