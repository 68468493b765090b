"""Classical reducers of flat columns, the baselines of pretraining: principal and independent components."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from models.flat.features import FlatFeatures, fit_flat
from models.flat.linear import Design, categorical, fit_design

COMPONENTS = 32
MOST_ITERATIONS = 1000
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Reducer:
    """Flat columns, made a finite design, projected: (design - centre) @ axes. Fitted on cases without outcomes."""

    features: FlatFeatures
    design: Design
    centre: np.ndarray
    axes: np.ndarray

    def reduce(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """(n, components) of these cases."""
        columns, _ = self.features.columns(cohort, rows)
        return np.asarray((self.design.apply(columns) - self.centre) @ self.axes)


def fit_reducer(
    kind: str,
    cohort: Cohort,
    rows: np.ndarray,
    *,
    components: int = COMPONENTS,
    seed: int = 0,
    streams: Sequence[str] | None = None,
) -> Reducer:
    """Fit on these cases, of which no outcome is read.

    kind: pca, the axes of the largest variance, whitened; ica, FastICA (Hyvärinen & Oja 2000) on as many of those.
    Fewer components where the columns have not that many.
    """
    if kind not in KINDS:
        raise TelltaleError(f"reducer: expected one of {', '.join(KINDS)}, got {kind!r}")
    features = fit_flat(cohort, rows, seed, streams)
    columns, names = features.columns(cohort, rows)
    design = fit_design(columns, *categorical(cohort, names))
    given = design.apply(columns)
    most = min(components, int(np.linalg.matrix_rank(given - given.mean(0))))
    if most < 1:
        raise TelltaleError(f"reducer {kind}: expected columns that vary over {len(rows)} cases, found none")
    return Reducer(features, design, *KINDS[kind](given, most, seed))


def _pca(given: np.ndarray, components: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import PCA

    fitted = PCA(components, whiten=True, random_state=seed).fit(given)
    return fitted.mean_, (fitted.components_ / np.sqrt(fitted.explained_variance_)[:, None]).T


def _ica(given: np.ndarray, components: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    fast = FastICA(components, whiten="unit-variance", random_state=seed, max_iter=MOST_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of Gaussian columns any rotation is as independent
        fast.fit(given)
    return fast.mean_, fast.components_.T


KINDS = {"ica": _ica, "pca": _pca}
