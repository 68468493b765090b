"""Where a training run stands, as safetensors and JSON (never pickle), so that it can be killed and go on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ingest.errors import ModelError
from ingest.files import replacing_folder


@dataclass(frozen=True)
class Checkpoint:
    """tensors: by name, `<part>/<parameter>`; state: plain values (epoch, history, the run's fingerprint)."""

    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]

    def part(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one part, without its prefix."""
        return {k.removeprefix(f"{name}/"): v for k, v in self.tensors.items() if k.startswith(f"{name}/")}


def save_checkpoint(folder: Path, parts: Mapping[str, Mapping[str, torch.Tensor]], state: Mapping[str, Any]) -> None:
    """Replace the run's checkpoint as a whole."""
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous().clone()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    with replacing_folder(folder) as temporary:
        save_file(tensors, temporary / "checkpoint.safetensors")
        (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The run's checkpoint, or None where it has none."""
    if not (folder / "state.json").is_file():
        return None
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return Checkpoint(load_file(folder / "checkpoint.safetensors"), state)
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(f"{folder}: expected a checkpoint, got {error}; remove it to train anew") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors: `<parameter number>.<name>`. What it has not begun with is left out."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, named in state.items()
        for name, value in named.items()
        if value is not None  # the momentum of plain descent
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`, into an optimiser of the same parameters."""
    full = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    full["state"] = state
    optimizer.load_state_dict(full)
