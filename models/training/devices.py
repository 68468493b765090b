"""What training runs on: device, precision, processes, compiled parts; and random numbers that processes share."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ingest.errors import ModelError
from models.config import TrainingConfig
from models.encoders.backbone import Backbone


def build_fabric(settings: TrainingConfig) -> Any:
    """Lightning Fabric for one device, or for each of the processes that torchrun started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on unrelated packages, at import
        from lightning_fabric import Fabric

        cuda = torch.cuda.is_available()
        precision = settings.precision
        if precision == "auto":
            precision = "bf16-mixed" if cuda and torch.cuda.is_bf16_supported() else "32-true"
        given: dict[str, Any] = {"accelerator": "cuda" if cuda else "cpu", "precision": precision}
        processes = _processes(settings)
        if processes == 1:
            return Fabric(devices=1, **given)
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        fabric = Fabric(devices=here, num_nodes=processes // here, strategy="ddp", **given)
        fabric.launch()
        return fabric


def is_writer() -> bool:
    """Whether this process is the one that writes: the only one, or the first of those that torchrun started."""
    return int(os.environ.get("RANK", "0")) == 0


def _processes(settings: TrainingConfig) -> int:
    """How many processes train this model. Raises ModelError where that is not what was asked for."""
    started = int(os.environ.get("WORLD_SIZE", "1")) if torch.distributed.is_torchelastic_launched() else 1
    if settings.devices not in ("auto", started):
        raise ModelError(
            f"training.devices: expected {settings.devices} processes, got {started}; start them with "
            f"`torchrun --nproc-per-node {settings.devices} --no-python telltale train ...`"
        )
    if settings.batch_size < 2 * started:
        raise ModelError(
            f"training.batch_size {settings.batch_size}: expected at least 2 cases for each of {started} processes; "
            "it counts the cases of all of them together"
        )
    return started


@contextmanager
def prepared(network: nn.Module, settings: TrainingConfig) -> Iterator[None]:
    """Compiled backbones and deterministic algorithms, where they are asked for, for the length of a `with` block.

    Backbones are compiled in place, so that the names of weights stay as they are; frozen ones, whose features are
    computed once, are left out. The network that is handed on afterwards is plain again.
    """
    compiled = [m.network for m in network.modules() if isinstance(m, Backbone) and not m.frozen and settings.compile]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own parts, at their import
            for module in compiled:
                module.compile()
        if settings.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        for module in compiled:
            module._compiled_call_impl = None
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


class SharedDraw:
    """Random numbers for the cases of all processes, of which each takes those of its own cases.

    So several processes hide what one would have hidden. cases: how many the batch has in all of them together.
    """

    def __init__(self, rank: int, processes: int, device: torch.device) -> None:
        self.rank, self.processes, self.cases = rank, processes, 0
        self.generator = torch.Generator(device)

    def seed(self, seed: int) -> None:
        """Begin anew."""
        self.generator.manual_seed(seed)

    def __call__(self, *size: int, device: torch.device) -> torch.Tensor:
        """As `torch.rand`; this process's cases are every so manieth of all."""
        drawn = torch.rand(self.cases, *size[1:], device=device, generator=self.generator)
        return drawn[self.rank :: self.processes]
