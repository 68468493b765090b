"""What every network keeps to, whichever fusion it has: absent is absent, and cases do not know of one another."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ingest.batch import Batch
from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.config import ModelConfig
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS
from models.network import Network, build_network
from models.training.losses import member_loss

CASES = 16


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=80)


@pytest.fixture(scope="module")
def batch(cohort: Cohort) -> Batch:
    return cohort.batch(np.arange(CASES))


@pytest.fixture(scope="module", params=sorted(FUSIONS))
def network(request: pytest.FixtureRequest, cohort: Cohort, shaken_network: Callable[..., Network]) -> Network:
    return shaken_network(cohort, request.param)


@torch.no_grad()
def test_what_an_absent_stream_holds_changes_nothing(network: Network, batch: Batch) -> None:
    tokens = network.encode(batch.streams)
    for i, name in enumerate(network.stream_names):
        keep = torch.ones(CASES, len(tokens), dtype=torch.bool)
        keep[:, i] = False
        garbage = 1000 * torch.randn_like(tokens[name].values)
        other = {**tokens, name: Tokens(garbage, tokens[name].present)}
        torch.testing.assert_close(network.fuse(other, keep), network.fuse(tokens, keep), atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_absent_stream_is_not_a_stream_of_zeros(network: Network, batch: Batch) -> None:
    """The claim above would hold of a network that reads nothing, too."""
    tokens = network.encode(batch.streams)
    for name in network.stream_names:
        there = tokens[name].present.any(1)
        zeros = {**tokens, name: Tokens(torch.zeros_like(tokens[name].values), tokens[name].present)}
        without = {**tokens, name: tokens[name].keep(torch.zeros(CASES, dtype=torch.bool))}
        difference = (network.fuse(zeros) - network.fuse(without)).abs().amax(1)
        assert bool((difference[there] > 1e-4).any()), name


@torch.no_grad()
def test_a_permuted_batch_gives_permuted_logits(network: Network, batch: Batch) -> None:
    order = torch.randperm(CASES, generator=torch.Generator().manual_seed(0))
    permuted = {name: stream.rows(order) for name, stream in batch.streams.items()}
    torch.testing.assert_close(network(permuted), network(batch.streams)[order], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_case_reads_the_same_alone_as_in_company(network: Network, batch: Batch) -> None:
    together = network(batch.streams)
    for case in range(CASES):
        alone = network({name: stream.rows(torch.tensor([case])) for name, stream in batch.streams.items()})
        torch.testing.assert_close(alone[0], together[case], atol=1e-5, rtol=0)


@torch.no_grad()
def test_masking_by_keep_is_masking_by_without_for_every_coalition(network: Network, batch: Batch) -> None:
    tokens = network.encode(batch.streams)
    for coalition in itertools.product((False, True), repeat=len(tokens)):
        keep = torch.tensor(coalition).expand(CASES, -1)
        gone = [name for name, kept in zip(tokens, coalition, strict=True) if not kept]
        absent = network(batch.without(*gone).streams)
        torch.testing.assert_close(network.fuse(tokens, keep), absent, atol=1e-5, rtol=0)


@torch.no_grad()
def test_with_no_stream_at_all_every_case_has_one_and_the_same_logit(network: Network, batch: Batch) -> None:
    nothing = network(batch.without(*network.stream_names).streams)
    assert bool(torch.isfinite(nothing).all())
    torch.testing.assert_close(nothing, nothing[:1].expand_as(nothing), atol=1e-6, rtol=0)


def test_gradients_are_finite_where_a_case_has_nothing(network: Network, batch: Batch) -> None:
    lonely = batch.with_streams(
        {n: s.masked(torch.arange(CASES)[:, None] > 0) for n, s in batch.streams.items()}  # the first case has nothing
    )
    network.zero_grad()
    member_loss(network.meaning, network(lonely.streams), batch.outcome, torch.ones(CASES, 2)).backward()  # type: ignore[no-untyped-call]  # torch's own
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients.values())
    for name in network.stream_names:
        reached = [g for key, g in gradients.items() if key.startswith(f"encoders.{name}.")]
        assert any(bool(gradient.any()) for gradient in reached), name
    network.zero_grad()


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
@torch.no_grad()
def test_before_the_fusion_is_trained_evidence_adds_to_the_prior(
    fusion: str, cohort: Cohort, batch: Batch, tiny_config: Callable[..., ModelConfig]
) -> None:
    network = build_network(tiny_config(cohort, fusion), cohort.statistics, cohort.task).eval()
    network.fit_prior(torch.tensor(cohort.outcome))
    prevalence = float(cohort.target.mean())
    prior = np.log(prevalence / (1 - prevalence))
    expected = np.full(CASES, prior)
    for name, tokens in network.encode(batch.streams).items():
        layer = network.alone[name]
        assert isinstance(layer, torch.nn.Linear)
        for case in range(CASES):
            seen = tokens.values[case][tokens.present[case]]
            if len(seen):
                expected[case] += float(seen.mean(0) @ layer.weight[0] + layer.bias[0])
    logits = network(batch.streams)
    for member in range(logits.shape[1]):
        assert logits[:, member, 0].numpy() == pytest.approx(expected, abs=1e-5)
    nothing = network(batch.without(*network.stream_names).streams)
    assert nothing.numpy() == pytest.approx(prior, abs=1e-6)


@torch.no_grad()
def test_a_streams_own_reading_is_its_evidence_beside_the_prior(
    cohort: Cohort, batch: Batch, tiny_config: Callable[..., ModelConfig]
) -> None:
    network = build_network(tiny_config(cohort), cohort.statistics, cohort.task).eval()
    tokens = network.encode(batch.streams)
    for i, name in enumerate(network.stream_names):
        only = torch.zeros(CASES, len(tokens), dtype=torch.bool)
        only[:, i] = True
        there = tokens[name].present.any(1)
        alone = network.read_alone(name, tokens[name])[there]
        torch.testing.assert_close(network.fuse(tokens, only)[there, 0], alone, atol=1e-5, rtol=0)


def test_an_unknown_fusion_is_an_error_that_names_the_known_ones(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    with pytest.raises(TaskError, match=r"fusion: expected one of attention, .*product-of-experts, got 'mean'"):
        build_network(tiny_config(cohort, "mean"), cohort.statistics, cohort.task)


def test_a_width_that_the_heads_do_not_divide_is_an_error(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    config = tiny_config(cohort).model_copy(update={"width": 17})
    with pytest.raises(TaskError, match=r"model.width 17: expected a multiple of fusion.heads 2"):
        build_network(config, cohort.statistics, cohort.task)
