"""One training run: its phases, a moving average of the weights, early stopping, and a checkpoint after each epoch."""

import gc
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import Statistics
from models.config import ModelConfig
from models.encoders.backbone import fixed_keys
from models.features import fit_projections, with_frozen_features
from models.network import Network, build_network
from models.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from models.training.contrast import Contrasts
from models.training.costs import build_cost, check_contrasts
from models.training.devices import SharedDraw, build_fabric, prepared
from models.training.loader import Reader
from models.training.losses import AloneLoss, Draw, JointLoss, TogetherLoss
from models.training.optimise import build_optimizer
from models.training.phases import ENCODING, Phase, PhaseName, plan
from models.training.steps import Loss, Steps
from models.training.token_source import TokenSource
from models.training.validation import Validation
from models.training.weights import seeded, swapped

EVALUATION_BATCH = 256
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training split gave.

    validation_loss: the mean log-loss; in the phase `alone` the mean over the streams still being trained. best:
    whether it was the best yet, in the phase `alone` for any stream.
    """

    phase: PhaseName
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
        _check(config, cohort)
        self.fabric = build_fabric(config.training)
        self.device: torch.device = self.fabric.device
        self.config, self.statistics, self.splits, self.seed = config, statistics, splits, seed
        self.folder, self.on_epoch = folder, on_epoch or (lambda _: None)
        with seeded(seed):
            self.network = build_network(config, statistics, cohort.task)
        self.network.fit_prior(torch.from_numpy(cohort.outcome[splits["train"]]))
        self.network.to(self.device)
        with self.fabric.rank_zero_first():
            self.cohort = with_frozen_features(cohort, self.network, self.device, on_features)
        fit_projections(self.network, self.cohort, splits["train"], seed)
        rng = np.random.default_rng(seed)
        # Each member sees its own bootstrap of the cases (Breiman 1996), as Poisson counts (Oza & Russell 2001).
        self.weight = torch.from_numpy(rng.poisson(1.0, (len(splits["train"]), config.members)).astype(np.float32))
        pinned = self.device.type == "cuda"
        self.readers = {split: Reader(self.cohort, rows, pinned=pinned) for split, rows in splits.items()}
        self.validation = Validation(self.network, self.readers["validation"], self.device)
        self.history: list[Epoch] = []
        self.best: dict[str, Best] = {}
        self.best_state: State = {}
        self.average: State = {}
        self.alone_state: State = {}  # the encoders and readings as they are when every stream speaks for itself
        self.tokens: dict[str, TokenSource] = {}
        self.origin = ""  # a digest of the weights that the run began with, where those were given

    def fit(self, start: nn.Module | None) -> None:
        """Train all phases, from the weights of `start` where it is given. Ends with the best weights."""
        if start is not None:
            self.network.load_state_dict(start.state_dict())
            if self.network.experts is not None:
                self.network.experts.share.zero_()  # they are fitted anew once the network is trained
            self.origin = _digest(start.state_dict())
        with _without_experts(self.network), prepared(self.network, self.config.training):
            phases = plan(self.config.training, self.network)
            checkpoint = self._found()
            begun = 0
            if checkpoint is not None:
                begun = [phase.name for phase in phases].index(checkpoint.state["phase"])
                self._restore(checkpoint)
            for phase in phases[begun:]:
                self._phase(phase, checkpoint)
                checkpoint = None
                if phase.name in ("alone", "joint"):
                    self.alone_state = self._encoding()
        self.network.eval()

    def _phase(self, phase: Phase, checkpoint: Checkpoint | None) -> None:
        """Train a phase, from where the checkpoint is in it."""
        patience = self.config.training.patience
        optimizer = self.begin(phase)
        if checkpoint is None:  # what it begins with counts: the plain sum of the evidence, or a former model
            self.best = {name: Best(value) for name, value in self._validate(phase, phase.watched).items()}
        else:
            self._go_on(checkpoint, optimizer)
        done = sum(epoch.phase == phase.name for epoch in self.history)
        steps = self.steps(phase, optimizer)
        for number in range(done + 1, phase.epochs + 1):
            active = [n for n in phase.watched if number - 1 - self.best[n].epoch < patience]
            if not active:
                break
            training_loss = self.epoch(steps, number, active)
            self._judge(phase, number, active, training_loss)
            self._save(phase, optimizer)
            self.on_epoch(self.history[-1])
        del steps
        gc.collect()  # what exchanged gradients hangs on the weights until it is gone
        self._load(self.best_state)

    def begin(self, phase: Phase) -> torch.optim.Optimizer:
        """Make ready for a phase; returns a new optimiser of what it trains."""
        settings = self.config.training
        self.tokens = {split: self._token_source(split) for split in self.splits} if phase.name == "together" else {}
        self.average = {k: v.detach().clone().float() for k, v in self._moving().items() if phase.changes(k)}
        self.best_state = {k: v.clone() for k, v in self.average.items()}  # the average moves in place
        rates = {
            name: phase.rate(name, settings)
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad and phase.changes(name)
        }
        return build_optimizer(settings, self.network, rates)

    def steps(self, phase: Phase, optimizer: torch.optim.Optimizer) -> Steps:
        """What makes the steps of a phase."""
        return Steps(
            phase, self._loss(phase), optimizer, self.fabric, self.config.training, self.readers["train"], self.weight,
            self.tokens.get("train"), self.seed,
        )  # fmt: skip

    def epoch(self, steps: Steps, number: int, active: Sequence[str]) -> float:
        """One pass over the training split, the average following; returns the mean training loss."""
        moving = {k: v for k, v in self._moving().items() if k in self.average}  # changed in place
        return steps.epoch(number, active, self.average, moving, self._kept())

    def _judge(self, phase: Phase, number: int, active: Sequence[str], training_loss: float) -> None:
        """Validate after an epoch, keep what is the best yet, and write the history."""
        losses = self._validate(phase, active)
        improved = [name for name in active if losses[name] < self.best[name].loss]
        for name in improved:
            self.best[name] = Best(losses[name], number)
            mine = (f"encoders.{name}.", f"alone.{name}.") if phase.name == "alone" else ("",)
            for key, tensor in self.average.items():
                if key.startswith(mine):
                    self.best_state[key] = tensor.detach().clone()
        mean = sum(losses.values()) / len(losses)
        self.history.append(Epoch(phase.name, number, phase.epochs, training_loss, mean, bool(improved)))

    def _validate(self, phase: Phase, active: Sequence[str]) -> dict[str, float]:
        with swapped(self.network, self.average):
            losses = self.validation.losses(phase, active, self.tokens.get("validation"))
        agreed: dict[str, float] = self.fabric.broadcast(losses)  # so that all processes stop together
        return agreed

    def _loss(self, phase: Phase) -> Loss:
        settings, network = self.config.training, self.network
        outcome = self.cohort.outcome[self.splits["train"]]
        cost = build_cost(settings, self.cohort.task, network.meaning, outcome, self.device)
        contrasts = Contrasts(settings)
        processes = self.fabric.world_size
        draw: Draw = torch.rand if processes == 1 else SharedDraw(self.fabric.global_rank, processes, self.device)
        if phase.name == "alone":
            return AloneLoss(network, settings.element_mask, cost, contrasts, draw)
        if phase.name == "together":
            return TogetherLoss(network, cost, contrasts, draw)
        return JointLoss(network, settings.element_mask, cost, contrasts, draw)

    def _token_source(self, split: str) -> TokenSource:
        mask = self.config.training.element_mask if split == "train" else 0.0
        return TokenSource(self.network, self.readers[split], self.device, element_mask=mask, seed=self.seed)

    def _moving(self) -> State:
        """What can change: the live tensors. What is frozen, whole or under low-rank updates, is left alone."""
        fixed = fixed_keys(self.network)
        return {k: t for k, t in self.network.state_dict().items() if t.is_floating_point() and k not in fixed}

    def _encoding(self) -> State:
        state = self.network.state_dict()
        return {k: v.detach().clone() for k, v in state.items() if k.startswith(ENCODING)}

    @torch.no_grad()
    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        self.network.load_state_dict({**self.network.state_dict(), **state})

    def _kept(self) -> str:
        if self.folder is None or not self.history:
            return "No checkpoint was written yet."
        return f"The checkpoint of the last good epoch stays in {self.folder}."

    def _save(self, phase: Phase, optimizer: torch.optim.Optimizer) -> None:
        if self.folder is None or not self.fabric.is_global_zero:
            return
        moving = self._moving()
        parts = {
            "network": moving,
            "average": self.average,
            "best": self.best_state,
            "alone": {k: v for k, v in self.alone_state.items() if k in moving},
            "optimizer": optimizer_tensors(optimizer),
        }
        state = {
            "fingerprint": self._fingerprint,
            "phase": phase.name,
            "best": {name: [best.loss, best.epoch] for name, best in self.best.items()},
            "history": [vars(epoch) for epoch in self.history],
        }
        save_checkpoint(self.folder, parts, state)

    def _found(self) -> Checkpoint | None:
        """The folder's checkpoint, where it is of this run."""
        checkpoint = load_checkpoint(self.folder) if self.folder is not None else None
        return checkpoint if checkpoint is not None and checkpoint.state["fingerprint"] == self._fingerprint else None

    def _restore(self, checkpoint: Checkpoint) -> None:
        """The weights and the history, with all phases that were done before the one that it was written in."""
        self.history = [Epoch(**epoch) for epoch in checkpoint.state["history"]]
        self._load(checkpoint.part("network"))
        alone = {k: v.to(self.device) for k, v in checkpoint.part("alone").items()}
        self.alone_state = {**self._encoding(), **alone}

    def _go_on(self, checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
        """The rest of the phase that it was written in."""
        self.average = {k: v.to(self.device) for k, v in checkpoint.part("average").items()}
        self.best_state = {k: v.to(self.device) for k, v in checkpoint.part("best").items()}
        self.best = {name: Best(*best) for name, best in checkpoint.state["best"].items()}
        restore_optimizer(optimizer, checkpoint.part("optimizer"))

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


@contextmanager
def _without_experts(network: Network) -> Iterator[None]:
    """The network without what is fitted beside it afterwards: it is neither asked, averaged nor written."""
    experts, network.experts = network.experts, None
    try:
        yield
    finally:
        network.experts = experts


def _check(config: ModelConfig, cohort: Cohort) -> None:
    check_contrasts(config.training, cohort.task)
    unknown = sorted(set(config.training.learning_rate_factors) - set(cohort.stream_names))
    if unknown:
        raise TaskError(
            f"task {cohort.task.name}, model.training.learning_rate_factors: expected some of "
            f"{', '.join(cohort.stream_names)}, got {', '.join(unknown)}"
        )


def _digest(state: State) -> str:
    digest = hashlib.sha256()
    for tensor in state.values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
