"""Watching for losses and gradients that are no numbers any more, without waiting for the device at every step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ingest.errors import ModelError

EVERY = 10  # steps between two looks, on a device that computes by itself
NAMED = 3  # case ids in a message
LARGEST = 1e18


@dataclass(frozen=True)
class Seen:
    """One batch, on the device.

    at: its cases' places. norm: of the whole gradient; None where others are still to be added to it. norms: of each
    parameter. streams: stream -> tensors (B, ...) of it.
    """

    batch: int
    at: np.ndarray
    loss: torch.Tensor
    norm: torch.Tensor | None
    norms: Mapping[str, torch.Tensor]
    streams: Mapping[str, Sequence[torch.Tensor]]


class Watch:
    """Keeps what was seen until it looks, and stops the training where it was no number.

    case_ids: of the training split. where: the phase and epoch, for messages. kept: what is said of the checkpoint.
    """

    def __init__(self, case_ids: np.ndarray, device: torch.device, where: str, kept: str) -> None:
        self.case_ids, self.where, self.kept = case_ids, where, kept
        self.every = 1 if device.type == "cpu" else EVERY
        self.pending: list[Seen] = []
        self.losses: list[float] = []

    def see(self, seen: Seen) -> None:
        """Take note; look, where enough has come together."""
        self.pending.append(seen)
        if len(self.pending) >= self.every:
            self.look()

    def look(self) -> None:
        """Raise ModelError for the first batch that was not finite."""
        if not self.pending:
            return
        nothing = self.pending[0].loss.new_zeros(())
        numbers = torch.stack([torch.stack([s.loss, nothing if s.norm is None else s.norm]) for s in self.pending])
        for seen, (loss, norm) in zip(self.pending, numbers.tolist(), strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise ModelError(self._message(seen, loss))
            self.losses.append(loss)
        self.pending = []

    def _message(self, seen: Seen, loss: float) -> str:
        wrong = {name: np.any([_not_finite(part) for part in parts], 0) for name, parts in seen.streams.items()}
        guilty = {name: rows for name, rows in wrong.items() if rows.any()}
        said = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        said += f"; tokens or loss of {', '.join(guilty)} are not finite, or above {LARGEST:.0e}" if guilty else ""
        norms = {name: float(norm) for name, norm in seen.norms.items()}
        most = max(norms.values(), default=0.0)  # all finite, their sum may not be
        spoilt = sorted({owner(name) for name, norm in norms.items() if not math.isfinite(norm) or norm == most})
        said += f"; gradients of {', '.join(spoilt)} are not finite" if spoilt and not guilty else ""
        rows = np.flatnonzero(np.any(list(guilty.values()), 0)) if guilty else np.arange(len(seen.at))
        return (
            f"{self.where}, batch {seen.batch} ({cases_named(self.case_ids[seen.at[rows]])}): {said}. {self.kept} "
            "Look at the values of these cases, or take a smaller learning rate"
        )


def owner(parameter: str) -> str:
    """The stream that a parameter belongs to, or `the fusion`."""
    return parameter.split(".")[1] if parameter.startswith(("encoders.", "alone.")) else "the fusion"


def cases_named(case_ids: Sequence[str] | np.ndarray) -> str:
    """At most three of them, and how many more."""
    more = len(case_ids) - NAMED
    return ", ".join(str(name) for name in case_ids[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _not_finite(values: torch.Tensor) -> np.ndarray:
    """(B,) bool: whether anything of a case is no number, or so large that its square is none."""
    fine = values.float().abs().reshape(len(values), -1) < LARGEST
    return np.asarray(~fine.all(1).cpu().numpy())
