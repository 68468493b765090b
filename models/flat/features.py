"""The columns of a cohort's cases, with the reductions of text and of features fitted on some of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ingest.batch import Stream
from ingest.cohort import Cohort
from ingest.statistics import Statistics
from ingest.task import Task
from models.flat.columns import FEATURE_COMPONENTS, TEXT_COMPONENTS, StreamColumns

CASES_AT_ONCE = 256


class FlatFeatures(nn.Module):
    """What turns streams into columns. Build it with `fit_flat`.

    featured: the streams whose values are a frozen network's features, and how many at the end need no reduction.
    """

    def __init__(self, statistics: Statistics, task: Task, featured: Mapping[str, int]) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(
            {
                name: StreamColumns(each, plain=featured.get(name), window_hours=task.streams[name].window_hours)
                for name, each in statistics.streams.items()
            }
        )

    @property
    def names(self) -> list[str]:
        """The P names, stream by stream."""
        return [f"{name}: {label}" for name in self.streams for label in self.of(name).names]

    def of(self, stream: str) -> StreamColumns:
        """The columns of one stream."""
        found = self.streams[stream]
        assert isinstance(found, StreamColumns)
        return found

    @torch.inference_mode()
    def columns(self, cohort: Cohort, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """X (n, P) float32 with NaN where missing, and the P names."""
        blocks = [
            torch.cat([self.of(name)(stream) for name, stream in batch.streams.items()], 1).float().numpy()
            for batch in cohort.batches(rows, CASES_AT_ONCE, list(self.streams))
        ]
        return np.concatenate([np.zeros((0, len(self.names)), np.float32), *blocks]), self.names


def fit_flat(
    cohort: Cohort,
    rows: np.ndarray,
    seed: int,
    streams: Sequence[str] | None = None,
    featured: Mapping[str, int] | None = None,
) -> FlatFeatures:
    """Fit the reductions on these cases. Streams of which the cohort keeps features are summed up by those."""
    if featured is None:
        featured = dict.fromkeys(cohort.features, 0)
    names = cohort.stream_names if streams is None else list(streams)
    statistics = cohort.statistics
    chosen = Statistics({name: statistics.streams[name] for name in names}, statistics.cases, statistics.prevalence)
    flat = FlatFeatures(chosen, cohort.task, {name: plain for name, plain in featured.items() if name in names})
    for name in names:
        if flat.of(name).kind == "text":
            _fit_text(flat.of(name), _streams(cohort, rows, name), seed)
        elif flat.of(name).kind == "features":
            _fit_features(flat.of(name), _streams(cohort, rows, name), seed)
    return flat


def flat_features(cohort: Cohort, rows: np.ndarray, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """The columns of these cases, with the reductions fitted on them too."""
    return fit_flat(cohort, rows, seed).columns(cohort, rows)


def _streams(cohort: Cohort, rows: np.ndarray, name: str) -> list[Stream]:
    """The stream of the cases that have it, some cases at a time."""
    has = rows[cohort.index[f"{name}_row"].to_numpy()[rows] >= 0]
    return [batch.streams[name] for batch in cohort.batches(has, CASES_AT_ONCE, [name])]


def _fit_text(columns: StreamColumns, streams: Sequence[Stream], seed: int) -> None:
    """A truncated SVD of logarithmic counts, weighted by inverse document frequency, each note of length 1."""
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD

    from models.flat.columns import BAG_SIZE, token_bag

    bags = [sparse.csr_matrix(token_bag(stream.values, stream.observed).numpy()) for stream in streams]
    if not bags:
        return
    counts = sparse.vstack(bags, format="csr")
    frequency = np.asarray((counts > 0).sum(0), float).ravel()
    columns.weight = torch.from_numpy(np.log((1 + counts.shape[0]) / (1 + frequency)) + 1)
    columns.centre = torch.zeros(BAG_SIZE, dtype=torch.float64)
    columns.reduction = torch.zeros(BAG_SIZE, 0, dtype=torch.float64)
    components = min(TEXT_COMPONENTS, counts.shape[0] - 1, int((frequency > 0).sum()) - 1)
    if components < 1:
        return
    weighted = [sparse.csr_matrix((columns.raw(stream) * columns.weight).float().numpy()) for stream in streams]
    fitted = TruncatedSVD(components, random_state=seed).fit(sparse.vstack(weighted, format="csr"))
    columns.reduction = torch.from_numpy(fitted.components_.T.astype(np.float64))


def _fit_features(columns: StreamColumns, streams: Sequence[Stream], seed: int) -> None:
    """Principal components of standardised features, whitened."""
    from sklearn.decomposition import PCA

    if not streams:
        return
    raw = torch.cat([columns.raw(stream) for stream in streams]).numpy()
    raw = raw[:, : raw.shape[1] - columns.plain]
    spread = raw.std(0)
    weight = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
    components = min(FEATURE_COMPONENTS, *raw.shape)
    fitted = PCA(components, whiten=True, random_state=seed, svd_solver="randomized").fit(raw * weight)
    scale = np.sqrt(np.maximum(fitted.explained_variance_, 1e-12))
    columns.weight, columns.centre = torch.from_numpy(weight), torch.from_numpy(fitted.mean_.astype(np.float64))
    columns.reduction = torch.from_numpy((fitted.components_.T / scale).astype(np.float64))
