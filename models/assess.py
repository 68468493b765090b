"""Assessing a model: its predictions on the test split beside every rival's, trained on the same cases."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from ingest.cohort import Cohort, presence_pattern
from ingest.errors import ModelError
from models import store
from models.evaluate.evaluation import evaluate
from models.evaluate.metrics import check_outcomes
from models.evaluate.results import Evaluation
from models.evaluate.subgroups import cohort_groupings
from models.features import with_features_of, with_frozen_features
from models.flat.boosting import train_gradient_boosting
from models.flat.linear import train_logistic_regression
from models.prediction import Predictor
from models.score import check_fits, predict_rows
from models.training.train import train


class Baseline(Protocol):
    """A fitted model that reads flat columns."""

    def predict_risk(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """(n,) the risks of these cases."""
        ...


Step = Callable[[str], None]
BASELINES: dict[str, Callable[[Cohort, int], Baseline]] = {
    "gradient boosting": train_gradient_boosting,
    "logistic regression": train_logistic_regression,
}


def assess(
    predictor: Predictor,
    cohort: Cohort,
    *,
    seed: int = 0,
    split: str = "test",
    alone_folder: Path | None = None,
    attainable: Mapping[str, float] | None = None,
    groupings: Mapping[str, np.ndarray] | None = None,
    baseline: bool = True,
    on_step: Step | None = None,
) -> Evaluation:
    """Evaluate a model beside each single modality, the BASELINES on flat features, and the best attainable.

    alone_folder: where to keep networks trained on one stream each (the honest rival of a fusion; what is there is
    used again). Where it is None, the model itself with only that stream stands in. attainable: case_id -> the risk
    that the outcome was drawn from, for simulated data. groupings: name -> the group of each case of the cohort (N,),
    such as a site or a scanner, beside those that the cohort has by itself.
    """
    say = on_step or (lambda _: None)
    check_fits(predictor, cohort)
    rows = cohort.rows(split)
    rows = rows[~np.isnan(cohort.target[rows])]
    check_outcomes(cohort.target[rows], f"of the {split} split")  # before any rival is trained
    names = predictor.stream_names
    say("the fused model")
    featured = with_frozen_features(cohort, predictor.network, predictor.device)
    fused = predict_rows(predictor, featured, rows)
    predictions, kinds = {"fused": fused.risk}, {}
    for i, name in enumerate(names):
        if alone_folder is None:
            keep = np.arange(len(names)) == i
            predictions[name] = predict_rows(predictor, featured, rows, keep).risk
            kinds[name] = "the same network with only this stream"
        else:
            say(f"{name} alone")
            single = trained_alone(predictor, cohort, [name], alone_folder / name, seed=seed)
            own = with_frozen_features(cohort, single.network, single.device)
            predictions[name] = predict_rows(single, own, rows).risk
            kinds[name] = "a network of its own, trained on this stream alone"
    if baseline:
        flat = with_features_of(cohort, predictor.config)
        for name, fit in BASELINES.items():
            say(name)
            predictions[name] = fit(flat, seed).predict_risk(flat, rows)
    say("intervals")
    return evaluate(
        predictions,
        cohort.target[rows],
        cohort.index["subject_id"].to_numpy()[rows],
        presence_pattern(fused.present, names),
        {name: fused.present[:, i] for i, name in enumerate(names)},
        rng=np.random.default_rng(seed),
        attainable=None if attainable is None else _attainable(attainable, cohort, rows),
        kinds=kinds,
        groupings={**cohort_groupings(cohort, rows), **{n: labels[rows] for n, labels in (groupings or {}).items()}},
        split=split,
    )


def trained_alone(predictor: Predictor, cohort: Cohort, streams: list[str], folder: Path, *, seed: int) -> Predictor:
    """A network of the same configuration trained on these streams only, kept in `folder`."""
    kept = folder / "v0001"
    if kept.is_dir():
        return store.load(kept, device=str(predictor.device))
    outcome = train(cohort, predictor.config, seed=seed, version="v0001", streams=streams)
    store.save(folder, outcome, parent=None, note=f"Trained on {', '.join(streams)} alone, to compare with.")
    return outcome.predictor


def _attainable(attainable: Mapping[str, float], cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    cases = cohort.index["case_id"].to_numpy(str)[rows]
    missing = [case for case in cases if case not in attainable]
    if missing:
        raise ModelError(f"truth: expected a risk for each of {len(cases)} cases, got none for {len(missing)}")
    return np.array([attainable[case] for case in cases])
