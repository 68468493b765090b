"""Signals at another sample rate, band-passed, with their gaps known."""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ORDER = 4
LARGEST_FACTOR = 10_000  # a ratio of rates is met within 1 / LARGEST_FACTOR of a sample per sample


def resample(samples: np.ndarray, from_hz: float, to_hz: float, *, pad: str = "constant") -> np.ndarray:
    """Change the sample rate of samples (T,) or (T, leads), with a low-pass filter against aliasing.

    pad: as scipy's `padtype`.
    """
    up, down = ratio(from_hz, to_hz)
    if up == down or not len(samples):
        return samples.astype(np.float32)
    from scipy.signal import resample_poly

    window = _low_pass(max(up, down)).astype(np.float32)
    return np.asarray(resample_poly(samples.astype(np.float32), up, down, 0, window, pad), np.float32)


def ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """(up, down): whole factors that lead from one rate to the other, the nearest where the rates are no whole ones."""
    if float(from_hz).is_integer() and float(to_hz).is_integer():
        common = math.gcd(int(from_hz), int(to_hz))
        return int(to_hz) // common, int(from_hz) // common
    wanted = to_hz / from_hz
    near = Fraction(min(wanted, 1 / wanted)).limit_denominator(LARGEST_FACTOR)
    small, large = max(near.numerator, 1), near.denominator
    return (small, large) if wanted < 1 else (large, small)


def band_pass(samples: np.ndarray, rate_hz: float, band_hz: tuple[float, float]) -> np.ndarray:
    """A Butterworth filter of order 4 over samples (T,) or (T, leads), run forwards and backwards.

    Nothing is shifted in time; the gain at the ends of the band is therefore a half (-6 dB), not -3 dB.
    """
    from scipy.signal import sosfiltfilt

    sections = _butterworth(rate_hz, band_hz)
    padding = min(3 * (2 * len(sections) + 1), len(samples) - 1)
    return np.asarray(sosfiltfilt(sections, samples.astype(np.float64), 0, padlen=max(padding, 0)), np.float32)


def bridged(samples: np.ndarray, missing: NDArray[np.bool_]) -> np.ndarray:
    """The samples with straight lines across what is missing, so that filters can pass."""
    if not missing.any() or missing.all():
        return np.where(missing, 0, samples).astype(np.float32)
    places = np.arange(len(samples))
    return np.asarray(np.interp(places, places[~missing], samples[~missing]), np.float32)


def mask_at_rate(missing: NDArray[np.bool_], from_hz: float, to_hz: float, count: int) -> NDArray[np.bool_]:
    """(count,): whether the nearest sample of the old rate is missing, for each of the new rate."""
    nearest = np.round(np.arange(count) * (from_hz / to_hz)).astype(np.int64)
    return missing[np.clip(nearest, 0, len(missing) - 1)] if len(missing) else np.ones(count, bool)


# Designing a filter takes longer than running it over ten seconds.
@lru_cache(64)
def _butterworth(rate_hz: float, band_hz: tuple[float, float]) -> np.ndarray:
    from scipy.signal import butter

    return np.asarray(butter(ORDER, band_hz, "bandpass", fs=rate_hz, output="sos"))


@lru_cache(64)
def _low_pass(factor: int) -> np.ndarray:
    """The window that `scipy.signal.resample_poly` makes for these factors, of which `factor` is the larger."""
    from scipy.signal import firwin

    return np.asarray(firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0)))
