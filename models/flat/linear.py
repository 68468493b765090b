"""The plainest rival of a fusion: logistic regression on flat features of every stream.

It learns from the training and the validation split together, as gradient boosting does, and chooses its L2 penalty by
grouped cross-validation on the log loss; medians and scales are fitted again in each of those folds.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.cohort import Cohort
from models.evaluate.metrics import check_outcomes
from models.evaluate.partition import deal
from models.flat.columns import SERIES_PARTS
from models.flat.features import FlatFeatures, fit_flat

FOLDS = 5
STRENGTHS = tuple(float(10**power) for power in np.arange(-4, 1.5, 0.5))  # C: the inverse of the L2 penalty
MOST_ITERATIONS = 500
TOLERANCE = 1e-6  # of the gradient
IQR_OF_NORMAL = 1.3489795  # of a standard normal: what makes an interquartile range a standard deviation
TELLING = ("last", "count", "hours since last", "count of the second half")  # of a channel whose values are levels
CLIP = 5.0  # in those: one wild value must not outweigh all others


@dataclass(frozen=True)
class Design:
    """What turns flat columns into the columns of a regression; fitted on training cases.

    Numbers: the median in place of what is missing, centred on it, scaled by the interquartile range (by the standard
    deviation where that is 0), clipped. Categories: one column for each level that was seen. Then a flag for each
    distinct pattern of missing values. Columns that do not vary are left out.
    """

    numeric: np.ndarray  # positions among the flat columns
    centre: np.ndarray
    scale: np.ndarray
    levels: tuple[tuple[int, int], ...]  # (position, level)
    flags: np.ndarray  # positions of columns whose being missing is told

    def apply(self, columns: np.ndarray) -> np.ndarray:
        """columns (n, P), NaN where missing → (n, K), finite."""
        values = np.asarray(columns[:, self.numeric], float)
        scaled = np.where(np.isnan(values), 0.0, np.clip((values - self.centre) / self.scale, -CLIP, CLIP))
        hot = [columns[:, at] == level for at, level in self.levels]
        shown = np.stack(hot, 1).astype(float) if hot else np.zeros((len(columns), 0))
        return np.concatenate([scaled, shown, np.isnan(columns[:, self.flags]).astype(float)], 1)


@dataclass(frozen=True)
class LogisticRegression:
    """A fitted regression with the flat features it takes. It lives as long as the process: it is never saved."""

    features: FlatFeatures
    design: Design
    coefficients: np.ndarray
    intercept: float
    strength: float
    cross_validated_log_loss: float

    def predict_risk(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Risks (n,) of these cases."""
        columns, _ = self.features.columns(cohort, rows)
        return _risk(self.design.apply(columns), self.coefficients, self.intercept)


def train_logistic_regression(cohort: Cohort, seed: int) -> LogisticRegression:
    """Fit on the training and validation splits. The same cohort and seed give the same coefficients.

    Raises OneClassError where the cases all have the same outcome.
    """
    rows = np.concatenate([cohort.rows("train"), cohort.rows("validation")])
    rows = rows[np.isfinite(cohort.target[rows])]
    target = cohort.target[rows].astype(int)
    check_outcomes(target, "of the train and validation splits")
    features = fit_flat(cohort, rows, seed)
    columns, names = features.columns(cohort, rows)
    categories, meaningless = categorical(cohort, names)
    subjects = cohort.index["subject_id"].to_numpy()[rows]
    losses = _log_losses(columns, target, subjects, categories, meaningless, seed)
    best = int(losses.argmin())
    design = fit_design(columns, categories, meaningless)
    coefficients, intercept = fit_penalised(design.apply(columns), target, STRENGTHS[best])
    return LogisticRegression(features, design, coefficients, intercept, STRENGTHS[best], float(losses[best]))


def categorical(cohort: Cohort, names: Sequence[str]) -> tuple[dict[int, int], list[int]]:
    """(position of a column of level numbers -> how many levels there are, positions that mean nothing).

    Of a categorical channel the last level, the count and the hours since are told; the mean of level numbers is not.
    """
    place = {name: at for at, name in enumerate(names)}
    columns: dict[int, int] = {}
    meaningless: list[int] = []
    for stream, statistics in cohort.statistics.streams.items():
        for feature, texts in statistics.levels.items():
            label = f"{stream}: {feature}"
            at = place.get(label, place.get(f"{label}, last"))
            if at is not None:
                columns[at] = len(texts)
            numbers = [part for part in SERIES_PARTS if part not in TELLING]
            meaningless += [place[f"{label}, {part}"] for part in numbers if f"{label}, {part}" in place]
    return columns, meaningless


def fit_design(columns: np.ndarray, categories: Mapping[int, int], meaningless: Sequence[int] = ()) -> Design:
    """The design for these training columns (n, P). categories: position -> number of levels."""
    seen = ~np.isnan(columns)
    apart = {*categories, *meaningless}
    numeric = np.array([at for at in range(columns.shape[1]) if at not in apart and seen[:, at].any()], int)
    values = np.asarray(columns[:, numeric], float)
    lower, centre, upper = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0).reshape(3, -1)  # of no column, too
    scale = (upper - lower) / IQR_OF_NORMAL
    scale = np.where(scale > 0, scale, np.nanstd(values, 0))
    varies = scale > 0
    levels = tuple(
        (at, level) for at, number in categories.items() for level in range(number) if (columns[:, at] == level).any()
    )
    some = np.flatnonzero(seen.any(0) & ~seen.all(0))
    _, first = np.unique(seen[:, some], axis=1, return_index=True)
    return Design(numeric[varies], centre[varies], scale[varies], levels, some[np.sort(first)])


def fit_penalised(design: np.ndarray, target: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """(coefficients (K,), intercept) with the L2 penalty 1 / strength on the coefficients; none on the intercept."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression as Penalised

    with warnings.catch_warnings():
        # A weak penalty on separable cases has no end: its log loss on left-out cases then speaks against it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = Penalised(C=strength, max_iter=MOST_ITERATIONS, tol=TOLERANCE).fit(design, target)
    return np.asarray(fitted.coef_[0]), float(fitted.intercept_[0])


def _log_losses(
    columns: np.ndarray,
    target: np.ndarray,
    subjects: np.ndarray,
    categories: Mapping[int, int],
    meaningless: Sequence[int],
    seed: int,
) -> np.ndarray:
    """(strengths,) the log loss per left-out case, over folds that keep subjects whole."""
    fewest = min(len(np.unique(subjects[target == label])) for label in (0, 1))
    parts = max(2, min(FOLDS, fewest))
    fold = deal(subjects, target, parts, np.random.default_rng(seed))
    total, cases = np.zeros(len(STRENGTHS)), 0
    for number in range(parts):
        fit, held = fold != number, fold == number
        if len(np.unique(target[fit])) < 2:
            continue
        design = fit_design(columns[fit], categories, meaningless)
        given, asked = design.apply(columns[fit]), design.apply(columns[held])
        for at, strength in enumerate(STRENGTHS):
            risk = np.clip(_risk(asked, *fit_penalised(given, target[fit], strength)), 1e-9, 1 - 1e-9)
            total[at] -= np.where(target[held] == 1, np.log(risk), np.log1p(-risk)).sum()
        cases += int(held.sum())
    return total / max(cases, 1)


def _risk(design: np.ndarray, coefficients: np.ndarray, intercept: float) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * (design @ coefficients + intercept))))
