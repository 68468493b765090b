"""What a representation is worth: a linear probe on it, fitted with few labels and with many."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ingest.cohort import Cohort
from models.config import ModelConfig
from models.encoders import build_encoder
from models.evaluate.metrics import auroc, measure
from models.evaluate.partition import deal
from models.flat.linear import fit_penalised
from models.training.weights import seeded

CASES_AT_ONCE = 256
STRENGTHS = tuple(float(10**power) for power in np.arange(-4, 2, 1.0))  # C: the inverse of the L2 penalty
FOLDS = 4
FEWEST_EVENTS = 4  # of either class among the labelled cases, so that every fold can have one


def build_encoders(
    cohort: Cohort, config: ModelConfig, streams: Sequence[str], seed: int = 0,
    states: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
) -> dict[str, nn.Module]:  # fmt: skip
    """Encoders with these states; new weights where a stream has none."""
    with seeded(seed):
        built = {
            n: build_encoder(config.encoders[n], cohort.statistics.streams[n], config.width, config.dropout)
            for n in streams
        }
    for name, state in (states or {}).items():
        if name in built:
            built[name].load_state_dict(dict(state))
    return {name: encoder.eval() for name, encoder in built.items()}


@torch.inference_mode()
def mean_tokens(cohort: Cohort, encoders: Mapping[str, nn.Module], rows: np.ndarray) -> np.ndarray:
    """(n, M * (D + 1)): each stream's mean token and whether it is there; 0 where it is absent."""
    blocks = []
    for batch in cohort.batches(rows, CASES_AT_ONCE, list(encoders)):
        parts = []
        for name, encoder in encoders.items():
            tokens = encoder.eval()(batch.streams[name])
            parts += [tokens.mean(), tokens.present.any(1, keepdim=True).to(tokens.values.dtype)]
        blocks.append(torch.cat(parts, 1).double().numpy())
    return np.concatenate(blocks)


def probe(given: np.ndarray, target: np.ndarray, subjects: np.ndarray, asked: np.ndarray, seed: int = 0) -> np.ndarray:
    """Risks of the cases `asked` (m, K) from a logistic regression on `given` (n, K) with target (n,) 0 or 1.

    Columns are standardised on `given`; the L2 penalty is chosen by cross-validation that keeps subjects whole.
    """
    centre, scale = given.mean(0), given.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    given, asked = (given - centre) / scale, (asked - centre) / scale
    fold = deal(subjects, target, FOLDS, np.random.default_rng(seed))
    losses = np.zeros(len(STRENGTHS))
    for number in range(FOLDS):
        fit, held = fold != number, fold == number
        if len(np.unique(target[fit])) < 2:
            continue
        for at, strength in enumerate(STRENGTHS):
            risk = np.clip(_risk(given[held], *fit_penalised(given[fit], target[fit], strength)), 1e-9, 1 - 1e-9)
            losses[at] -= np.where(target[held] == 1, np.log(risk), np.log1p(-risk)).sum()
    return _risk(asked, *fit_penalised(given, target, STRENGTHS[int(losses.argmin())]))


def compare(
    cohort: Cohort,
    representations: Mapping[str, np.ndarray],
    shares: Sequence[float] = (0.1, 0.3, 1.0),
    *,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, dict[float, list[float]]]:
    """The test split's AUROC by representation and share of labels, of each draw of labelled training cases.

    representations: by name, (N, K) of all cases of the cohort. All of them are probed on the same draws; the whole
    training split is one draw.
    """
    train, test = (cohort.rows(split) for split in ("train", "test"))
    train, test = (rows[np.isfinite(cohort.target[rows])] for rows in (train, test))
    subjects = cohort.index["subject_id"].to_numpy()
    found: dict[str, dict[float, list[float]]] = {name: {share: [] for share in shares} for name in representations}
    for share in shares:
        for draw in range(draws if share < 1 else 1):
            rows = labelled(cohort.target[train], share, np.random.default_rng([seed, draw]))
            chosen = train[rows]
            target = cohort.target[chosen].astype(int)
            for name, values in representations.items():
                risk = probe(values[chosen], target, subjects[chosen], values[test], seed)
                found[name][share].append(measure(auroc, cohort.target[test], risk, "of the test split"))
    return found


def labelled(target: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of a random share of the cases, of each class its share and at least FEWEST_EVENTS where there are."""
    parts = []
    for label in (0, 1):
        at = np.flatnonzero(target == label)
        parts.append(rng.permutation(at)[: max(round(share * len(at)), FEWEST_EVENTS)])
    return np.sort(np.concatenate(parts))


def _risk(design: np.ndarray, coefficients: np.ndarray, intercept: float) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * (design @ coefficients + intercept))))
