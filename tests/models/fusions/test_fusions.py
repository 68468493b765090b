"""The contract of every fusion: any tokens, any of them absent, one vector per member."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS

WIDTH, MEMBERS = 16, 3
Build = Callable[..., torch.nn.Module]
Draw = Callable[..., list[Tokens]]


@pytest.fixture(params=list(FUSIONS), scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fusion(kind: str, build_fusion: Build) -> torch.nn.Module:
    return build_fusion(kind)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", [(1,), (5,), (1, 1), (3, 1), (2, 1, 4), (1, 6, 2, 3)], ids=str)
@torch.no_grad()
def test_it_gives_a_vector_per_case_and_member(
    kind: str, sizes: tuple[int, ...], build_fusion: Build, draw_tokens: Draw
) -> None:
    fused = build_fusion(kind, len(sizes))(draw_tokens(sizes))
    assert fused.shape == (7, MEMBERS, WIDTH)
    assert bool(torch.isfinite(fused).all())


@pytest.mark.parametrize("rubbish", [100.0, -1e30, float("nan")])
def test_what_absent_tokens_hold_changes_neither_result_nor_gradients(
    rubbish: float, fusion: torch.nn.Module, draw_tokens: Draw
) -> None:
    found = []
    for filler in (0.0, rubbish):
        parts = [
            Tokens(torch.where(t.present[..., None], t.values, filler).requires_grad_(), t.present)
            for t in draw_tokens()
        ]
        fusion.zero_grad()
        fused = fusion(parts)
        fused.square().sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        reached = [t.values.grad for t in parts if t.values.grad is not None]
        for part, gradient in zip(parts, reached, strict=True):
            assert not bool(gradient[~part.present].any())
        found.append([fused, *reached, *(p.grad for p in fusion.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    extra=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    seed=st.integers(0, 2**16),
    share=st.floats(0, 1),
)
@torch.no_grad()
def test_more_absent_tokens_change_nothing(
    fusion: torch.nn.Module, draw_tokens: Draw, sizes: list[int], extra: list[int], seed: int, share: float
) -> None:
    parts = draw_tokens(sizes, seed=seed, share=share)
    padded = [
        Tokens(
            torch.cat([torch.full((7, more, WIDTH), 9.0), t.values], 1),
            torch.cat([torch.zeros(7, more, dtype=torch.bool), t.present], 1),
        )
        for t, more in zip(parts, extra, strict=True)
    ]
    close(fusion(padded), fusion(parts))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**16))
@torch.no_grad()
def test_the_order_of_tokens_within_a_stream_does_not_matter(
    fusion: torch.nn.Module, draw_tokens: Draw, data: st.DataObject, seed: int
) -> None:
    parts = draw_tokens((4, 3, 2), seed=seed)
    orders = [data.draw(st.permutations(range(t.present.shape[1]))) for t in parts]
    turned = [Tokens(t.values[:, o], t.present[:, o]) for t, o in zip(parts, orders, strict=True)]
    close(fusion(turned), fusion(parts))


@torch.no_grad()
def test_which_stream_said_it_matters(fusion: torch.nn.Module) -> None:
    values = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(1))
    here, gone = Tokens(values, torch.ones(1, 1, dtype=torch.bool)), Tokens(values * 0, torch.zeros(1, 1).bool())
    assert not torch.allclose(fusion([here, gone, gone]), fusion([gone, here, gone]), atol=1e-3)


@torch.no_grad()
def test_a_stream_that_is_there_with_zeros_is_not_one_that_is_absent(fusion: torch.nn.Module) -> None:
    values = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(1))
    yes, no = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    here, gone = Tokens(values, yes), Tokens(values * 0, no)
    zeros = Tokens(values * 0, yes)
    assert not torch.allclose(fusion([here, zeros, gone]), fusion([here, gone, gone]), atol=1e-3)


def test_nothing_at_all_is_a_state_that_it_knows(fusion: torch.nn.Module, draw_tokens: Draw) -> None:
    nothing = [t.keep(torch.zeros(7, dtype=torch.bool)) for t in draw_tokens(share=1.0)]
    fusion.zero_grad()
    fused = fusion(nothing)
    assert bool(torch.isfinite(fused).all())
    torch.testing.assert_close(fused, fused[:1].expand_as(fused), atol=1e-6, rtol=0)
    with torch.no_grad():
        close(fusion([t.rows(torch.tensor([0])) for t in draw_tokens((2, 3, 1), seed=5, share=0)]), fused[:1])
    if fused.requires_grad and fused.grad_fn is not None:
        fused.sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert all(bool(torch.isfinite(p.grad).all()) for p in fusion.parameters() if p.grad is not None)


@torch.no_grad()
def test_a_case_reads_the_same_alone_as_in_company(fusion: torch.nn.Module, draw_tokens: Draw) -> None:
    parts = draw_tokens()
    together = fusion(parts)
    for case in range(7):
        close(fusion([t.rows(torch.tensor([case])) for t in parts])[0], together[case])


def test_every_weight_is_reached_when_all_streams_are_there(kind: str, build_fusion: Build, draw_tokens: Draw) -> None:
    module = build_fusion(kind)
    sizes: dict[str, torch.Tensor] = {}
    for seed in range(4):  # one draw's gradient may be small by chance
        module.zero_grad()
        fused = module(draw_tokens((4, 3, 2), batch=32, share=1.0, seed=seed))
        (fused * torch.randn(fused.shape, generator=torch.Generator().manual_seed(seed))).sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            sizes[name] = sizes.get(name, 0) + parameter.grad.abs()
    for name, size in sizes.items():
        reached = size > 1e-3
        if name.endswith("self_attn.in_proj_bias"):  # torch's layer gives keys a bias, which no softmax sees
            assert not bool(reached[WIDTH : 2 * WIDTH].any())
            reached[WIDTH : 2 * WIDTH] = True
        assert bool(reached.all()), name


@torch.no_grad()
def test_members_differ_from_one_another(kind: str, build_fusion: Build, draw_tokens: Draw) -> None:
    for streams in (1, 3):
        fused = build_fusion(kind, streams)(draw_tokens((2,) * streams, share=1.0))
        for one in range(MEMBERS):
            for other in range(one):
                assert float((fused[:, one] - fused[:, other]).abs().amax(1).min()) > 1e-2


@torch.no_grad()
def test_half_precision_gives_nearly_the_same(fusion: torch.nn.Module, draw_tokens: Draw) -> None:
    parts = draw_tokens()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = fusion(parts)
        from_half = fusion([Tokens(t.values.bfloat16(), t.present) for t in parts])
    full = fusion(parts)
    for rough in (half, from_half):
        assert float((rough.float() - full).norm() / full.norm()) < 0.03


def test_half_precision_has_finite_gradients(fusion: torch.nn.Module, draw_tokens: Draw) -> None:
    fusion.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = fusion(draw_tokens(share=0.4))
    fused.float().square().sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert all(bool(torch.isfinite(p.grad).all()) for p in fusion.parameters() if p.grad is not None)


@pytest.mark.parametrize("streams", [1, 3])
@torch.no_grad()
def test_its_weights_can_be_kept_and_loaded(
    kind: str, streams: int, build_fusion: Build, draw_tokens: Draw, tmp_path: Path
) -> None:
    module, other = build_fusion(kind, streams), build_fusion(kind, streams, seed=9)
    parts = draw_tokens((2,) * streams, share=1.0)
    assert not torch.allclose(module(parts), other(parts), atol=1e-3)
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert torch.equal(module(parts), other(parts))


@torch.no_grad()
def test_it_compiles_to_one_graph(kind: str, build_fusion: Build, draw_tokens: Draw) -> None:
    """`fullgraph` refuses any control flow that depends on data. Tracing is what is tested, so nothing is generated."""
    torch._dynamo.reset()
    module = build_fusion(kind)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for seed, share in ((0, 0.6), (1, 0.0)):
        parts = draw_tokens(seed=seed, share=share)
        close(compiled(parts), module(parts))


@torch.no_grad()
def test_at_the_start_of_training_it_keeps_the_scale_of_its_tokens(kind: str, draw_tokens: Draw) -> None:
    for streams in (1, 3, 8):
        module = FUSIONS[kind](FusionConfig(kind=kind), 48, streams, 8, 0.0).eval()
        fused = module(draw_tokens((1,) * streams, batch=128, share=1.0, width=48))
        assert 0.2 < float(fused.square().mean().sqrt()) < 2
        assert 0.1 < float(fused.std(0).mean()) < 2  # it is the cases that differ
