"""Low-rank updates change nothing at first, are what the paper's equation says, and are all that learns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrize

from ingest.errors import TaskError
from models.config import EncoderConfig
from models.encoders.backbone import Backbone, fixed_keys
from models.encoders.lora import LowRank, add_low_rank
from models.training.weights import seeded


def small_network() -> nn.Module:
    """Images (n, 2, 9, 9) through a convolution, a depthwise one, a normalisation and a linear layer."""
    with seeded(3):
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, stride=2, padding=1),
            nn.Conv2d(6, 6, 3, groups=6),
            nn.BatchNorm2d(6),
            nn.Flatten(),
            nn.Linear(54, 5),
        )


def shaken(network: nn.Module) -> nn.Module:
    """The network with updates that are not 0."""
    with torch.no_grad(), seeded(4):
        for name, parameter in network.named_parameters():
            if name.endswith(".up"):
                parameter.normal_()
    return network


def updates(network: nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {n: (m.down.detach(), m.up.detach()) for n, m in network.named_modules() if isinstance(m, LowRank)}


@torch.no_grad()
def test_at_first_nothing_changes() -> None:
    images, network = torch.randn(4, 2, 9, 9), small_network().eval()
    before = network(images)
    assert add_low_rank(network, 2) == ["0", "4"]  # not the depthwise convolution
    assert torch.equal(network(images), before)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**16))
def test_beside_a_linear_layer_it_is_the_papers_equation(into: int, out: int, rank: int, seed: int) -> None:
    with seeded(seed):
        layer = nn.Linear(into, out)
        x = torch.randn(3, into)
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    adapted = nn.Sequential(layer)
    add_low_rank(adapted, rank)
    shaken(adapted)
    ((down, up),) = updates(adapted).values()
    assert down.shape == (min(rank, into, out), into)
    a, b = down.double().numpy(), up.double().numpy()
    h = np.einsum("oi,ni->no", weight, x) + np.einsum("or,ri,ni->no", b, a, x) + bias
    np.testing.assert_allclose(adapted(x).detach(), h, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "function", "size"),
    [(nn.Conv2d, nn.functional.conv2d, (9, 8)), (nn.Conv3d, nn.functional.conv3d, (5, 6, 7))],
)
@torch.no_grad()
def test_beside_a_convolution_it_is_a_narrow_one_and_one_of_side_one(
    kind: type[nn.Conv2d], function: Callable[..., torch.Tensor], size: tuple[int, ...]
) -> None:
    network = nn.Sequential(kind(3, 8, 3, stride=2, padding=1, dilation=1))
    images = torch.randn(2, 3, *size)
    plain = network(images)
    add_low_rank(network, 4)
    shaken(network)
    ((down, up),) = updates(network).values()
    assert down.shape == (4, 3, *(3,) * len(size))
    narrow = function(images, down, stride=2, padding=1)
    beside = function(narrow, up.reshape(8, 4, *(1,) * len(size)))
    assert float(beside.abs().max()) > 0.1
    torch.testing.assert_close(network(images), plain + beside, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_merged_into_the_weights_it_gives_the_same() -> None:
    network = small_network().eval()
    add_low_rank(network, 3)
    images, plain = torch.randn(4, 2, 9, 9), small_network().eval()
    adapted = shaken(network)(images)
    assert not torch.allclose(adapted, plain(images), atol=0.1)
    for name, (down, up) in updates(network).items():
        layer = plain.get_submodule(name.split(".")[0])
        layer.weight += torch.tensordot(up, down, 1)  # type: ignore[operator]
    torch.testing.assert_close(plain(images), adapted, atol=1e-4, rtol=1e-4)
    for at in (0, 4):
        parametrize.remove_parametrizations(network.get_submodule(str(at)), "weight")
    assert network.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(network(images), adapted)


def test_only_the_updates_learn_and_they_are_few() -> None:
    rank = 2
    network = Backbone(small_network(), EncoderConfig(lora_rank=rank))
    learnt = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in learnt.values()) == rank * (2 * 9 + 6) + rank * (54 + 5)
    assert all(name.endswith((".up", ".down")) for name in learnt)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW(learnt.values(), lr=0.1)
    for _ in range(2):  # A has no gradient while B is 0
        network.train()(torch.randn(4, 2, 9, 9)).square().sum().backward()
        optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == set(learnt)


def test_what_training_leaves_alone_is_named() -> None:
    def holding(**config: object) -> nn.Module:
        outer = nn.Module()
        outer.backbone = Backbone(small_network(), EncoderConfig.model_validate(config))
        outer.out = nn.Linear(5, 2)
        return outer

    assert fixed_keys(holding()) == set()
    frozen = holding(frozen=True)
    assert fixed_keys(frozen) == {key for key in frozen.state_dict() if key.startswith("backbone.")}
    adapted = holding(lora_rank=1)
    learnt = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert fixed_keys(adapted) == set(adapted.state_dict()) - learnt
    assert "backbone.network.2.running_mean" in fixed_keys(adapted)
    assert fixed_keys(Backbone(small_network(), EncoderConfig(frozen=True))) == {
        f"network.{key}" for key in small_network().state_dict()
    }


@torch.no_grad()
def test_an_adapted_network_is_kept_as_safetensors_and_read_back(tmp_path: Path) -> None:
    network = shaken(Backbone(small_network(), EncoderConfig(lora_rank=2)).eval())
    save_file(network.state_dict(), tmp_path / "adapted.safetensors")  # refuses tensors that share memory
    other = Backbone(small_network(), EncoderConfig(lora_rank=2)).eval()
    for parameter in other.parameters():
        parameter.zero_()
    images = torch.randn(2, 2, 9, 9)
    other.load_state_dict(load_file(tmp_path / "adapted.safetensors"))
    assert torch.equal(other(images), network(images))


def test_targets_choose_the_layers() -> None:
    network = nn.ModuleDict({"attention": nn.Linear(4, 4), "feed": nn.Linear(4, 4)})
    assert add_low_rank(network, 2, "(?i)ATT") == ["attention"]
    assert not network["feed"].weight.requires_grad
    with pytest.raises(
        TaskError, match=r"encoder.lora_rank 2: expected .* layers named like 'query', found none in Sequ"
    ):
        add_low_rank(nn.Sequential(nn.Linear(2, 2)), 2, "query")


def test_frozen_and_low_rank_updates_exclude_each_other() -> None:
    with pytest.raises(TaskError, match="expected frozen or lora_rank, got frozen: true and lora_rank: 4"):
        Backbone(small_network(), EncoderConfig(frozen=True, lora_rank=4))


@pytest.mark.parametrize("config", [{"frozen": True}, {"lora_rank": 2}])
@torch.no_grad()
def test_what_stays_as_it_is_keeps_its_statistics(config: dict[str, object]) -> None:
    network = Backbone(small_network(), EncoderConfig.model_validate(config)).train()
    assert not any(module.training for module in network.modules())
    images = torch.randn(4, 2, 9, 9)
    assert torch.equal(network(images), network.eval()(images))
    assert Backbone(small_network(), EncoderConfig()).train().network.training
