"""The samples of a sound file as floats."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import InputError

MAX_SAMPLES = 1 << 28  # all channels together: 90 minutes of stereo at 24 kHz


def read_sound(path: Path) -> tuple[NDArray[np.float32], int]:
    """(samples (T,) in [-1, 1], rate in hertz) of a WAV or FLAC file; several channels become their mean.

    Raises InputError, one line, whatever is wrong.
    """
    check_sound(path)
    import soundfile

    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, TypeError):
        raise _not_a_sound(path, "data that do not decode") from None
    mono = samples.mean(axis=1, dtype=np.float32)
    return np.clip(np.nan_to_num(mono), -1.0, 1.0).astype(np.float32), int(rate_hz)


def check_sound(path: Path) -> None:
    """Refuse what is not a WAV or FLAC file of a bearable length, by its header. Raises InputError."""
    import soundfile

    if not path.is_file():
        raise _not_a_sound(path, "nothing of that name")
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, TypeError):
        raise _not_a_sound(path, "a header that cannot be read") from None
    if info.format not in {"WAV", "WAVEX", "FLAC", "RF64"}:
        raise _not_a_sound(path, f"format {info.format}")
    if not 0 < info.frames * info.channels <= MAX_SAMPLES:
        raise _not_a_sound(path, f"{info.frames} frames of {info.channels} channels")


def _not_a_sound(path: Path, got: str) -> InputError:
    return InputError(str(path), expected=f"a WAV or FLAC file of 1 to {MAX_SAMPLES:,} samples", got=got)
