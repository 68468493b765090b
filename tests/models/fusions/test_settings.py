"""A fusion's settings are checked, and read by the kinds that are said to read them and by no others."""

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from models.config import FusionConfig
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS

READ_BY = {
    "layers": (3, {"attention", "joint", "cross-attention", "bottleneck", "dense", "graph"}),
    "heads": (4, {"attention", "joint", "cross-attention", "bottleneck"}),
    "bottlenecks": (3, {"bottleneck"}),
    "rank": (6, {"bilinear"}),
    "growth": (7, {"dense"}),
    "sinkhorn_steps": (0, {"correspondence"}),
    "experts": (4, {"experts"}),
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": 0}, {"layers": 13}, {"heads": 0}, {"bottlenecks": 0}, {"bottlenecks": 65}, {"rank": 0},
        {"rank": 513}, {"growth": 0}, {"growth": 513}, {"experts": 1}, {"experts": 65}, {"sinkhorn_steps": -1},
        {"sinkhorn_steps": 101}, {"ranks": 4},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_out_of_its_range_is_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=rf"\n{next(iter(wrong))}\n"):
        FusionConfig.model_validate(wrong)


def test_every_setting_has_kinds_that_read_it() -> None:
    assert set(FusionConfig.model_fields) == {"kind", *READ_BY}
    for setting in READ_BY:
        assert f" {setting}: " in " ".join((FusionConfig.__doc__ or "").split())


@pytest.mark.parametrize("setting", list(READ_BY))
@torch.no_grad()
def test_a_setting_changes_the_kinds_that_read_it_and_no_others(
    setting: str, build_fusion: Callable[..., torch.nn.Module], draw_tokens: Callable[..., list[Tokens]]
) -> None:
    other, expected = READ_BY[setting]
    parts = draw_tokens()
    changed = {
        kind
        for kind in FUSIONS
        if not torch.equal(build_fusion(kind)(parts), build_fusion(kind, **{setting: other})(parts))
    }
    assert changed == expected
