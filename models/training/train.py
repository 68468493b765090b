"""Training: from an aligned cohort to a calibrated predictor, on whatever device and precision there is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingest.align.windows import check_windows
from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import Statistics
from models.config import ModelConfig
from models.evaluate.metrics import OneClassError
from models.network import Network, build_network
from models.prediction import Predictor
from models.pretrain.start import begin_with
from models.score import predict_rows
from models.training.experts import add_experts
from models.training.run import EVALUATION_BATCH, Epoch, Run, mean_logits
from models.training.weights import seeded
from models.trust.fit import fit_trust
from models.trust.groups import Groups
from models.trust.logits import LogitCalibration, check_method, fit_logits
from models.trust.selfcheck import SelfCheck
from models.trust.trust import Trust


@dataclass(frozen=True)
class TrainingOutcome:
    """A trained, calibrated predictor and how it came about.

    alone: for each stream the network that was trained on it by itself (the first phase), calibrated: what a fusion
    has to beat. alarms: what the self-check found wrong (`models.trust.selfcheck`).
    """

    predictor: Predictor
    history: Sequence[Epoch]
    cases: Mapping[str, int]
    events: Mapping[str, int]
    seed: int
    alone: Mapping[str, Predictor]
    alarms: Sequence[str] = ()


def train(
    cohort: Cohort,
    config: ModelConfig,
    *,
    seed: int,
    version: str,
    streams: Sequence[str] | None = None,
    start: Predictor | None = None,
    pretrained: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    run_folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_features: Callable[[str, int, int], None] | None = None,
) -> TrainingOutcome:
    """Train, stop early on the validation split, calibrate on it, and learn when to say nothing.

    streams: only these (the default is all). start: a model whose weights to begin with, of the same configuration.
    pretrained: stream -> the state of an encoder to begin with (`models.pretrain`); not beside `start`.
    run_folder: where the checkpoint is kept; a run found there with the same settings goes on where it stopped.
    Raises TaskError where a split lacks cases of either class, or where the hours that a stream covers tell the class.
    """
    names = cohort.stream_names if streams is None else _known(streams, cohort)
    statistics = start.statistics if start is not None else cohort.statistics
    statistics = Statistics({n: statistics.streams[n] for n in names}, statistics.cases, statistics.prevalence)
    splits = {split: _labelled(cohort, split) for split in ("train", "validation")}
    check_windows(cohort, np.concatenate(list(splits.values())))
    Groups(config.conformal.group, config.conformal.edges).check(cohort.statistics)
    run = Run(cohort, config, statistics, splits, seed, run_folder, on_epoch, on_features)
    check_method(config.calibration, run.network.meaning)
    if pretrained is not None:
        run.origin = begin_with(run.network.encoders, pretrained)
    run.fit(start.network if start is not None else None)
    size = add_experts(run.network, run, None)
    whole = Predictor(
        version=version,
        task=cohort.task,
        config=config,
        statistics=statistics,
        network=run.network,
        calibration=_calibration(run.network, run, splits["validation"]),
        device=run.device,
    )
    whole = replace(whole, absence_variance=_absence_variance(whole, run, splits["validation"]))
    whole = replace(whole, trust=fit_trust(whole, run.cohort, splits["train"], splits["validation"]))
    return TrainingOutcome(
        predictor=whole,
        alone={name: _alone(name, whole, run, splits["validation"], size) for name in names} if len(names) > 1 else {},
        history=run.history,
        cases={split: len(rows) for split, rows in splits.items()},
        events={split: int(np.nansum(cohort.target[rows])) for split, rows in splits.items()},
        seed=seed,
        alarms=_alarms(whole, run, splits["validation"]),
    )


def _alone(name: str, whole: Predictor, run: Run, validation: np.ndarray, size: Mapping[str, Any] | None) -> Predictor:
    """The network of one stream as the first phase left it, with experts of its own where the whole has any.

    With one stream and no fusion it is its evidence alone. size: of the whole's trees.
    """
    statistics = replace(whole.statistics, streams={name: whole.statistics.streams[name]})
    with seeded(run.seed):
        network = build_network(whole.config, statistics, whole.task).to(run.device).eval()
    mine = (f"encoders.{name}.", f"alone.{name}.")
    state = {k: v for k, v in run.alone_state.items() if k.startswith(mine)}
    network.prior.copy_(run.network.prior)
    network.objective.load_state_dict(run.network.objective.state_dict())
    network.load_state_dict({**network.state_dict(), **state})
    if size is not None:
        add_experts(network, run, size)
    try:
        calibration = _calibration(network, run, validation)
    except OneClassError:  # too few have the stream to calibrate it alone: its own log-odds stand as they are
        calibration = LogitCalibration.identity(network.meaning)
    return replace(
        whole, version="v0001", statistics=statistics, network=network, calibration=calibration, trust=Trust()
    )


def _calibration(network: Network, run: Run, validation: np.ndarray) -> LogitCalibration:
    """Fitted on the validation cases that have at least one of the network's streams."""
    logits, some = mean_logits(network, run.cohort, validation, run.device)
    rows = validation[some]
    streams = [run.cohort.stream_names.index(name) for name in network.stream_names]
    return fit_logits(
        network.meaning, logits[some], run.cohort.outcome[rows], run.cohort.target[rows],
        run.cohort.present[rows][:, streams], run.config.calibration,
    )  # fmt: skip


def _alarms(predictor: Predictor, run: Run, rows: np.ndarray) -> list[str]:
    """What the self-check says of these cases."""
    check = SelfCheck(predictor.stream_names)
    for batch in run.cohort.batches(rows, EVALUATION_BATCH, predictor.stream_names):
        tokens = predictor.encode(batch)
        check.see(batch, tokens, predictor.logits(tokens).cpu().numpy())
    return check.alarms()


def _absence_variance(predictor: Predictor, run: Run, validation: np.ndarray) -> dict[str, float]:
    """stream -> how much wider the interval is of a case that lacks it, as a variance of the log-odds.

    The mean square by which the stream moves the log-odds of the cases that have it, plus the mean variance that goes
    from the rest of the interval where it is hidden (with less said, members may disagree less), if any.
    """
    found = {}
    for place, name in enumerate(predictor.stream_names):
        has = validation[run.cohort.present[validation][:, run.cohort.stream_names.index(name)]]
        if len(has) == 0:
            found[name] = 0.0
            continue
        whole = predict_rows(predictor, run.cohort, has)
        without = predict_rows(predictor, run.cohort, has, np.arange(len(predictor.stream_names)) != place)
        lost = float(np.mean(whole.logit_std**2 - without.logit_std**2))
        found[name] = float(np.mean((whole.logit - without.logit) ** 2)) + max(lost, 0.0)
    return found


def _known(streams: Sequence[str], cohort: Cohort) -> list[str]:
    unknown = [name for name in streams if name not in cohort.stream_names]
    if unknown or not streams:
        raise TaskError(f"streams {list(unknown)}: expected some of {', '.join(cohort.stream_names)}")
    return [name for name in cohort.stream_names if name in streams]


def _labelled(cohort: Cohort, split: str) -> np.ndarray:
    rows = cohort.rows(split)
    rows = rows[cohort.known[rows]]
    events, others = (int((cohort.target[rows] == value).sum()) for value in (1, 0))
    if not events or not others:
        raise TaskError(
            f"task {cohort.task.name}: training needs both classes in the {split} split, "
            f"got {events} events in {len(rows)} cases"
        )
    return np.asarray(rows)
