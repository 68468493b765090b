"""The baseline that a fusion must beat: gradient-boosted trees on flat features of every stream.

It learns from the training and the validation split together (the network uses both too: one to fit, one to stop and
to calibrate), and chooses its size by grouped cross-validation on the log loss.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.cohort import Cohort
from models.evaluate.metrics import check_outcomes
from models.flat.features import FlatFeatures, fit_flat

FOLDS = 3
MOST_TREES = 200
SETTINGS: tuple[dict[str, Any], ...] = (
    {"max_leaf_nodes": 4, "min_samples_leaf": 10},
    {"max_leaf_nodes": 10, "min_samples_leaf": 20},
)
COMMON: dict[str, Any] = {"learning_rate": 0.05, "l2_regularization": 5.0, "max_features": 0.2, "early_stopping": False}


@dataclass(frozen=True)
class GradientBoosting:
    """Fitted trees with the flat features they take. It lives as long as the process: it is never saved."""

    features: FlatFeatures
    trees: Any  # sklearn's HistGradientBoostingClassifier
    names: tuple[str, ...]
    known: np.ndarray  # (columns,) bool: those that anybody in training has a value of; the trees see no others
    setting: dict[str, Any]
    cross_validated_log_loss: float

    def predict_risk(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Risks (n,) of these cases."""
        columns, _ = self.features.columns(cohort, rows)
        return np.asarray(self.trees.predict_proba(columns[:, self.known])[:, 1])


def train_gradient_boosting(cohort: Cohort, seed: int) -> GradientBoosting:
    """Train on the training and validation splits. The same cohort and seed give the same trees.

    Raises OneClassError where the cases all have the same outcome.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.concatenate([cohort.rows("train"), cohort.rows("validation")])
    rows = rows[np.isfinite(cohort.target[rows])]
    target = cohort.target[rows].astype(int)
    check_outcomes(target, "of the train and validation splits")
    features = fit_flat(cohort, rows, seed)
    columns, names = features.columns(cohort, rows)
    subjects = cohort.index["subject_id"].to_numpy()[rows]
    size, loss = choose_size(columns, target, subjects, seed)
    known = _known(columns)
    fitted = HistGradientBoostingClassifier(**COMMON, **size, random_state=seed).fit(columns[:, known], target)
    return GradientBoosting(features, fitted, tuple(names), known, {**COMMON, **size}, loss)


def choose_size(
    columns: np.ndarray, target: np.ndarray, subjects: np.ndarray, seed: int
) -> tuple[dict[str, Any], float]:
    """How large and how many trees, and the log loss of that in grouped cross-validation.

    columns (n, P), target (n,) the class as a whole number.
    """
    losses = np.stack([_log_losses(columns, target, subjects, setting, seed) for setting in SETTINGS])
    best, trees = np.unravel_index(losses.argmin(), losses.shape)
    return {**SETTINGS[int(best)], "max_iter": int(trees) + 1}, float(losses.min())


def _known(columns: np.ndarray) -> np.ndarray:
    """(columns,) bool: those with any value at all; scikit-learn cannot bin the others."""
    return np.asarray(np.isfinite(columns).any(0))


def _log_losses(
    columns: np.ndarray, target: np.ndarray, subjects: np.ndarray, setting: dict[str, Any], seed: int
) -> np.ndarray:
    """(MOST_TREES,) the log loss per left-out case after each tree, over folds that keep subjects whole."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    total, cases, classes = np.zeros(MOST_TREES), 0, np.unique(target)
    folds = StratifiedGroupKFold(_folds(target, subjects), shuffle=True, random_state=seed)
    for fit, held in folds.split(columns, target, subjects):
        if len(np.unique(target[fit])) < len(classes):
            continue
        model = HistGradientBoostingClassifier(**COMMON, **setting, max_iter=MOST_TREES, random_state=seed)
        known = _known(columns[fit])
        model.fit(columns[fit][:, known], target[fit])
        y = target[held]
        for tree, risks in enumerate(model.staged_predict_proba(columns[held][:, known])):
            chosen = np.clip(risks[np.arange(len(y)), np.searchsorted(classes, y)], 1e-9, 1)
            total[tree] -= np.log(chosen).sum()
        cases += len(held)
    return total / max(cases, 1)


def _folds(target: np.ndarray, subjects: np.ndarray) -> int:
    """As many folds as there are subjects of the rarer class, from two to FOLDS."""
    fewest = min(len(np.unique(subjects[target == label])) for label in np.unique(target))
    return max(2, min(FOLDS, fewest))
