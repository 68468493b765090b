"""One training run: two phases, a moving average of the weights, early stopping, and a checkpoint after each epoch."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.statistics import Statistics
from models.config import ModelConfig, TrainingConfig
from models.features import fit_projections, with_frozen_features
from models.network import Network, build_network
from models.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from models.training.losses import AloneLoss, TogetherLoss
from models.training.token_source import TokenSource
from models.training.weights import follow, seeded, swapped

EVALUATION_BATCH = 256
Phase = Literal["alone", "together"]
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training split gave.

    validation_loss: the mean log-loss; in the phase `alone` the mean over the streams still being trained. best:
    whether it was the best yet, in the phase `alone` for any stream.
    """

    phase: Phase
    number: int
    of: int
    training_loss: float
    validation_loss: float
    best: bool


@dataclass
class Best:
    """The lowest validation loss of something that is watched, and when that was."""

    loss: float = math.inf
    epoch: int = 0


class Run:
    """The network being trained, with all that must be kept to go on after a kill."""

    def __init__(
        self,
        cohort: Cohort,
        config: ModelConfig,
        statistics: Statistics,
        splits: Mapping[str, np.ndarray],
        seed: int,
        folder: Path | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        on_features: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.fabric = _fabric(config.training)
        self.device: torch.device = self.fabric.device
        self.config, self.statistics, self.splits, self.seed = config, statistics, splits, seed
        self.folder, self.on_epoch = folder, on_epoch or (lambda _: None)
        with seeded(seed):
            self.network = build_network(config, statistics, cohort.task)
        self.network.fit_prior(torch.from_numpy(cohort.outcome[splits["train"]]))
        self.network.to(self.device)
        self.cohort = with_frozen_features(cohort, self.network, self.device, on_features)
        fit_projections(self.network, self.cohort, splits["train"], seed)
        rng = np.random.default_rng(seed)
        # Each member sees its own bootstrap of the cases (Breiman 1996), as Poisson counts (Oza & Russell 2001).
        self.weight = torch.from_numpy(rng.poisson(1.0, (len(splits["train"]), config.members)).astype(np.float32))
        self.outcome = torch.from_numpy(cohort.outcome[splits["validation"]])
        self.history: list[Epoch] = []
        self.best: dict[str, Best] = {}
        self.best_state: State = {}
        self.average: State = {}
        self.alone_state: State = {}  # the encoders as the first phase left them
        self.tokens: dict[str, TokenSource] = {}
        self.origin = ""  # a digest of the weights that the run began with, where those were given

    def fit(self, start: nn.Module | None) -> None:
        """Train both phases, from the weights of `start` where it is given. Ends with the best weights.

        A model of one stream has nothing to fuse: it is done after the first phase.
        """
        settings = self.config.training
        if start is not None:
            self.network.load_state_dict(start.state_dict())
            if self.network.experts is not None:
                self.network.experts.share.zero_()  # they are fitted anew once the network is trained
            self.origin = _digest(start.state_dict())
        self._phase("alone", AloneLoss(self.network, settings.element_mask), settings.alone_epochs)
        self.alone_state = {
            k: v.detach().clone() for k, v in self.network.state_dict().items() if k.startswith(("encoders.", "alone."))
        }
        if len(self.statistics.streams) > 1:
            self.tokens = {split: self._token_source(split) for split in self.splits}
            self._phase("together", TogetherLoss(self.network), settings.epochs)
        self.network.eval()

    def _phase(self, phase: Phase, loss: nn.Module, epochs: int) -> None:
        optimizer = self._optimizer(phase)
        watched = list(self.statistics.streams) if phase == "alone" else ["together"]
        self.average = {k: v.detach().clone().float() for k, v in self._moving().items()}
        self.best_state = {k: v.clone() for k, v in self.average.items()}  # the average moves in place
        done = self._resume(phase, optimizer)
        if done == 0:  # what it begins with counts: the plain sum of the evidence, or a former model
            self.best = {name: Best(value) for name, value in self._validate(phase, watched).items()}
        wrapped, optimizer = self.fabric.setup(loss, optimizer)
        for number in range(done + 1, epochs + 1):
            active = [n for n in watched if number - 1 - self.best[n].epoch < self.config.training.patience]
            if not active:
                break
            with seeded(self.seed * 100_003 + number + 50_000 * (phase == "alone")):
                training_loss = self._epoch(phase, wrapped, optimizer, number, epochs, active)
            losses = self._validate(phase, active)
            improved = [name for name in active if losses[name] < self.best[name].loss]
            for name in improved:
                self.best[name] = Best(losses[name], number)
                self._keep_best(phase, name)
            mean = sum(losses.values()) / len(losses)
            self.history.append(Epoch(phase, number, epochs, training_loss, mean, bool(improved)))
            self._save(phase, optimizer)
            self.on_epoch(self.history[-1])
        self._load(self.best_state)

    def _token_source(self, split: str) -> TokenSource:
        mask = self.config.training.element_mask if split == "train" else 0.0
        return TokenSource(
            self.network, self.cohort, self.splits[split], self.device, element_mask=mask, seed=self.seed
        )

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        settings = self.config.training
        mine = [
            parameter
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad and name.startswith(("encoders.", "alone.")) == (phase == "alone")
        ]
        rate = settings.learning_rate if phase == "alone" else settings.fusion_learning_rate
        return torch.optim.AdamW([{"params": mine, "base": rate}], lr=rate, weight_decay=settings.weight_decay)

    def _epoch(self, phase: Phase, loss: Any, optimizer: Any, number: int, epochs: int, active: Sequence[str]) -> float:
        settings = self.config.training
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * schedule(settings.warmup_epochs, number, epochs)
        total, steps = 0.0, 0
        moving = self._moving()  # the live tensors: optimiser and layers change them in place
        for at in self._batches(phase, number):
            value = self._loss(phase, loss, at, number, active)
            optimizer.zero_grad()
            self.fabric.backward(value)
            self.fabric.clip_gradients(loss, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
            optimizer.step()
            follow(self.average, moving, settings.average_decay)
            total, steps = total + float(value.detach()), steps + 1
        return total / max(steps, 1)

    def _loss(self, phase: Phase, loss: Any, at: np.ndarray, number: int, active: Sequence[str]) -> torch.Tensor:
        if phase == "alone":
            loss.train()
            value: torch.Tensor = loss(self.cohort.batch(self.splits["train"][at], list(active)).to(self.device))
            return value
        tokens = self.tokens["train"].tokens(at, number)
        loss.train()
        outcome = torch.from_numpy(self.cohort.outcome[self.splits["train"][at]]).to(self.device)
        together: torch.Tensor = loss(tokens, outcome, self.weight[at].to(self.device))
        return together

    def _batches(self, phase: Phase, number: int) -> Iterator[np.ndarray]:
        """Positions in the training split, shuffled; every process takes its own part."""
        order = np.random.default_rng([self.seed, number, phase == "alone"]).permutation(len(self.splits["train"]))
        order = order[self.fabric.global_rank :: self.fabric.world_size]
        size = self.config.training.batch_size
        for start in range(0, max(len(order) - size // 2, 1), size):
            yield order[start : start + size]

    @torch.no_grad()
    def _validate(self, phase: Phase, active: Sequence[str]) -> dict[str, float]:
        rows = self.splits["validation"]
        with swapped(self.network, self.average):
            self.network.eval()
            if phase == "together":
                logits = [
                    self.network.fuse(self.tokens["validation"].tokens(at, 0)).double().mean(1).cpu()
                    for at in np.array_split(np.arange(len(rows)), -(-len(rows) // EVALUATION_BATCH))
                ]
                return {"together": self._mean_loss(torch.cat(logits), self.outcome)}
            alone: dict[str, list[torch.Tensor]] = {name: [] for name in active}
            present: dict[str, list[torch.Tensor]] = {name: [] for name in active}
            for batch in self.cohort.batches(rows, EVALUATION_BATCH, list(active)):
                for name in active:
                    tokens = self.network.encoders[name](batch.streams[name].to(self.device))
                    alone[name].append(self.network.read_alone(name, tokens).double().cpu())
                    present[name].append(tokens.present.any(1).cpu())
        here = {name: torch.cat(parts) for name, parts in present.items()}
        return {name: self._mean_loss(torch.cat(alone[name])[here[name]], self.outcome[here[name]]) for name in active}

    def _mean_loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> float:
        """logits (n, O), outcome (n, K)."""
        if len(outcome) == 0:
            return math.log(2)  # nobody in the validation split has the stream: any epoch is as good
        objective = self.network.meaning
        return float(objective.loss(logits.to(self.device, torch.float32), outcome.to(self.device)).double().mean())

    def _moving(self) -> State:
        """What is averaged and kept: all that can change. Frozen backbones are left alone."""
        frozen = tuple(
            f"encoders.{name}.backbone." for name, e in self.network.encoders.items() if getattr(e, "frozen", False)
        )
        state = self.network.state_dict()
        return {k: t for k, t in state.items() if t.is_floating_point() and not k.startswith(frozen or ("\0",))}

    def _keep_best(self, phase: Phase, name: str) -> None:
        mine = (f"encoders.{name}.", f"alone.{name}.")
        for key, tensor in self.average.items():
            if phase == "together" or key.startswith(mine):
                self.best_state[key] = tensor.detach().clone()

    @torch.no_grad()
    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        self.network.load_state_dict({**self.network.state_dict(), **state})

    def _save(self, phase: Phase, optimizer: torch.optim.Optimizer) -> None:
        if self.folder is None or not self.fabric.is_global_zero:
            return
        parts = {
            "network": self._moving(),
            "average": self.average,
            "best": self.best_state,
            "optimizer": optimizer_tensors(optimizer),
        }
        state = {
            "fingerprint": self._fingerprint,
            "phase": phase,
            "best": {name: [best.loss, best.epoch] for name, best in self.best.items()},
            "history": [vars(epoch) for epoch in self.history],
        }
        save_checkpoint(self.folder, parts, state)

    def _resume(self, phase: Phase, optimizer: torch.optim.Optimizer) -> int:
        """Go on from the checkpoint where it is of this run; returns how many epochs of the phase are done."""
        checkpoint = load_checkpoint(self.folder) if self.folder is not None and not self.history else None
        if checkpoint is None or checkpoint.state["fingerprint"] != self._fingerprint:
            return 0
        history = [Epoch(**epoch) for epoch in checkpoint.state["history"]]
        if checkpoint.state["phase"] != phase:  # the first phase was done: its encoders are in the checkpoint
            self._load(checkpoint.part("network"))
            self.average = {k: v.to(self.device) for k, v in self._moving().items()}
            self.best_state = dict(self.average)
            self.best = {name: Best() for name in self.statistics.streams}
            return 10**9
        self.history = history
        self._load(checkpoint.part("network"))
        self.average = {k: v.to(self.device) for k, v in checkpoint.part("average").items()}
        self.best_state = {k: v.to(self.device) for k, v in checkpoint.part("best").items()}
        self.best = {name: Best(*best) for name, best in checkpoint.state["best"].items()}
        restore_optimizer(optimizer, checkpoint.part("optimizer"))
        return sum(epoch.phase == phase for epoch in history)

    @cached_property
    def _fingerprint(self) -> str:
        """What must be the same for a run to go on: configuration, streams, seed, first weights and cases."""
        said = [self.config.model_dump(), self.statistics.to_json(), self.seed, self.origin]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
        for rows in self.splits.values():
            digest.update("\n".join(self.cohort.index["case_id"].to_numpy(str)[rows]).encode())
            digest.update(self.cohort.outcome[rows].tobytes())
        return digest.hexdigest()


@torch.inference_mode()
def mean_logits(
    network: Network, cohort: Cohort, rows: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(n, O) float64, the mean logits over the members, and (n,) bool, whether the case has any of the streams."""
    network.eval()
    logits, present = [], []
    for batch in cohort.batches(rows, EVALUATION_BATCH, network.stream_names):
        streams = batch.to(device).streams
        logits.append(network(streams).double().mean(1).cpu().numpy())
        present.append(batch.present().any(1).numpy())
    return np.concatenate(logits), np.concatenate(present)


def schedule(warmup: int, number: int, epochs: int) -> float:
    """The learning rate's factor in an epoch: linear warm-up, then a half cosine down to a twentieth."""
    if number <= warmup:
        return number / (warmup + 1)
    part = (number - warmup) / max(epochs - warmup, 1)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * part))


def _digest(state: State) -> str:
    digest = hashlib.sha256()
    for tensor in state.values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fabric(settings: TrainingConfig) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on unrelated packages, at import
        from lightning_fabric import Fabric

        cuda = torch.cuda.is_available()
        precision = settings.precision
        if precision == "auto":
            precision = "bf16-mixed" if cuda and torch.cuda.is_bf16_supported() else "32-true"
        return Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
