"""Weights of an image network from a file: safetensors only, and all of them or none."""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path

import torch
from torch import nn

from ingest.errors import TaskError

Weights = Mapping[str, torch.Tensor]

# A classifier is trained for another question: its weights may be there and are left out.
CLASSIFIERS = ("fc.", "_fc.", "class_layers.", "classifier.", "classification_head.", "head.", "op_threshs")
OTHER_NAMES = ((r"(denselayer\d+)\.(norm|conv)([12])\.", r"\1.layers.\2\3."),)  # torchvision's, as MONAI says them
NAMED_AT_MOST = 4


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises TaskError for anything else; a pickle is never opened."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if Path(path).suffix != ".safetensors":
        raise TaskError(
            f"encoder.path {path}: expected a .safetensors file; a checkpoint such as .pth, .pt or .bin is a pickle "
            "and runs code when it is read. Convert it where you trust it: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        )
    if not Path(path).is_file():
        raise TaskError(f"encoder.path {path}: expected a .safetensors file, found none")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise TaskError(f"encoder.path {path}: expected safetensors, got: {error}") from None


def load_weights(network: nn.Module, weights: Weights, origin: str) -> None:
    """Give a network the weights of a checkpoint: every one it has, none that it has not.

    A prefix that they share (`module.`, `backbone.` ...) and a classifier are left out. For images of one channel, a
    first convolution over three is summed over them: what it gives is what it gave for three equal channels. Raises
    TaskError naming what is missing, unexpected or of another shape; `origin` says where the weights are from.
    """
    state = network.state_dict()
    own = _shared_prefix(state)
    wanted = {key.removeprefix(own): key for key in state}
    given = _bare(weights, next(iter(wanted)))
    first = _first_convolution(network).removeprefix(own)
    if first in given and given[first].ndim > 1 and (given[first].shape[1], state[wanted[first]].shape[1]) == (3, 1):
        given[first] = given[first].sum(1, keepdim=True)
    faults = _faults(given, {name: state[key] for name, key in wanted.items()})
    if faults:
        raise TaskError(f"{origin}: expected the weights of {type(network).__name__}, got {'; '.join(faults)}")
    network.load_state_dict({key: given.get(name, state[key]) for name, key in wanted.items()})


def _shared_prefix(keys: Iterable[str]) -> str:
    """The modules that all keys begin with, each with its dot."""
    parts = zip(*(key.split(".")[:-1] for key in keys), strict=False)
    return "".join(f"{names[0]}." for names in takewhile(lambda names: len(set(names)) == 1, parts))


def _first_convolution(network: nn.Module) -> str:
    return next(f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d))


def _bare(weights: Weights, first: str) -> dict[str, torch.Tensor]:
    """Without the prefix under which the network's first weight is found, or what a key has of its beginning."""
    renamed = {}
    for key, tensor in weights.items():
        for pattern, instead in OTHER_NAMES:
            key = re.sub(pattern, instead, key)
        renamed[key] = tensor
    ends = [key.removesuffix(first) for key in renamed if key == first or key.endswith(f".{first}")]
    prefix = min(ends, key=len, default="")
    beginnings = [prefix[: at + 1] for at, letter in enumerate(prefix) if letter == "."][::-1]
    return {
        next((key.removeprefix(b) for b in beginnings if key.startswith(b)), key): tensor
        for key, tensor in renamed.items()
    }


def _faults(given: Weights, wanted: Weights) -> list[str]:
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in wanted and not name.startswith(CLASSIFIERS)]
    misshaped = [
        f"{name} {list(given[name].shape)} for {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
    return [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds if names]


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f", and {more} more" if more > 0 else "")
