"""The contract of every fusion: any tokens, any of them absent, one vector per member."""

import pytest
import torch

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS
from models.training.weights import seeded

BATCH, WIDTH, MEMBERS = 7, 16, 3
SIZES = (4, 1, 2)  # tokens of each stream


def fusion(kind: str) -> torch.nn.Module:
    with seeded(2):
        return FUSIONS[kind](FusionConfig(kind=kind, heads=2), WIDTH, len(SIZES), MEMBERS, 0.0).eval()


def drawn(seed: int = 0) -> list[Tokens]:
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for size in SIZES:
        present = torch.rand(BATCH, size, generator=rng) > 0.4
        parts.append(Tokens(torch.randn(BATCH, size, WIDTH, generator=rng) * present[..., None], present))
    return parts


@pytest.fixture(params=sorted(FUSIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@torch.no_grad()
def test_it_gives_a_vector_per_case_and_member(kind: str) -> None:
    fused = fusion(kind)(drawn())
    assert fused.shape == (BATCH, MEMBERS, WIDTH)
    assert bool(torch.isfinite(fused).all())


@torch.no_grad()
def test_absent_tokens_change_nothing(kind: str) -> None:
    parts = drawn()
    rubbish = [Tokens(torch.where(t.present[..., None], t.values, 100.0), t.present) for t in parts]
    torch.testing.assert_close(fusion(kind)(rubbish), fusion(kind)(parts), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_order_of_tokens_within_a_stream_does_not_matter(kind: str) -> None:
    parts = drawn()
    turned = [Tokens(t.values.flip(1), t.present.flip(1)) for t in parts]
    torch.testing.assert_close(fusion(kind)(turned), fusion(kind)(parts), atol=1e-5, rtol=0)


@torch.no_grad()
def test_which_stream_said_it_matters(kind: str) -> None:
    values = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(1))
    here, gone = Tokens(values, torch.ones(1, 1, dtype=torch.bool)), Tokens(values * 0, torch.zeros(1, 1).bool())
    module = fusion(kind)
    assert not torch.allclose(module([here, gone, gone]), module([gone, here, gone]), atol=1e-4)


@torch.no_grad()
def test_nothing_at_all_is_a_state_that_it_knows(kind: str) -> None:
    nothing = [t.keep(torch.zeros(BATCH, dtype=torch.bool)) for t in drawn()]
    fused = fusion(kind)(nothing)
    assert bool(torch.isfinite(fused).all())
    torch.testing.assert_close(fused, fused[:1].expand_as(fused), atol=1e-6, rtol=0)


@torch.no_grad()
def test_members_differ_from_one_another(kind: str) -> None:
    fused = fusion(kind)(drawn())
    assert not torch.allclose(fused[:, 0], fused[:, 1], atol=1e-4)
