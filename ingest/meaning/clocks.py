"""Clocks that disagree: values that were known before they were measured, and samples in which time runs backwards.

A monitor whose clock is ahead of the server's stamps its values in the future of their own release. What is a little
ahead is used, counts as known from when it was measured, and the offset is told; what is far ahead is refused.
"""

from dataclasses import dataclass, field

import numpy as np

from ingest.account.quarantine import Refusal

TOLERANCE_HOURS = 24.0  # a day off is a wrong date; less may be a date without a time of day
NOTICED_HOURS = 1 / 60
MAX_KEPT = 65_536  # leads for the median; of more the first tell enough
HOUR_US = 3_600_000_000


@dataclass
class ClockWatch:
    """What one source says of its clocks. Give it both times as they were read, before either is corrected."""

    tolerance_hours: float = TOLERANCE_HOURS
    noticed: int = 0
    _leads: list[np.ndarray] = field(default_factory=list)
    _kept: int = 0

    def add(self, time: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(N,) which values are so far ahead that they have to be refused. time, known (N,): microseconds since 1970.

        Values without either time must not be among them. `refusal` says why.
        """
        lead = (time - known) / HOUR_US
        refused: np.ndarray = lead > self.tolerance_hours
        self._notice(lead[(lead > NOTICED_HOURS) & ~refused])
        return refused

    def add_one(self, time: int, known: int) -> None:
        """The same of one value. Raises Refusal."""
        lead = (time - known) / HOUR_US
        if lead > self.tolerance_hours:
            raise self.refusal(lead)
        if lead > NOTICED_HOURS:
            self._notice(np.array([lead]))

    def include(self, other: "ClockWatch") -> None:
        """What another watch of the same source has noticed."""
        for leads in other._leads:
            self._keep(leads)
        self.noticed += other.noticed

    def refusal(self, lead_hours: float) -> Refusal:
        """Why a value with this lead is refused."""
        return Refusal(
            "time",
            f"a value to be known after it was measured, or up to {_words(self.tolerance_hours)} before",
            f"one known {_words(lead_hours)} before",
            "set the clock that writes the times, or correct the zone",
        )

    def notes(self) -> dict[str, int]:
        """What to tell of the values that were used, for `Report.note`: line -> how many."""
        if not self.noticed:
            return {}
        median = float(np.median(np.concatenate(self._leads)))
        words = f"clocks disagree: measured {_words(median)} (median) after it was known; counts as known when measured"
        return {words: self.noticed}

    def _notice(self, leads: np.ndarray) -> None:
        self.noticed += len(leads)
        self._keep(leads)

    def _keep(self, leads: np.ndarray) -> None:
        if len(leads) and self._kept < MAX_KEPT:
            self._leads.append(leads[: MAX_KEPT - self._kept])
            self._kept += len(self._leads[-1])


def check_order(hours: np.ndarray, tolerance_hours: float = 0.0) -> str | None:
    """Why a stream whose samples are in the order of recording cannot be right: its time runs backwards.

    hours (T,), in that order. Steps back within the tolerance are forgiven. None where all is well.
    """
    if len(hours) < 2:
        return None
    back = np.maximum.accumulate(hours)[:-1] - hours[1:]
    wrong = int((back > tolerance_hours).sum())
    if not wrong:
        return None
    return f"time runs backwards at {wrong:,} of {len(hours):,} samples, by up to {_words(float(back.max()))}"


def _words(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.3g} days"
    if hours >= 1:
        return f"{hours:.3g} h"
    return f"{hours * 60:.3g} min" if hours * 60 >= 1 else f"{hours * 3600:.3g} s"
