"""Weights being swapped, averaged and drawn: three small tools of training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def swapped(network: nn.Module, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The network with these weights for the length of a `with` block."""
    current = network.state_dict()
    kept = {name: current[name].detach().clone() for name in state}
    _put(network, state)
    try:
        yield
    finally:
        _put(network, kept)


@torch.no_grad()
def follow(average: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], decay: float) -> None:
    """Move an exponential moving average towards the weights, in place (Polyak & Juditsky 1992)."""
    torch._foreach_lerp_(list(average.values()), [weights[name].float() for name in average], 1 - decay)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Dropout draws from torch's global generators; this seeds them and puts them back as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _put(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    current = network.state_dict()
    for name, tensor in state.items():
        current[name].copy_(tensor)
