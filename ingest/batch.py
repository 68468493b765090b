"""A batch of cases as tensors: what a network sees, with a mask for everything that is absent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ingest.errors import FutureValueError


@dataclass(frozen=True)
class Stream:
    """One modality of B cases, in physical units; encoders normalise.

    values (B, T, *feature), observed (B, T[, *feature]) bool, hours (B, T) relative to the index time (0 or less).
    Where `observed` is False, `values` is 0 and means nothing. T counts the stream's elements in time: features of a
    table (each with its own age), distinct times of a series, images, tokens, or frames of sound.
    """

    values: torch.Tensor
    observed: torch.Tensor
    hours: torch.Tensor

    def __post_init__(self) -> None:
        if self.observed.dtype != torch.bool:
            raise TypeError(f"observed must be bool, got {self.observed.dtype}")
        if self.values.shape[: self.observed.ndim] != self.observed.shape or self.hours.shape != self.values.shape[:2]:
            raise ValueError(
                f"shapes do not agree: values {tuple(self.values.shape)}, observed {tuple(self.observed.shape)}, "
                f"hours {tuple(self.hours.shape)}"
            )
        late = self.observed_times & (self.hours > 0)
        if bool(late.any()):
            row = int(late.nonzero()[0, 0])
            raise FutureValueError(
                f"case {row} of the batch holds a value from {float(self.hours[late].max()):.2f} h after its index time"
            )

    @property
    def observed_times(self) -> torch.Tensor:
        """(B, T) bool: whether anything is observed at that element."""
        return self.observed.flatten(2).any(2) if self.observed.ndim > 2 else self.observed

    @property
    def present(self) -> torch.Tensor:
        """(B,) bool: whether the case has this stream at all."""
        return self.observed.flatten(1).any(1)

    def masked(self, keep: torch.Tensor) -> "Stream":
        """The same stream with `observed & keep`.

        keep has dimensions B, T, *feature in this order, as many of them as it likes, each 1 or full: (B, 1), (B, T),
        (B, T, F), or (B, T, 1, H, W) to hide parts of images.
        """
        shared = max(self.observed.ndim, keep.ndim)
        observed = _trailing(self.observed, shared) & _trailing(keep, shared)
        observed = observed.expand(self.values.shape[:shared])
        return replace(self, values=self.values * _trailing(observed, self.values.ndim), observed=observed)

    def rows(self, index: torch.Tensor) -> "Stream":
        """The cases at `index` (long or bool)."""
        return Stream(self.values[index], self.observed[index], self.hours[index])

    def to(self, device: torch.device | str) -> "Stream":
        """The same stream on another device."""
        return Stream(self.values.to(device), self.observed.to(device), self.hours.to(device))


@dataclass(frozen=True)
class Batch:
    """B cases: who, when, every stream of the task, and the outcome where known.

    case_ids (B,) str; subject_ids (B,) int64; index_times (B,) datetime64[us], NaT for tasks without times;
    target (B,) float32, whether the risk event happened, NaN where unknown; outcome (B, K) float32, the numbers that
    state all that is to be learnt (`ingest.target`), NaN where unknown.
    """

    case_ids: np.ndarray
    subject_ids: np.ndarray
    index_times: np.ndarray
    streams: Mapping[str, Stream]
    target: torch.Tensor
    outcome: torch.Tensor

    def __post_init__(self) -> None:
        for name, stream in self.streams.items():
            if len(stream.values) != len(self):
                raise ValueError(f"stream {name} has {len(stream.values)} cases, the batch {len(self)}")

    def __len__(self) -> int:
        return len(self.subject_ids)

    def present(self) -> torch.Tensor:
        """(B, M) bool: which streams each case has, in the order of `streams`."""
        return torch.stack([stream.present for stream in self.streams.values()], 1)

    def with_streams(self, streams: Mapping[str, Stream]) -> "Batch":
        """The same cases with other streams."""
        return replace(self, streams=dict(streams))

    def without(self, *names: str) -> "Batch":
        """The same cases with these streams absent."""
        nothing = torch.zeros(1, 1, dtype=torch.bool, device=self.target.device)
        return self.with_streams({n: s.masked(nothing) if n in names else s for n, s in self.streams.items()})

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return replace(
            self,
            streams={n: s.to(device) for n, s in self.streams.items()},
            target=self.target.to(device),
            outcome=self.outcome.to(device),
        )


def _trailing(mask: torch.Tensor, ndim: int) -> torch.Tensor:
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))
