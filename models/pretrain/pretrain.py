"""Pretraining: from an aligned cohort to encoders that have seen its cases and none of its outcomes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import Statistics, StreamStatistics
from models.config import EncoderConfig, ModelConfig
from models.encoders import build_encoder
from models.pretrain.adversarial import KINDS, AdversarialFeatures
from models.pretrain.contrastive import CrossModalContrast
from models.pretrain.masked import MaskedReconstruction
from models.pretrain.objective import Objective
from models.pretrain.run import Best, PretrainingEpoch, PretrainingRun
from models.training.weights import seeded

EPOCHS = 60
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pretrained:
    """Encoders by stream, as the states that `models.network.Network.encoders` takes, and how they came about.

    best: by stream (or "together") the lowest validation loss, when that was, and the loss before any training.
    """

    method: str
    encoders: Mapping[str, State]
    statistics: Statistics
    config: ModelConfig
    seed: int
    cases: Mapping[str, int]
    history: Sequence[PretrainingEpoch]
    best: Mapping[str, Best]


@dataclass(frozen=True)
class Method:
    """How a method is built from (encoders, statistics, width), and how many times training's batch it sees at once.

    Each case of a batch is what the others are contrasted with, so that contrast needs more of them.
    """

    build: Callable[[Mapping[str, nn.Module], Mapping[str, StreamStatistics], int], Objective]
    batches: int
    kinds: Sequence[str] = ("table", "series", "image", "text", "audio")


def pretrain(
    cohort: Cohort,
    config: ModelConfig,
    method: str = "masked",
    *,
    seed: int,
    streams: Sequence[str] | None = None,
    epochs: int = EPOCHS,
    run_folder: Path | None = None,
    on_epoch: Callable[[PretrainingEpoch], None] | None = None,
) -> Pretrained:
    """Train the encoders of a task on all cases of the training split, whether or not their outcome is known.

    No outcome is read, no case of the test split, and validation cases only tell when to stop. streams: the default is
    all that the method is for and whose encoder is not frozen. run_folder: where the checkpoint is kept; a run found
    there with the same settings goes on where it stopped. Raises TaskError where the method is not for a stream.
    """
    check_method(method)
    names = _streams(cohort, config, method, streams)
    chosen = {name: cohort.statistics.streams[name] for name in names}
    statistics = Statistics(chosen, cohort.statistics.cases, cohort.statistics.prevalence)
    rows = _rows(cohort)
    with seeded(seed):
        encoders = {n: build_encoder(config.encoders[n], s, config.width, config.dropout) for n, s in chosen.items()}
        objective = METHODS[method].build(encoders, chosen, config.width)
    run = PretrainingRun(
        cohort, rows, objective, config.training, seed=seed, epochs=epochs,
        batch_size=METHODS[method].batches * config.training.batch_size,
        said={
            "method": method,
            "statistics": {name: vars(each) for name, each in chosen.items()},
            "model": config.model_dump(include={"width", "dropout", "encoders"}),
        },
        folder=run_folder, on_epoch=on_epoch,
    )  # fmt: skip
    run.fit()
    trained = cast(Mapping[str, nn.Module], dict(objective.encoders.items()))
    return Pretrained(
        method=method,
        encoders={n: {k: v.detach().cpu().clone() for k, v in e.state_dict().items()} for n, e in trained.items()},
        statistics=statistics,
        config=config,
        seed=seed,
        cases={split: len(each) for split, each in rows.items()},
        history=run.history,
        best=run.best,
    )


def check_method(method: str) -> None:
    """Raise TaskError where there is no such method."""
    if method not in METHODS:
        raise TaskError(f"pretraining method: expected one of {', '.join(METHODS)}, got {method!r}")


def _streams(cohort: Cohort, config: ModelConfig, method: str, streams: Sequence[str] | None) -> list[str]:
    """Those asked for, in the task's order; by default all that can be pretrained so."""
    kinds = METHODS[method].kinds
    of = cohort.statistics.streams
    if streams is None:
        names = [n for n in cohort.stream_names if of[n].kind in kinds and _learns(config.encoders[n])]
        if not names:
            raise TaskError(
                f"task {cohort.task.name}: expected a stream for {method} pretraining (of kind {', '.join(kinds)}, its "
                f"encoder not frozen), found none among {', '.join(cohort.stream_names)}"
            )
        return names
    unknown = [name for name in streams if name not in of]
    if unknown or not streams:
        raise TaskError(f"streams {unknown}: expected some of {', '.join(cohort.stream_names)}")
    for name in streams:
        if of[name].kind not in kinds:
            raise TaskError(
                f"stream {name}: expected a stream of kind {' or '.join(kinds)} for {method} pretraining, got kind "
                f"{of[name].kind}; leave it out, or take --method masked for it"
            )
        if not _learns(config.encoders[name]):
            raise TaskError(
                f"stream {name}: its encoder is frozen, so that nothing of it could be learnt; leave it out, or take "
                "frozen: true from the task"
            )
    return [name for name in cohort.stream_names if name in streams]


def _learns(config: EncoderConfig) -> bool:
    return not config.frozen


def _rows(cohort: Cohort) -> dict[str, np.ndarray]:
    """The cases of the training and validation splits, but none of a subject that a later split has too."""
    subject = cohort.index["subject_id"].to_numpy()
    test, validation, train = (cohort.rows(split) for split in ("test", "validation", "train"))
    validation = validation[~np.isin(subject[validation], subject[test])]
    train = train[~np.isin(subject[train], subject[np.concatenate([validation, test])])]
    if not len(train):
        raise TaskError(f"task {cohort.task.name}: expected cases in the train split to learn from, found none")
    return {"train": train, "validation": validation}


METHODS: dict[str, Method] = {
    "masked": Method(MaskedReconstruction, 1),
    "contrastive": Method(CrossModalContrast, 2),
    "adversarial": Method(AdversarialFeatures, 1, KINDS),
}
