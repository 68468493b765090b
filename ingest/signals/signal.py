"""A recording as a value: leads of samples in physical units, and the names and units that they go by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SOUND = "1"  # the unit of a sound: a share of full scale
# The prefixes of UCUM (section 4.2, table 1) that signals are given in, as powers of ten.
_PREFIXES = {"G": 9, "M": 6, "k": 3, "": 0, "m": -3, "u": -6, "n": -9, "p": -12}
_BASES = ("V", "A", "Pa", "T", "Ohm", "S", "Hz", "m", "L/s", "g", "m[Hg]", "m[H2O]")
# What files write that UCUM does not: (their word, UCUM's).
_WORDS = {
    "mmHg": "mm[Hg]", "cmH2O": "cm[H2O]", "bpm": "/min", "degC": "Cel", "deg C": "Cel", "volts": "V", "mv": "mV",
    "uv": "uV", "MV": "mV", "UV": "uV",  # the last two: UCUM's own spelling where case is not kept
}  # fmt: skip
_SPOKEN = re.compile(r"^(?:(?:lead|ecg|ekg|eeg|eog|emg|erg|meg|mcg|ep)[\s:_-]+)+", re.IGNORECASE)
_EXPLAINED = re.compile(r"(?<=\S)\s*\([^()]*\)$")


@dataclass(frozen=True)
class Lead:
    """One channel: samples (T,) float32 in `unit` at `rate_hz`, NaN where there is none.

    unit: UCUM; "" where the file states none, SOUND of a sound. rails: the two ends of the recorder's range in the same
    unit, where the file states them: a sample that lies there may have been cut off.
    """

    name: str
    samples: NDArray[np.float32]
    rate_hz: float
    unit: str
    rails: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        """How long the samples last."""
        return len(self.samples) / self.rate_hz

    def cut(self, seconds: float) -> "Lead":
        """The first `seconds` of it."""
        return replace(self, samples=self.samples[: max(int(np.floor(seconds * self.rate_hz + 1e-6)), 0)])

    def delayed(self, seconds: float) -> "Lead":
        """The same signal that much later in its recording; what is before it is missing."""
        count = round(seconds * self.rate_hz)
        missing = np.full(count, np.nan, np.float32)
        return replace(self, samples=np.concatenate([missing, self.samples])) if count else self

    def times(self, factor: float, unit: str) -> "Lead":
        """The same signal in another unit, of which `factor` make one of the present."""
        rails = None if self.rails is None else (self.rails[0] * factor, self.rails[1] * factor)
        return replace(self, samples=(self.samples * np.float32(factor)), unit=unit, rails=rails)


@dataclass(frozen=True)
class Recording:
    """What was recorded at one moment: leads, each with its own rate and unit."""

    leads: tuple[Lead, ...]

    def lead(self, name: str) -> Lead | None:
        """The first lead that goes by this name, however it is spelt."""
        return next((lead for lead in self.leads if key_of(lead.name) == key_of(name)), None)


@dataclass(frozen=True)
class RecordingFacts:
    """What a recording's header says: the leads' names, the highest rate, and how long it is."""

    leads: tuple[str, ...]
    rate_hz: float
    seconds: float


def lead_name(written: str) -> str:
    """A lead's name without what is said around it: "Lead I (Einthoven)" and "ECG I" are I; "EEG Fpz-Cz" is Fpz-Cz.

    The words before a name are those of the EDF+ standard texts (edfplus.info/specs/edftexts.html) and of DICOM's.
    """
    plain = " ".join(written.split())
    return _EXPLAINED.sub("", _SPOKEN.sub("", plain)) or plain


@lru_cache(4096)
def key_of(name: str) -> str:
    """What two spellings of one lead have in common."""
    return re.sub(r"[\s_]", "", lead_name(name)).casefold()


def first_of_each(names: Iterable[str]) -> list[int]:
    """The positions of the names that no earlier one equals."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(key_of(name), place)
    return sorted(places.values())


def ucum(written: str) -> str:
    """A unit as files write it, in UCUM: "µV" is uV, "mmHg" is mm[Hg]; unknown words stay as they are."""
    plain = written.strip().replace("\u00b5", "u").replace("\u03bc", "u")
    return _WORDS.get(plain, plain)


def factor_between(unit: str, wanted: str) -> float | None:
    """How many of `wanted` make one `unit`, where they differ by a prefix alone; else None."""
    if unit == wanted:
        return 1.0
    return next(
        (
            10.0 ** (power - other)
            for base in _BASES
            for prefix, power in _PREFIXES.items()
            for target, other in _PREFIXES.items()
            if unit == prefix + base and wanted == target + base
        ),
        None,
    )


def with_prefix(unit: str, power: int) -> str | None:
    """The unit that is 10**power times this one: ("mV", -3) is uV. None where it has no such name."""
    for base in _BASES:
        for prefix, own in _PREFIXES.items():
            if unit == prefix + base:
                return next((p + base for p, value in _PREFIXES.items() if value == own + power), None)
    return None
