"""Sound as log-mel frames."""

import numpy as np

WINDOW_S = 0.064
HOP_S = 0.032
FLOOR = 1e-10  # power; 100 dB below a full-scale square wave


def log_mel(samples: np.ndarray, bank: np.ndarray, rate_hz: int) -> np.ndarray:
    """Samples as (frames, mels) in dB: the power of Hann-windowed frames through the filter bank."""
    window, hop, size = _sizes(rate_hz)
    if len(samples) < window:
        return np.zeros((0, len(bank)), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    shape = np.hanning(window + 1)[:window]
    power = np.abs(np.fft.rfft(frames * shape, size)) ** 2 / np.square(shape.sum())
    return np.asarray(10 * np.log10(power @ bank.T + FLOOR), np.float32)


def mel_filters(mels: int, rate_hz: int) -> np.ndarray:
    """(mels, bins): triangles with centres evenly spaced in mel from 0 to half the sample rate.

    mel = 2595 log10(1 + f / 700): Young et al., The HTK Book (version 3.4), section 5.4.
    """
    size = _sizes(rate_hz)[2]
    top = 2595 * np.log10(1 + rate_hz / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / rate_hz)[None]
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))


def count_frames(samples: int, rate_hz: int) -> int:
    """How many whole frames fit into so many samples."""
    window, hop, _ = _sizes(rate_hz)
    return 1 + (samples - window) // hop if samples >= window else 0


def _sizes(rate_hz: int) -> tuple[int, int, int]:
    """(window, hop, transform) in samples; the transform is twice the next power of two, for narrow low bands."""
    window = round(WINDOW_S * rate_hz)
    return window, round(HOP_S * rate_hz), 2 << (window - 1).bit_length()
