"""The models that are compared with each other, each fitted on the same training and validation splits of a cohort."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ingest.cohort import Cohort
from models.config import ModelConfig
from models.evaluate.evaluation import FUSED
from models.evaluate.logistic import fit_logistic
from models.evaluate.metrics import check_outcomes
from models.features import with_features_of, with_frozen_features
from models.flat.boosting import train_gradient_boosting
from models.flat.linear import train_logistic_regression
from models.prediction import Prediction, Predictor, expit
from models.score import predict_rows
from models.training.train import TrainingOutcome, train

LATE_AVERAGE = "late average"


@dataclass(frozen=True)
class Part:
    """What a rival is fitted on and asked about.

    cohort: split, with statistics of its own training split. rows: the cases asked about. folder: where a checkpoint
    may be kept while it is fitted.
    """

    cohort: Cohort
    config: ModelConfig
    rows: np.ndarray
    seed: int
    folder: Path | None = None


Rival = Callable[[Part], Mapping[str, np.ndarray]]  # name -> risks of the rows: one fit may give several models


def network(part: Part) -> dict[str, np.ndarray]:
    """The fused network, the network of each single stream (its own first phase), and the late average of those."""
    outcome = train(part.cohort, part.config, seed=part.seed, version="v0001", run_folder=part.folder)
    return network_risks(outcome, part)


def network_risks(outcome: TrainingOutcome, part: Part) -> dict[str, np.ndarray]:
    """The risks that a trained model gives the rows, by name: those of `network`."""
    risks = {FUSED: _predict(outcome.predictor, part.cohort, part.rows).risk}
    if outcome.alone:
        single = {name: _predict(predictor, part.cohort, part.rows) for name, predictor in outcome.alone.items()}
        risks |= {name: prediction.risk for name, prediction in single.items()}
        risks[LATE_AVERAGE] = _late_average(outcome, part, single)
    return risks


def gradient_boosting(part: Part) -> dict[str, np.ndarray]:
    """Trees on flat features of all streams."""
    cohort = with_features_of(part.cohort, part.config)
    return {"gradient boosting": train_gradient_boosting(cohort, part.seed).predict_risk(cohort, part.rows)}


def logistic_regression(part: Part) -> dict[str, np.ndarray]:
    """A penalised logistic regression on the same flat features."""
    cohort = with_features_of(part.cohort, part.config)
    return {"logistic regression": train_logistic_regression(cohort, part.seed).predict_risk(cohort, part.rows)}


def _late_average(outcome: TrainingOutcome, part: Part, single: Mapping[str, Prediction]) -> np.ndarray:
    """The mean logit of the networks whose stream a case has, calibrated on the validation split."""
    rows = part.cohort.rows("validation")
    rows = rows[~np.isnan(part.cohort.target[rows])]
    held = {name: _predict(predictor, part.cohort, rows) for name, predictor in outcome.alone.items()}
    logit, present = mean_of_present(held)
    target = part.cohort.target[rows][present].astype(float)
    check_outcomes(target, "of the validation split that have a stream")
    # Without the prior of `models.trust.calibrate`: a mean of independent evidence is far too timid, not nearly right.
    design = np.stack([np.ones(len(target)), logit[present]], 1)
    shift, scale = fit_logistic(design, target, np.ones((1, len(target))))[0]
    return expit(shift + scale * mean_of_present(single)[0])


def mean_of_present(predictions: Mapping[str, Prediction]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the mean logit over the networks whose stream is there, or over all where none is; (n,) if any is."""
    logit = np.stack([prediction.logit for prediction in predictions.values()], 1)
    present = np.concatenate([prediction.present for prediction in predictions.values()], 1)
    counts = present | ~present.any(1, keepdims=True)
    return np.asarray((logit * counts).sum(1) / counts.sum(1)), np.asarray(present.any(1))


def _predict(predictor: Predictor, cohort: Cohort, rows: np.ndarray) -> Prediction:
    return predict_rows(predictor, with_frozen_features(cohort, predictor.network, predictor.device), rows)


RIVALS: dict[str, Rival] = {
    "network": network,
    "gradient-boosting": gradient_boosting,
    "logistic-regression": logistic_regression,
}
DESCRIBED: dict[str, str] = {  # beside those of `models.evaluate.evaluation.DEFAULT_KINDS`
    LATE_AVERAGE: "the mean log-odds of the networks of single streams, calibrated",
    "logistic regression": "a penalised logistic regression on flat features of all streams",
}
