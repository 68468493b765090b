"""One pass over the training split: batches read ahead, gradients gathered and clipped, an average that follows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.config import TrainingConfig
from models.training.devices import SharedDraw
from models.training.finite import Seen, Watch
from models.training.loader import Reader, placed
from models.training.losses import AloneLoss, JointLoss, TogetherLoss
from models.training.optimise import clip, schedule
from models.training.phases import ORDERS, SEEDS, Phase
from models.training.token_source import TokenSource
from models.training.weights import follow, seeded

Loss = AloneLoss | TogetherLoss | JointLoss
Arguments = tuple[Any, ...]  # of the loss


@dataclass(frozen=True)
class Part:
    """What one process takes of a batch. at: its cases' places in the training split; cases: those of all processes."""

    at: np.ndarray
    cases: int


class Steps:
    """The steps of one phase.

    tokens: of the phase `together`. weight (N, members): how often each member's bootstrap drew each training case.
    """

    def __init__(
        self,
        phase: Phase,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        fabric: Any,
        settings: TrainingConfig,
        reader: Reader,
        weight: torch.Tensor,
        tokens: TokenSource | None,
        seed: int,
    ) -> None:
        self.phase, self.loss, self.fabric, self.settings = phase, loss, fabric, settings
        self.reader, self.tokens, self.seed = reader, tokens, seed
        self.named = [(n, p) for n, p in loss.network.named_parameters() if p.requires_grad and phase.changes(n)]
        self.optimizer = optimizer
        self.wrapped = _exchanging(loss, fabric.device) if fabric.world_size > 1 else loss
        self.weight = weight.to(fabric.device)
        self.outcome = reader.outcome.to(fabric.device)

    def epoch(
        self,
        number: int,
        active: Sequence[str],
        average: Mapping[str, torch.Tensor],
        moving: Mapping[str, torch.Tensor],
        kept: str,
    ) -> float:
        """The mean training loss of a pass. average follows moving, the live tensors, after every step.

        active: what is still being trained. Raises ModelError where the loss or a gradient is no number.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * schedule(self.settings, number, self.phase.epochs)
        where = f"phase {self.phase.name}, epoch {number}"
        watch = Watch(self.reader.case_ids, self.fabric.device, where, kept)
        parts = list(self.parts(number))
        self.wrapped.train()
        with seeded(self._seed(number)):
            for place, (part, arguments) in enumerate(zip(parts, self.arguments(parts, number, active), strict=True)):
                self._step(place, len(parts), part, arguments, watch)
                if (place + 1) % self.settings.accumulate == 0 or place + 1 == len(parts):
                    follow(average, moving, self.settings.average_decay)
        watch.look()
        mean = sum(watch.losses) / max(len(watch.losses), 1)
        return float(self.fabric.all_reduce(torch.tensor(mean, dtype=torch.float64), reduce_op="mean"))

    def _step(self, place: int, of: int, part: Part, arguments: Arguments, watch: Watch) -> None:
        together = self.settings.accumulate
        first = place - place % together
        last = place + 1 == of or (place + 1) % together == 0
        if isinstance(self.loss.draw, SharedDraw):
            self.loss.draw.cases = part.cases
        with self._without_exchange(last):
            if not self.loss.network.training:  # tokens are made in evaluation mode
                self.wrapped.train()
            with self.fabric.autocast():
                value = self.wrapped(*arguments)
            if place == first:
                self.optimizer.zero_grad()
            (value / min(together, of - first)).backward()
        norm, norms = None, {}
        if last:
            held = [(name, parameter) for name, parameter in self.named if parameter.grad is not None]
            norm, each = clip([parameter for _, parameter in held], self.settings.clip_norm)
            norms = dict(zip((name for name, _ in held), each, strict=True))
        watch.see(Seen(place + 1, part.at, value.detach(), norm, norms, self.loss.seen))
        if last:
            self.optimizer.step()

    def arguments(self, parts: Sequence[Part], number: int, active: Sequence[str]) -> Iterator[Arguments]:
        """What the loss is given for each part of the training split."""
        places = [part.at for part in parts]
        device = self.fabric.device
        # One copy to the device for all batches: each would wait for what it has still to compute.
        order = torch.from_numpy(np.concatenate(places)).to(device)
        indices = torch.split(order, [len(at) for at in places])
        if self.tokens is not None:
            for index, tokens in zip(indices, self.tokens.tokens(places, number), strict=True):
                yield tokens, self.outcome[index], self.weight[index]
            return
        streams = active if self.phase.name == "alone" else self.loss.network.stream_names
        for index, batch in zip(indices, self.reader.batches(places, streams), strict=True):
            given = placed(batch, device)
            yield (given,) if self.phase.name == "alone" else (given, self.weight[index])

    def parts(self, number: int) -> Iterator[Part]:
        """The training split, shuffled, in batches; every process takes its own cases of each."""
        order = np.random.default_rng([self.seed, number, ORDERS[self.phase.name]]).permutation(len(self.reader))
        size = self.settings.batch_size
        for start in range(0, max(len(order) - size // 2, 1), size):
            whole = order[start : start + size]
            yield Part(whole[self.fabric.global_rank :: self.fabric.world_size], len(whole))

    def _seed(self, number: int) -> int:
        """Of an epoch. What processes share is drawn alike, and dropout by each for itself."""
        seed = self.seed * 100_003 + number + SEEDS[self.phase.name]
        if isinstance(self.loss.draw, SharedDraw):
            self.loss.draw.seed(seed)
        return seed + 7_368_787 * int(self.fabric.global_rank)

    def _without_exchange(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes only where a step follows."""
        if last or not isinstance(self.wrapped, DistributedDataParallel):
            return nullcontext()
        waits: AbstractContextManager[None] = self.wrapped.no_sync()
        return waits


def _exchanging(loss: Loss, device: torch.device) -> nn.Module:
    """The loss, whose gradients are averaged over all processes.

    Which streams a process's cases have differs from step to step, and so do the weights in use.
    """
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(loss, device_ids=devices, find_unused_parameters=True)
