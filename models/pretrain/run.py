"""One run of pretraining: epochs, a moving average, early stopping without outcomes, a checkpoint after each."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from models.config import TrainingConfig
from models.pretrain.objective import Cases, Loss, Objective
from models.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from models.training.optimise import schedule
from models.training.weights import follow, seeded, swapped

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PretrainingEpoch:
    """What one pass over the training cases gave.

    training_losses: by turn and stream (or "together"), "reconstruct xray". validation_losses: by stream (or
    "together"), of the first turn; one that no validation case has is left out. best: those whose epoch was their best.
    """

    number: int
    of: int
    training_losses: Mapping[str, float]
    validation_losses: Mapping[str, float]
    best: Sequence[str]


@dataclass
class Best:
    """The lowest validation loss yet, when that was, and the loss before any training."""

    loss: float = math.inf
    epoch: int = 0
    at_first: float = math.inf


class PretrainingRun:
    """Encoders being trained by an objective on cases without outcomes.

    said: plain values that must be the same for a run to go on; folder: where its checkpoint is kept.
    """

    def __init__(
        self,
        cohort: Cohort,
        rows: Mapping[str, np.ndarray],
        objective: Objective,
        settings: TrainingConfig,
        *,
        seed: int,
        epochs: int,
        batch_size: int,
        said: Mapping[str, Any],
        folder: Path | None = None,
        on_epoch: Callable[[PretrainingEpoch], None] | None = None,
    ) -> None:
        self.cohort, self.rows, self.settings, self.said = cohort, rows, settings, said
        self.seed, self.epochs, self.batch_size = seed, epochs, batch_size
        self.folder, self.on_epoch = folder, on_epoch or (lambda _: None)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.objective = objective
        self.module = cast(nn.Module, objective).to(self.device)
        self.optimizers = {turn: objective.optimizer(turn, settings) for turn in objective.turns}
        self.streams = list(objective.encoders)
        self.watched = self.streams if objective.alone else ["together"]
        self.history: list[PretrainingEpoch] = []
        self.best: dict[str, Best] = {}
        self.average: State = {}
        self.best_state: State = {}

    def fit(self) -> None:
        """Train. Ends with the best encoders, or with the last where no validation loss tells the better ones."""
        self.average = {k: v.detach().clone().float() for k, v in self._moving().items()}
        self.best_state = {k: v.clone() for k, v in self.average.items() if k.startswith("encoders.")}
        if not self._resume():
            first = self._validate(self.watched)
            self.best = {n: Best(first.get(n, math.inf), 0, first.get(n, math.inf)) for n in self.watched}
        for number in range(len(self.history) + 1, self.epochs + 1):
            active = [name for name in self.watched if self._goes_on(name, number)]
            if not active:
                break
            with seeded(self.seed * 100_003 + number):
                training = self._epoch(number, active)
            losses = self._validate(active)
            improved = [name for name in active if self._improves(name, losses)]
            for name in improved:
                self.best[name] = Best(losses.get(name, math.inf), number, self.best[name].at_first)
                self._keep_best(name)
            self.history.append(PretrainingEpoch(number, self.epochs, training, losses, improved))
            self._save()
            self.on_epoch(self.history[-1])
        self._load(self.best_state)
        self._settle()
        self.module.eval()

    def _goes_on(self, name: str, number: int) -> bool:
        return not self.objective.stops_early or number - 1 - self.best[name].epoch < self.settings.patience

    def _improves(self, name: str, losses: Mapping[str, float]) -> bool:
        # Where no validation case has the stream, or the loss tells nothing, the last epoch is as good as any.
        return not self.objective.stops_early or name not in losses or losses[name] < self.best[name].loss

    def _epoch(self, number: int, active: Sequence[str]) -> dict[str, float]:
        self.module.train()
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * schedule(self.settings, number, self.epochs)
        moving = self._moving()
        said: dict[str, list[Loss]] = {}
        for cases in self._batches(number, active):
            for turn, optimizer in self.optimizers.items():
                with self._precision():
                    losses = self.objective.losses(turn, cases)
                value = torch.stack([loss.mean for loss in losses.values()]).sum()
                if not value.requires_grad:
                    continue  # nobody in the batch has a stream of which anything could be said
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                mine = [p for group in optimizer.param_groups for p in group["params"]]
                norm = nn.utils.clip_grad_norm_(mine, self.settings.clip_norm)
                if not bool(norm.isfinite()):
                    continue  # one case whose values overflow must not take the weights with it
                optimizer.step()
                for name, loss in losses.items():
                    said.setdefault(f"{turn} {name}", []).append(Loss(loss.total.detach(), loss.count))
            follow(self.average, moving, self.settings.average_decay)
        return _means(said)

    def _batches(self, number: int, active: Sequence[str]) -> Iterator[Cases]:
        order = np.random.default_rng([self.seed, number]).permutation(self.rows["train"])
        for start in range(0, max(len(order) - self.batch_size // 2, 1), self.batch_size):
            yield self._cases(order[start : start + self.batch_size], active)

    def _cases(self, rows: np.ndarray, active: Sequence[str]) -> Cases:
        names = [name for name in self.streams if name in active] if self.objective.alone else self.streams
        return Cases.of(self.cohort.batch(rows, names), self.device)

    @torch.no_grad()
    def _validate(self, active: Sequence[str]) -> dict[str, float]:
        """The averaged weights on the validation cases; what is drawn at random is the same in every epoch."""
        said: dict[str, list[Loss]] = {}
        rows = self.rows["validation"]
        with swapped(self.module, self.average), seeded(self.seed * 100_003), self._precision():
            self.module.eval()
            for start in range(0, len(rows), self.batch_size):
                cases = self._cases(rows[start : start + self.batch_size], active)
                for name, loss in self.objective.losses(self.objective.turns[0], cases).items():
                    said.setdefault(name, []).append(loss)
        return _means(said)

    def _precision(self) -> AbstractContextManager[Any]:
        wanted = self.settings.precision
        half = wanted == "bf16-mixed" or (
            wanted == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    @torch.no_grad()
    def _settle(self) -> None:
        """Batch normalisation's running statistics anew, from whole and real training cases.

        In training they were of cases with hidden elements, or of generated ones among them.
        """
        for name in self.streams:
            encoder = self.objective.encoders[name]
            norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and _learns(m)]
            if not norms:
                continue
            momenta = [norm.momentum for norm in norms]
            augment = getattr(encoder, "augment", None)
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over the batches
            encoder.train()
            if augment is not None:
                encoder.augment = cast(Any, False)
            with seeded(self.seed):
                for start in range(0, len(self.rows["train"]), self.batch_size):
                    at = self.rows["train"][start : start + self.batch_size]
                    encoder(self.cohort.batch(at, [name]).streams[name].to(self.device))
            if augment is not None:
                encoder.augment = augment
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    def _moving(self) -> State:
        """What is averaged: weights and running statistics."""
        return {k: t for k, t in self.module.state_dict().items() if t.is_floating_point()}

    def _keep_best(self, name: str) -> None:
        mine = f"encoders.{name}." if self.objective.alone else "encoders."
        for key, tensor in self.average.items():
            if key.startswith(mine):
                self.best_state[key] = tensor.detach().clone()

    @torch.no_grad()
    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        self.module.load_state_dict({**self.module.state_dict(), **state})

    def _save(self) -> None:
        if self.folder is None:
            return
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "module": self.module.state_dict(),
            "average": self.average,
            "best": self.best_state,
        }
        parts |= {f"optimizer {turn}": optimizer_tensors(each) for turn, each in self.optimizers.items()}
        state = {
            "fingerprint": self._fingerprint,
            "best": {name: asdict(best) for name, best in self.best.items()},
            "history": [asdict(epoch) for epoch in self.history],
        }
        save_checkpoint(self.folder, parts, state)

    def _resume(self) -> bool:
        """Whether a checkpoint of this very run was found and taken up."""
        checkpoint = load_checkpoint(self.folder) if self.folder is not None else None
        if checkpoint is None or checkpoint.state.get("fingerprint") != self._fingerprint:
            return False
        self._load(checkpoint.part("module"))
        self.average = {k: v.to(self.device) for k, v in checkpoint.part("average").items()}
        self.best_state = {k: v.to(self.device) for k, v in checkpoint.part("best").items()}
        for turn, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, checkpoint.part(f"optimizer {turn}"))
        self.best = {name: Best(**best) for name, best in checkpoint.state["best"].items()}
        self.history = [PretrainingEpoch(**epoch) for epoch in checkpoint.state["history"]]
        return True

    @cached_property
    def _fingerprint(self) -> str:
        """What must be the same for a run to go on; no outcome is part of it."""
        said = [self.said, self.settings.model_dump(), self.seed, self.epochs, self.batch_size, self.streams]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
        for rows in self.rows.values():
            digest.update("\n".join(self.cohort.index["case_id"].to_numpy(str)[rows]).encode())
        return digest.hexdigest()


def _means(said: Mapping[str, Sequence[Loss]]) -> dict[str, float]:
    """The mean over all that was counted, by name; what nothing was counted for is left out."""
    counts = {name: float(sum(float(loss.count) for loss in losses)) for name, losses in said.items()}
    return {n: sum(float(x.total) for x in losses) / counts[n] for n, losses in said.items() if counts[n] > 0}


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
