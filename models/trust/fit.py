"""Learning whom a model may speak of, once it is trained and calibrated."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from models.config import CalibrationConfig
from models.evaluate.metrics import OneClassError
from models.objectives import Objective
from models.prediction import Predictor
from models.trust.appearance import appearance
from models.trust.conflict import alone_log_odds, spread
from models.trust.conformal import Conformal, class_of, fit_intervals, fit_sets, labels_of, shares_of
from models.trust.familiar import LEAST_BEYOND, Familiar
from models.trust.gaussian import LEAST_CASES, Gaussian, fit_gaussian
from models.trust.groups import Groups
from models.trust.limits import upper_limit
from models.trust.logits import LogitCalibration, fit_logits
from models.trust.neighbours import Neighbours, fit_neighbours
from models.trust.ranges import fit_ranges
from models.trust.trust import Trust, elements_of, seen_by

BATCH = 256
TRAINING_CASES_AT_MOST = 10_000  # that what is familiar is learnt from
FOLDS = 5
Fit = Callable[[torch.Tensor], Gaussian | Neighbours | None]


@dataclass
class Collected:
    """What the cases of a split are like: lists to be joined, stream by stream."""

    tokens: dict[str, list[torch.Tensor]] = field(default_factory=lambda: defaultdict(list))
    looks: dict[str, list[torch.Tensor]] = field(default_factory=lambda: defaultdict(list))
    values: dict[str, list[list[np.ndarray]]] = field(default_factory=lambda: defaultdict(list))
    elements: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))


def fit_trust(predictor: Predictor, cohort: Cohort, training: np.ndarray, validation: np.ndarray) -> Trust:
    """What is familiar from the training cases; every limit from the validation cases, which must have outcomes.

    cohort: with the features of frozen encoders.
    """
    if len(training) > TRAINING_CASES_AT_MOST:
        training = np.sort(np.random.default_rng(0).choice(training, TRAINING_CASES_AT_MOST, replace=False))
    collected = _collect(predictor, cohort, training)
    familiar = {name: _familiar(predictor, name, collected) for name in predictor.stream_names}
    usual = {name: float(np.median(np.concatenate(counts))) for name, counts in collected.elements.items() if counts}
    scores, apart = _validation_scores(predictor, familiar, cohort, validation)
    share = 1 - predictor.config.abstain.quantile
    each = share / max(sum(len(parts) for parts in scores.values()), 1)  # Bonferroni: all limits together
    limited = {
        name: replace(known, limits=_limits(scores[name], _held_out(predictor, name, collected), each))
        for name, known in familiar.items()
    }
    limit = upper_limit(apart[apart > 0], share)
    return Trust(
        _conformal(predictor, cohort, validation), limited, usual, limit if np.isfinite(limit) and limit > 0 else None
    )


@torch.inference_mode()
def _collect(predictor: Predictor, cohort: Cohort, rows: np.ndarray) -> Collected:
    found, names = Collected(), predictor.stream_names
    for batch in cohort.batches(rows, BATCH, names):
        tokens = predictor.encode(batch)
        for name in names:
            stream = seen_by(predictor.network, name, batch.streams[name].to(predictor.device))
            statistics = predictor.statistics.streams[name]
            here = tokens[name].present.any(1)
            if not bool(here.any()):
                continue
            found.tokens[name].append(tokens[name].mean()[here].cpu())
            found.elements[name].append(elements_of(stream, statistics.kind)[here.cpu().numpy()])
            if (seen := appearance(stream, statistics)) is not None:
                found.looks[name].append(seen[0].cpu())
            if statistics.kind in ("table", "series"):
                columns = range(stream.values.shape[-1])
                found.values[name].append(
                    [stream.values[..., f][stream.observed[..., f]].cpu().numpy() for f in columns]
                )
    return found


def _familiar(predictor: Predictor, name: str, collected: Collected) -> Familiar:
    tokens, looks = collected.tokens.get(name), collected.looks.get(name)
    values = collected.values.get(name)
    joined = [np.concatenate(each) for each in zip(*values, strict=True)] if values else None
    return Familiar(
        None if tokens is None else fit_gaussian(torch.cat(tokens)),
        None if looks is None else _looks_fit(predictor, name)(torch.cat(looks)),
        None if joined is None else fit_ranges(joined, predictor.statistics.streams[name]),
    )


def _looks_fit(predictor: Predictor, name: str) -> Fit:
    return fit_neighbours if getattr(predictor.network.encoders[name], "frozen", False) else fit_gaussian


def _held_out(predictor: Predictor, name: str, collected: Collected) -> dict[str, np.ndarray]:
    """Part → the distances of training cases from what is familiar to the others."""
    found = {}
    fits: dict[str, tuple[Fit, dict[str, list[torch.Tensor]]]] = {
        "tokens": (fit_gaussian, collected.tokens), "looks": (_looks_fit(predictor, name), collected.looks),
    }  # fmt: skip
    for part, (fit, kept) in fits.items():
        if name not in kept:
            continue
        vectors = torch.cat(kept[name])
        fold = torch.arange(len(vectors)) % FOLDS
        distances = np.zeros(len(vectors))
        for number in range(FOLDS):
            known = fit(vectors[fold != number])
            distances[fold.numpy() == number] = np.nan if known is None else known.distance(vectors[fold == number])
        found[part] = distances[np.isfinite(distances)]
    return found


@torch.inference_mode()
def _validation_scores(
    predictor: Predictor, familiar: dict[str, Familiar], cohort: Cohort, rows: np.ndarray
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Stream → part → the scores of the cases that have the stream, and (n,) how far apart the streams are."""
    found: dict[str, dict[str, list[np.ndarray]]] = {name: defaultdict(list) for name in familiar}
    apart = []
    for batch in cohort.batches(rows, BATCH, predictor.stream_names):
        tokens = predictor.encode(batch)
        apart.append(spread(alone_log_odds(predictor.network, tokens)))
        for name, known in familiar.items():
            stream = seen_by(predictor.network, name, batch.streams[name].to(predictor.device))
            here = tokens[name].present.any(1).cpu().numpy()
            for part, scores in known.scores(stream, tokens[name], predictor.statistics.streams[name]).items():
                found[name][part].append(scores[here])
    return (
        {name: {part: np.concatenate(s) for part, s in parts.items()} for name, parts in found.items()},
        np.concatenate(apart) if apart else np.zeros(0),
    )


def _limits(scores: dict[str, np.ndarray], held_out: dict[str, np.ndarray], share: float) -> dict[str, float]:
    """Part → its limit, of parts that enough cases have: the validation cases', or that of the training cases.

    Where the validation cases are few, it is the training cases who know of the rare ones.
    """
    found = {}
    for part, values in scores.items():
        limit = upper_limit(values, share)
        if part == "beyond":  # most numbers lie inside their range, so that a limit from quantiles could be as low as 0
            limit = max(LEAST_BEYOND, float(values.max(initial=0.0)))
        elif len(held_out.get(part, ())) >= LEAST_CASES:
            limit = max(limit, upper_limit(held_out[part], share))
        if np.isfinite(limit) and limit > 0:
            found[part] = limit
    return found


def _conformal(predictor: Predictor, cohort: Cohort, rows: np.ndarray) -> Conformal | None:
    """From validation cases that have any stream, calibrated by maps fitted without them; None where not available."""
    task, config = predictor.task, predictor.config.conformal
    read = config.group is None or config.group == "pattern" or config.group.partition(".")[0] in predictor.stream_names
    groups = Groups(config.group, config.edges) if read else Groups()  # a model that does not read it cannot group
    if task.target.kind == "survival":
        return None
    raw, present, group = _raw(predictor, cohort, rows, groups)
    rows, raw, group, present = (part[present.any(1)] for part in (rows, raw, group, present))
    objective = cast(Objective, deepcopy(cast(nn.Module, predictor.network.meaning)).cpu())
    outcome = cohort.outcome[rows]
    calibrated = out_of_fold(
        objective, raw, outcome, cohort.target[rows], present, cohort.index["subject_id"].to_numpy()[rows],
        predictor.config.calibration, predictor.calibration,
    )  # fmt: skip
    probabilities = objective.probabilities(torch.as_tensor(calibrated)).float().detach().numpy()
    if task.target.kind == "regression":
        known = ~np.isnan(outcome[:, 0])
        mean, std = probabilities[known, 0], probabilities[known, 1]
        return fit_intervals(mean, std, outcome[known, 0], group[known], config.levels, groups)
    label = class_of(task, outcome)
    known = label >= 0
    shares = shares_of(task, probabilities[known])
    return fit_sets(shares, label[known], group[known], labels_of(task), config.levels, config.score, groups)


@torch.inference_mode()
def _raw(
    predictor: Predictor, cohort: Cohort, rows: np.ndarray, groups: Groups
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean logits (n, O) float64, present (n, M) and group (n,)."""
    names = predictor.stream_names
    raw, present, group = [], [], []
    for batch in cohort.batches(rows, BATCH, names):
        tokens = predictor.encode(batch)
        raw.append(predictor.network.fuse(tokens).double().mean(1).cpu().numpy())
        present.append(torch.stack([tokens[name].present.any(1) for name in names], 1).cpu().numpy())
        group.append(groups.of(batch, present[-1], names, predictor.statistics))
    return np.concatenate(raw), np.concatenate(present), np.concatenate(group)


def out_of_fold(
    objective: Objective,
    logits: np.ndarray,
    outcome: np.ndarray,
    target: np.ndarray,
    present: np.ndarray,
    subjects: Sequence[int] | np.ndarray,
    config: CalibrationConfig,
    whole: LogitCalibration,
) -> np.ndarray:
    """(N, O) logits calibrated by maps that were fitted without the case's own fold of subjects.

    Where a fold leaves one class only to fit on, the map of all cases, `whole`, stands in.
    """
    people, place = np.unique(subjects, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(people)) % FOLDS)[place]
    found = np.empty(logits.shape)
    for number in range(FOLDS):
        mine, rest = fold == number, fold != number
        try:
            fitted = fit_logits(objective, logits[rest], outcome[rest], target[rest], present[rest], config)
        except OneClassError:
            fitted = whole
        some = torch.as_tensor(logits[mine], dtype=torch.float64)
        found[mine] = fitted.apply(some, torch.as_tensor(present[mine])).numpy()
    return found
