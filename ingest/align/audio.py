"""Audio streams: the latest recording of a case as log-mel frames."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.events import Cases, Seen, seen, sources_of
from ingest.align.image import check_unchanged, latest, with_asset
from ingest.errors import InputError, TaskError
from ingest.statistics import StreamStatistics
from ingest.task import AudioStream

WINDOW_S = 0.064
HOP_S = 0.032
FLOOR = 1e-10  # power; 100 dB below a full-scale square wave
CASES_AT_ONCE = 128


class AudioAligner:
    """values (n, T, mels) in dB, observed and hours (n, T): the first `seconds` of the latest recording, T frames.

    Frames beyond the end of a shorter recording are not observed. Every frame has the hours of its recording.
    """

    def __init__(self, spec: AudioStream, given: Given) -> None:
        self.spec, self.tally = spec, given.tally
        self.events, self.paths = with_asset(given.events.select(spec.codes), given.tally)
        self.sha256 = self.events.strings("asset_sha256")
        self.frames = count_frames(round(spec.seconds * spec.sample_rate_hz), spec.sample_rate_hz)
        self.bank = mel_filters(spec.mels, spec.sample_rate_hz)
        if self.frames < 1 or not self.bank.any(1).all():
            raise TaskError(
                f"stream {given.stream}: expected at least one frame and fewer mels, "
                f"got {spec.seconds} s and {spec.mels} mels at {spec.sample_rate_hz} Hz"
            )

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(kind="audio", elements=self.frames, feature_shape=(self.spec.mels,))

    def fit(self, training: Cases) -> None:
        """Nothing to learn."""

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """Blocks of a few cases each, their recordings read in parallel."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start, some in cases.chunks(CASES_AT_ONCE):
                pairs = latest(seen(self.events, some, self.spec.window_hours, self.tally), 1, self.tally)
                yield self._block(start, some, pairs, list(pool.map(self._load, pairs.event)))

    def empty(self) -> Block:
        return self._block(0, Cases.none(), Seen(np.zeros(0, np.int64), np.zeros(0, np.int64)), [])

    def _block(self, start: int, cases: Cases, pairs: Seen, sounds: list[np.ndarray | InputError]) -> Block:
        for sound in sounds:
            if isinstance(sound, InputError):
                self.tally.refuse("unreadable or changed", str(sound))
        good = [sound for sound in sounds if isinstance(sound, np.ndarray)]
        pairs = pairs.where(np.array([isinstance(sound, np.ndarray) for sound in sounds], bool))
        self.tally.add("used", len(good))
        values = np.zeros((len(good), self.frames, self.spec.mels), np.float32)
        observed = np.zeros((len(good), self.frames), bool)
        for row, sound in enumerate(good):
            values[row, : len(sound)] = sound
            observed[row, : len(sound)] = True
        hours = observed * cases.hours(pairs.case, self.events.time[pairs.event])[:, None]
        rows = np.arange(len(good))
        return Block(start + pairs.case, values, observed, hours, sources_of([(self.events, rows, pairs.event)]))

    def _load(self, event: int) -> np.ndarray | InputError:
        from ingest.sound_files import read_sound

        path = Path(self.paths[event])
        try:
            check_unchanged(path, self.sha256[event])
            samples, rate_hz = read_sound(path)
            mono = samples if samples.ndim == 1 else samples.mean(1)
            sound = resample(mono, round(rate_hz), self.spec.sample_rate_hz)
            sound = sound[: round(self.spec.seconds * self.spec.sample_rate_hz)]
            frames = log_mel(sound, self.bank, self.spec.sample_rate_hz)
        except InputError as error:
            return error
        if not len(frames):
            return InputError(str(path), expected=f"at least {WINDOW_S} s of sound", got=f"{len(sound)} samples")
        return frames


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Change the sample rate, with a low-pass filter against aliasing."""
    if from_hz == to_hz:
        return samples.astype(np.float32)
    from scipy.signal import resample_poly

    common = math.gcd(from_hz, to_hz)
    return np.asarray(resample_poly(samples.astype(np.float32), to_hz // common, from_hz // common), np.float32)


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
