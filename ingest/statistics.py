"""What is fitted on the training split and travels with every model: centre, scale and levels of each stream."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class StreamStatistics:
    """Fitted on observed values of the training split only.

    mean, std: one number per feature of a table, channel of a series, channel of an image, or mel band of a sound;
    empty for text. levels: feature name -> the texts of a categorical feature, whose value is the position here.
    feature_shape: the shape of one element (what follows T in `values`); elements: T.
    """

    kind: str
    elements: int
    feature_shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vocabulary_size: int = 0


@dataclass(frozen=True)
class Statistics:
    """The statistics of every stream of a task, with the number of training cases that they rest on."""

    streams: Mapping[str, StreamStatistics]
    cases: int
    prevalence: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, for statistics.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Statistics":
        """The inverse of `to_json`."""
        streams = {
            name: StreamStatistics(
                kind=s["kind"],
                elements=s["elements"],
                feature_shape=tuple(s["feature_shape"]),
                names=tuple(s["names"]),
                units=tuple(s["units"]),
                mean=tuple(s["mean"]),
                std=tuple(s["std"]),
                levels={k: tuple(v) for k, v in s["levels"].items()},
                vocabulary_size=s["vocabulary_size"],
            )
            for name, s in raw["streams"].items()
        }
        return cls(streams, raw["cases"], raw["prevalence"])
