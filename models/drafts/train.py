"""Training a decoder on what a trained model makes of its cases. The model itself stays as it is."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.drafts.cases import CaseTokens, encode_reports, rows_with_reports
from models.drafts.config import DraftConfig
from models.drafts.decoder import Decoder, Memory, before
from models.drafts.draft import Drafter
from models.drafts.vocabulary import PAD, Vocabulary, fit_vocabulary
from models.features import with_frozen_features
from models.prediction import Predictor
from models.score import check_fits
from models.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from models.training.weights import seeded

LEAST_REPORTS = 10  # in the training split, below which nothing is learnt
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class DraftEpoch:
    """What one pass over the training reports gave: mean losses per word, in nats; best: whether the best yet."""

    number: int
    of: int
    training_loss: float
    validation_loss: float
    best: bool


@dataclass(frozen=True)
class DraftTraining:
    """A trained drafter and how it came about. cases: reports by split; cut: training reports beyond max_tokens."""

    drafter: Drafter
    history: tuple[DraftEpoch, ...]
    cases: Mapping[str, int]
    cut: int
    seed: int


@dataclass(frozen=True)
class Reports:
    """The cases of a split that have a report: tokens of N cases, words (N, L) padded."""

    tokens: CaseTokens
    words: torch.Tensor

    def __len__(self) -> int:
        return len(self.words)


def train_drafter(
    predictor: Predictor,
    cohort: Cohort,
    config: DraftConfig,
    *,
    seed: int,
    run_folder: Path | None = None,
    on_epoch: Callable[[DraftEpoch], None] | None = None,
) -> DraftTraining:
    """Train on the training reports, and keep the epoch with the lowest loss on those of the validation split.

    run_folder: where the checkpoint is kept; a run found there with the same settings goes on where it stopped.
    """
    check_fits(predictor, cohort)
    texts = {split: rows_with_reports(cohort, split) for split in ("train", "validation")}
    _check_enough(cohort, {split: len(found) for split, (_, found) in texts.items()})
    cohort = with_frozen_features(cohort, predictor.network, predictor.device)
    assert cohort.task.report is not None
    length = cohort.task.report.max_tokens
    vocabulary = fit_vocabulary(texts["train"][1], config.vocabulary, config.least_reports)
    reports, cut = {}, 0
    for split, (rows, found) in texts.items():
        words, over = encode_reports(vocabulary, found, length)
        tokens = CaseTokens(predictor, cohort, rows)
        reports[split] = Reports(tokens, torch.from_numpy(words).to(predictor.device))
        cut += over if split == "train" else 0
    run = DraftRun(
        new_decoder(predictor, config, vocabulary, length, seed), config, reports, seed, run_folder, on_epoch
    )
    run.fit()
    return DraftTraining(
        drafter=Drafter(predictor.version, tuple(predictor.stream_names), config, vocabulary, run.decoder.eval()),
        history=tuple(run.history),
        cases={split: len(part) for split, part in reports.items()},
        cut=cut,
        seed=seed,
    )


def new_decoder(predictor: Predictor, config: DraftConfig, vocabulary: Vocabulary, length: int, seed: int) -> Decoder:
    """A decoder with new weights for a model's tokens."""
    streams = len(predictor.stream_names)
    with seeded(seed):
        decoder = Decoder(
            config, words=len(vocabulary), memory_width=predictor.network.width, streams=streams, max_tokens=length
        )
    return decoder.to(predictor.device)


class DraftRun:
    """The decoder being trained, with all that must be kept to go on after a kill."""

    def __init__(
        self,
        decoder: Decoder,
        config: DraftConfig,
        reports: Mapping[str, Reports],
        seed: int,
        folder: Path | None = None,
        on_epoch: Callable[[DraftEpoch], None] | None = None,
    ) -> None:
        self.decoder, self.config, self.reports, self.seed = decoder, config, reports, seed
        self.folder, self.on_epoch = folder, on_epoch or (lambda _: None)
        self.optimizer = torch.optim.AdamW(
            decoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.history: list[DraftEpoch] = []
        self.best = (math.inf, 0)  # validation loss, epoch
        self.best_state = _copied(decoder.state_dict())

    def fit(self) -> None:
        """Train until the validation loss has not fallen for `patience` epochs. Ends with the best weights."""
        for number in range(self._resume() + 1, self.config.epochs + 1):
            if number - 1 - self.best[1] >= self.config.patience:
                break
            with seeded(self.seed * 100_003 + number):
                training_loss = self._epoch(number)
            loss = mean_loss(self.decoder, self.reports["validation"])
            is_best = loss < self.best[0]
            if is_best:
                self.best, self.best_state = (loss, number), _copied(self.decoder.state_dict())
            self.history.append(DraftEpoch(number, self.config.epochs, training_loss, loss, is_best))
            self._save()
            self.on_epoch(self.history[-1])
        self.decoder.load_state_dict(self.best_state)

    def _epoch(self, number: int) -> float:
        config, reports = self.config, self.reports["train"]
        self.decoder.train()
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(reports))
        steps = math.ceil(len(order) / config.batch_size)
        total, counted = 0.0, 0
        for step in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(number - 1 + step / steps, config)
            at = np.sort(order[step * config.batch_size : (step + 1) * config.batch_size])
            words = reports.words[torch.from_numpy(at).to(reports.words.device)]
            memory = reports.tokens.memory(at, self._keep(len(at), rng).to(words.device))
            loss = word_loss(self.decoder, memory, words, label_smoothing=config.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch states no type for it
            torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), config.clip_norm)
            self.optimizer.step()
            said = int((words != PAD).sum())
            total, counted = total + float(loss.detach()) * said, counted + said
        return total / counted

    def _keep(self, cases: int, rng: np.random.Generator) -> torch.Tensor:
        """(B, M) the streams that each case shows: all, or of some cases a random part, which may be none."""
        streams = len(self.reports["train"].tokens.predictor.stream_names)
        part = rng.random((cases, 1)) < self.config.hide_streams
        return torch.from_numpy(~part | (rng.random((cases, streams)) < 0.5))

    @cached_property
    def _fingerprint(self) -> str:
        """What a run must agree on with a checkpoint to go on from it: settings, cases, words, the model's weights."""
        digest = hashlib.sha256(json.dumps([self.config.model_dump(mode="json"), self.seed]).encode())
        for part in self.reports.values():
            digest.update(part.words.cpu().numpy().tobytes() + part.tokens.rows.tobytes())
        for name, tensor in sorted(self.reports["train"].tokens.predictor.network.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()

    def _save(self) -> None:
        if self.folder is None:
            return
        parts = {
            "decoder": self.decoder.state_dict(),
            "best": self.best_state,
            "optimizer": optimizer_tensors(self.optimizer),
        }
        state = {
            "run": self._fingerprint, "best": list(self.best), "history": [asdict(epoch) for epoch in self.history]
        }  # fmt: skip
        save_checkpoint(self.folder, parts, state)

    def _resume(self) -> int:
        """The epochs that are done already."""
        held = load_checkpoint(self.folder) if self.folder is not None else None
        if held is None or held.state.get("run") != self._fingerprint:
            return 0
        self.decoder.load_state_dict(held.part("decoder"))
        restore_optimizer(self.optimizer, held.part("optimizer"))
        self.best_state = {name: tensor.to(_device(self.decoder)) for name, tensor in held.part("best").items()}
        self.best = (float(held.state["best"][0]), int(held.state["best"][1]))
        self.history = [DraftEpoch(**epoch) for epoch in held.state["history"]]
        return len(self.history)


def word_loss(decoder: Decoder, memory: Memory, words: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """The mean cross-entropy per word of reports (B, L), each word given those before it (teacher forcing).

    label_smoothing: Szegedy et al. 2016, section 7.
    """
    longest = int((words != PAD).any(0).nonzero().max()) + 1
    words = words[:, :longest]
    logits = decoder(before(words), memory)
    return F.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


@torch.no_grad()
def mean_loss(decoder: Decoder, reports: Reports, *, blind: bool = False) -> float:
    """The mean cross-entropy per word of all reports, in nats. blind: with every stream hidden."""
    decoder.eval()
    total, counted = 0.0, 0
    streams = len(reports.tokens.predictor.stream_names)
    for start in range(0, len(reports), EVALUATION_BATCH):
        at = np.arange(start, min(start + EVALUATION_BATCH, len(reports)))
        words = reports.words[at[0] : at[-1] + 1]
        keep = torch.zeros(len(at), streams, dtype=torch.bool, device=words.device) if blind else None
        said = int((words != PAD).sum())
        total += float(word_loss(decoder, reports.tokens.memory(at, keep), words)) * said
        counted += said
    return total / counted


def _schedule(done: float, config: DraftConfig) -> float:
    """The factor on the learning rate after so many epochs: a linear rise, then half a cosine down to 0."""
    if done < config.warmup_epochs:
        return max(done, 0.02) / config.warmup_epochs
    rest = max(config.epochs - config.warmup_epochs, 1)
    return 0.5 * (1 + math.cos(math.pi * min((done - config.warmup_epochs) / rest, 1.0)))


def _check_enough(cohort: Cohort, reports: Mapping[str, int]) -> None:
    if reports["train"] < LEAST_REPORTS or reports["validation"] < 1:
        raise TaskError(
            f"task {cohort.task.name}, report: expected at least {LEAST_REPORTS} reports in the training split and 1 "
            f"in the validation split, got {reports['train']} and {reports['validation']}"
        )


def _copied(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _device(decoder: Decoder) -> torch.device:
    return next(decoder.parameters()).device
