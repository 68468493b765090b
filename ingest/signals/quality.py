"""Whether a recording can be used: what is flat, full of gaps, cut off, or of an amplitude that cannot be.

The kinds of fault are those that rules for electrocardiograms look for (Di Marco et al. 2012, Physiol. Meas. 33:1435,
on the PhysioNet/CinC Challenge 2011); the thresholds are ours, lenient, and about the recorder, not the patient:
whatever is refused here, no physician could read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.signals.signal import SOUND, Lead, with_prefix

HELD_S = 1.0  # a value that stays exactly the same for so long is no signal: a lead that is off, a lost connection
FLAT_SHARE, FLAT_SOUND = 0.8, 0.99  # of the samples that are held or missing: nothing else is left
GAP_SHARE, GAP_SOUND = 0.2, 0.8  # silence may be part of a sound: recorders mute what they take for noise
CLIPPED_SHARE = 0.01
TREND_HZ = 20.0  # below it a lead is a trend in few steps (a saturation each second): only one that never moves is flat
LEVELS = 32  # of a lead that is judged by its own ends: one of fewer values stays at them for long
CLIPPED_RUN = 3  # samples at one end in a row; fewer may be a peak that just fits
_LOOKED_AT = 4096  # samples in which LEVELS different ones must be
_RAIL_SHARE = 1e-4  # of the recorder's range: how near to its end a sample counts as being there


@dataclass(frozen=True)
class Quality:
    """The verdict on the leads of one recording.

    faults: the leads that cannot be used, and why. whole: why none of it can be used, where that is not a lead's
    fault. used: the leads that can, in order.
    """

    used: tuple[str, ...]
    faults: Mapping[str, str] = field(default_factory=dict)
    whole: str = ""

    @property
    def problem(self) -> str:
        """Why it cannot be used, or only in part ("partly: ..."); empty where there is nothing to say."""
        if self.whole:
            return self.whole
        said = _grouped(self.faults)
        if not self.used:
            alike = len(set(self.faults.values())) == 1
            return f"{next(iter(self.faults.values()))} in all leads" if alike and len(self.faults) > 1 else said
        return f"partly: {said}" if said else ""


def judge_recording(
    leads: Sequence[Lead],
    *,
    plausible: tuple[float, float] | None = None,
    rates_hz: tuple[float, float] | None = None,
    highest_hz: float | None = None,
) -> Quality:
    """Judge leads that were brought to one unit.

    plausible: the least and the most that the median of the leads' ranges (max - min) may be. rates_hz: the least and
    the greatest sample rate. highest_hz: the frequency up to which they are wanted, which their rate must hold.
    """
    faults = {lead.name: fault for lead in leads if (fault := lead_fault(lead, rates_hz, highest_hz))}
    good = [lead for lead in leads if lead.name not in faults]
    whole = _implausible(good, plausible) if plausible is not None and good else ""
    return Quality(() if whole else tuple(lead.name for lead in good), faults, whole)


def lead_fault(lead: Lead, rates_hz: tuple[float, float] | None = None, highest_hz: float | None = None) -> str | None:
    """What makes a lead unusable, or None."""
    if rates_hz is not None and not rates_hz[0] <= lead.rate_hz <= rates_hz[1]:
        return f"sample rate {lead.rate_hz:g} Hz, expected {rates_hz[0]:g} to {rates_hz[1]:g} Hz"
    if highest_hz is not None and lead.rate_hz < 2 * highest_hz:
        return f"sample rate {lead.rate_hz:g} Hz, which holds nothing up to {highest_hz:g} Hz"
    if np.isnan(lead.samples).all():
        return "no samples"
    flat, most = (FLAT_SOUND, GAP_SOUND) if lead.unit == SOUND else (FLAT_SHARE, GAP_SHARE)
    held, lost = held_values(lead).mean(), gaps(lead).mean()
    if held >= flat:
        return "flat line"
    if lost > most:
        return f"gaps in {lost:.0%} of it"
    cut = clipped(lead).mean()
    return f"clipped in {cut:.0%} of it" if cut > CLIPPED_SHARE else None


def gaps(lead: Lead) -> NDArray[np.bool_]:
    """(T,): samples that are missing or held."""
    return np.isnan(lead.samples) | held_values(lead)


def held_values(lead: Lead) -> NDArray[np.bool_]:
    """(T,): samples in a run of one value that lasts HELD_S; in a trend, or a shorter recording, all of it."""
    samples = lead.samples
    longest = max(len(samples), 1)
    if longest == 1:  # one value that never moves
        return np.isfinite(samples)
    shortest = longest if lead.rate_hz < TREND_HZ else min(round(HELD_S * lead.rate_hz), longest)
    return _in_runs(samples[1:] == samples[:-1], shortest - 1)


def clipped(lead: Lead) -> NDArray[np.bool_]:
    """(T,): samples in a row at one end of the recorder's range; or, where both ends are cut alike, of their own."""
    samples, finite = lead.samples, np.isfinite(lead.samples)
    found = np.zeros(len(samples), bool)
    if lead.rate_hz < TREND_HZ or not finite.any():
        return found
    low, high = float(samples[finite].min()), float(samples[finite].max())
    if lead.rails is not None:
        bottom, top = lead.rails
        near = (top - bottom) * _RAIL_SHARE
        found |= _at(samples <= bottom + near) | _at(samples >= top - near)
    if len(np.unique(samples[finite][:_LOOKED_AT])) >= LEVELS:
        below, above = _at(samples == low), _at(samples == high)
        if below.any() and above.any():  # one alone may be the signal's: a pressure that rests at 0
            found |= below | above
    return found


def _at(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return there & _in_runs(there[1:] & there[:-1], CLIPPED_RUN - 1)


def _in_runs(same: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """(T,): is a sample in a run of `shortest` steps of `same` (T - 1,), which says where one goes on like the last?"""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]])))
    out = np.zeros(len(same) + 1, bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= shortest:
            out[start : end + 1] = True
    return out


def _implausible(leads: Sequence[Lead], plausible: tuple[float, float]) -> str:
    ranges = [float(np.nanmax(lead.samples) - np.nanmin(lead.samples)) for lead in leads]
    middle, (low, high) = float(np.median(ranges)), plausible
    if low <= middle <= high:
        return ""
    unit = leads[0].unit
    said = f"median range {middle:.3g} {unit}: expected {low:g} to {high:g} {unit}"
    for power in (-3, 3, -6, 6):  # the unit that the numbers would fit
        other = with_prefix(unit, power)
        if other is not None and other[0] not in "kMG" and low <= middle * 10.0**power <= high:
            return f"{said}; {other} may have been read as {unit}"
    return said


def _grouped(faults: Mapping[str, str]) -> str:
    by_fault: dict[str, list[str]] = {}
    for name, fault in faults.items():
        by_fault.setdefault(fault, []).append(name)
    return "; ".join(
        f"lead{'s' if len(names) > 1 else ''} {', '.join(names)}: {fault}" for fault, names in by_fault.items()
    )
