"""One trial: a configuration trained on the training split and judged on the validation split."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ingest.align.windows import check_windows
from ingest.cohort import Cohort
from ingest.errors import ModelError, TaskError
from models.config import ModelConfig
from models.evaluate.metrics import auroc
from models.training.run import Epoch, Run, mean_logits
from models.tune.encoders import AloneEncoders

MEMBERS = 2  # bagged heads of a trial; the model that is trained in the end has the task's own number


@dataclass(frozen=True)
class Judged:
    """On the validation cases: the mean log-loss with its standard error over cases, and the risk's AUROC."""

    loss: float
    standard_error: float
    auroc: float


def splits_of(cohort: Cohort) -> dict[str, np.ndarray]:
    """Train and validation → the rows whose outcome is known. Raises TaskError where training would."""
    splits = {}
    for split in ("train", "validation"):
        rows = cohort.rows(split)
        rows = rows[cohort.known[rows]]
        events, others = (int((cohort.target[rows] == value).sum()) for value in (1, 0))
        if not events or not others:
            raise TaskError(
                f"task {cohort.task.name}: tuning needs both classes in the {split} split, "
                f"got {events} events in {len(rows)} cases"
            )
        splits[split] = rows
    check_windows(cohort, np.concatenate(list(splits.values())))
    return splits


def train_and_judge(
    cohort: Cohort,
    config: ModelConfig,
    encoders: AloneEncoders,
    *,
    rivals: Mapping[str, Sequence[str]],
    on_together: Callable[[int, float], None],
    on_epoch: Callable[[str, Epoch], None] | None = None,
) -> Judged:
    """Train as `models.training.train` does, on encoders that are kept, without calibration and column experts.

    on_together hears (epoch, validation loss) while the fusion is trained, and may raise Hopeless; on_epoch hears
    everything, with the stream's name or "" for the whole. Raises ModelError where a loss is not finite.
    """
    config = config.model_copy(update={"members": MEMBERS, "experts": ()})
    state = {}
    if config.training.scheme != "joint":
        state = encoders.state(config, rivals, on_epoch)
        config = config.model_copy(update={"training": config.training.model_copy(update={"alone_epochs": 0})})

    def heard(epoch: Epoch) -> None:
        if on_epoch is not None:
            on_epoch("", epoch)
        if epoch.phase in ("together", "joint"):
            on_together(epoch.number, _finite(epoch.validation_loss, f"epoch {epoch.number}"))

    validation = encoders.splits["validation"]
    run = Run(cohort, config, cohort.statistics, encoders.splits, encoders.seed, on_epoch=heard)
    run.network.load_state_dict({**run.network.state_dict(), **state})
    run.fit(None)
    logits = torch.from_numpy(mean_logits(run.network, run.cohort, validation, run.device)[0])
    objective = run.network.meaning.cpu()  # type: ignore[attr-defined]  # every objective is a module
    losses = objective.loss(logits, torch.from_numpy(run.cohort.outcome[validation])).numpy()
    risk = objective.risk_logit(logits).numpy()
    target = cohort.target[validation].astype(float)
    told = np.isin(target, (0, 1))
    return Judged(
        loss=_finite(float(losses.mean()), "the end"),
        standard_error=float(losses.std(ddof=1) / math.sqrt(len(losses))),
        auroc=float(auroc(target[told], risk[told], np.ones((1, int(told.sum()))))[0]),
    )


def _finite(loss: float, when: str) -> float:
    if not math.isfinite(loss):
        raise ModelError(f"the validation loss at {when} is {loss}; expected a number")
    return loss
