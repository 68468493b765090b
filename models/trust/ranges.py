"""Numbers beyond anything that was seen in training: what a table or a series cannot mean."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ingest.batch import Stream
from ingest.statistics import StreamStatistics

QUANTILES = (0.001, 0.999)  # a few errors in training do not widen the range
LEAST_VALUES = 20


@dataclass(frozen=True)
class Ranges:
    """Of F features or channels: the range of training, and how wide it is. NaN where there is none to speak of:
    categories, features that say yes or no, and those seldom seen."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def beyond(self, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """(B,) by how many widths of its range the farthest value lies outside, 0 inside, and (B,) of which feature."""
        low, high = (torch.tensor(side, dtype=torch.float64) for side in (self.low, self.high))
        values = stream.values.detach().cpu().double()
        outside = torch.maximum(low - values, values - high) / (high - low)
        outside = outside.nan_to_num(0.0).clamp(min=0) * stream.observed.cpu()
        by_feature = outside if outside.ndim == 2 else outside.amax(1)
        farthest = by_feature.max(1)
        return np.asarray(farthest.values.numpy()), np.asarray(farthest.indices.numpy())

    def worst(self, stream: Stream, case: int, feature: int) -> float:
        """The value of a feature that lies farthest outside."""
        values = stream.values[case, ..., feature][stream.observed[case, ..., feature]].detach().cpu().numpy().ravel()
        middle = (self.low[feature] + self.high[feature]) / 2
        return float(values[np.argmax(np.abs(values - middle))])

    def to_json(self) -> dict[str, Any]:
        """Plain values, in which NaN is null."""
        return {name: [None if np.isnan(x) else x for x in side] for name, side in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Ranges":
        """The inverse of `to_json`."""
        return cls(*(tuple(float("nan") if x is None else x for x in raw[side]) for side in ("low", "high")))


def fit_ranges(values: Sequence[np.ndarray], statistics: StreamStatistics) -> Ranges:
    """From each feature's observed training values (n_f,)."""
    ends = [(float("nan"), float("nan"))] * len(values)
    for place, seen in enumerate(values):
        name = statistics.names[place] if statistics.names else ""
        distinct = np.unique(seen)
        if name in statistics.levels or len(seen) < LEAST_VALUES or len(distinct) < 3:
            continue
        low, high = (float(x) for x in np.quantile(seen, QUANTILES))
        if high - low > 0:
            ends[place] = (low, high)
    return Ranges(tuple(low for low, _ in ends), tuple(high for _, high in ends))
