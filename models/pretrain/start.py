"""Training that begins from pretrained encoders."""

import hashlib
from collections.abc import Mapping

import torch
from torch import nn

from ingest.errors import ModelError


def begin_with(encoders: nn.ModuleDict, pretrained: Mapping[str, Mapping[str, torch.Tensor]]) -> str:
    """Load the states of those streams that there are, each wholly; returns a digest of what was loaded.

    Raises ModelError where a state is not of the encoder's names and shapes.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in pretrained if name in encoders):
        mine, given = encoders[name].state_dict(), pretrained[name]
        wrong = [key for key in mine if key not in given or given[key].shape != mine[key].shape]
        if wrong or len(given) != len(mine):
            key = wrong[0] if wrong else next(key for key in given if key not in mine)
            raise ModelError(
                f"pretrained encoder of {name}, {key}: expected {_shape(mine, key)}, got {_shape(given, key)}; it was "
                "trained for another network, width or shape of the stream: run `telltale pretrain` again"
            )
        encoders[name].load_state_dict(given)
        for key in sorted(given):
            digest.update(f"{name} {key}".encode())
            digest.update(given[key].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _shape(state: Mapping[str, torch.Tensor], key: str) -> str:
    return f"shape {list(state[key].shape)}" if key in state else "no such weights"
