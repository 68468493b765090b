"""A recording as an array: a waveform of the leads that a task wants, or the log-mel frames of a sound."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ingest.align.filtering import band_pass, bridged, mask_at_rate, resample
from ingest.align.spectrum import WINDOW_S, count_frames, log_mel, mel_filters
from ingest.errors import TaskError
from ingest.signals.files import read_recording
from ingest.signals.quality import Quality, gaps, judge_recording
from ingest.signals.signal import Lead, factor_between
from ingest.statistics import StreamStatistics
from ingest.task import AudioStream

MARGIN_S = 0.1  # read beyond what is kept, where the recording goes on, so that the filters' end lies outside
MARGIN_PERIODS, MOST_MARGIN_S = 4.0, 60.0  # of the lower end of a band: for so long its filter rings


@dataclass(frozen=True)
class Made:
    """values (T', F), observed (T',) or (T', F), T' at most T; none where the recording is unusable.

    problem: why it is unusable, or usable in part only ("partly: ..."); empty where there is nothing to say.
    """

    values: np.ndarray
    observed: np.ndarray
    problem: str

    @property
    def usable(self) -> bool:
        """Whether anything of it is observed."""
        return bool(self.observed.any())


class Form(Protocol):
    """What a recording becomes."""

    @property
    def statistics(self) -> StreamStatistics:
        """What is known before anything is fitted."""
        ...

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """(T,) or (T, F)."""
        ...

    def make(self, path: Path, most_s: float) -> Made:
        """The first seconds of a recording, `most_s` at most. Raises InputError where it cannot be read."""
        ...


class Waveform:
    """values (T, leads) in `unit`: T = seconds * sample_rate_hz. Leads that are missing or unusable are unobserved."""

    def __init__(self, spec: AudioStream, stream: str) -> None:
        self.spec, self.count = spec, round(spec.seconds * spec.sample_rate_hz)
        if self.count < 1:
            raise TaskError(f"stream {stream}: expected at least one sample, got {spec.seconds} s")
        assert spec.unit is not None
        units = (spec.unit,) * len(spec.leads)
        self.statistics = StreamStatistics("audio", self.count, (len(spec.leads),), names=spec.leads, units=units)
        self.observed_shape = (self.count, len(spec.leads))

    def make(self, path: Path, most_s: float) -> Made:
        spec = self.spec
        recording = read_recording(path, min(spec.seconds + _margin_s(spec), most_s), spec.leads)
        good, faults = [], {}
        for name in spec.leads:
            lead = _in_unit(recording.lead(name), spec.unit or "")
            if isinstance(lead, Lead):
                good.append(replace(lead, name=name))
            else:
                faults[name] = lead
        quality = _judged(good, spec, faults)
        values, observed = np.zeros(self.observed_shape, np.float32), np.zeros(self.observed_shape, bool)
        for alike in _alike([lead for lead in good if lead.name in quality.used]):
            places = [spec.leads.index(lead.name) for lead in alike]
            samples, missing = _filtered(alike, spec)
            count = min(len(samples), self.count)
            observed[:count, places] = ~missing[:count]
            values[:count, places] = np.where(missing, 0, samples)[:count]
        return Made(values, observed, quality.problem)


class LogMel:
    """values (T, mels) in dB, of the mean of a sound's usable channels."""

    def __init__(self, spec: AudioStream, stream: str) -> None:
        self.spec = spec
        self.samples = round(spec.seconds * spec.sample_rate_hz)
        self.frames = count_frames(self.samples, spec.sample_rate_hz)
        self.bank = mel_filters(spec.mels, spec.sample_rate_hz)
        if self.frames < 1 or not self.bank.any(1).all():
            raise TaskError(
                f"stream {stream}: expected at least one frame and fewer mels, "
                f"got {spec.seconds} s and {spec.mels} mels at {spec.sample_rate_hz} Hz"
            )
        self.statistics = StreamStatistics("audio", self.frames, (spec.mels,))
        self.observed_shape = (self.frames,)

    def make(self, path: Path, most_s: float) -> Made:
        leads = read_recording(path, min(self.spec.seconds + _margin_s(self.spec), most_s)).leads
        nothing = Made(np.zeros((0, self.spec.mels), np.float32), np.zeros(0, bool), "")
        if len({(lead.rate_hz, lead.unit) for lead in leads}) != 1:
            return replace(nothing, problem="channels of several rates or units, which have no mean")
        quality = _judged(leads, self.spec, {})
        if not quality.used:
            return replace(nothing, problem=quality.problem)
        used = [lead for lead in leads if lead.name in quality.used]
        whole = np.stack([bridged(lead.samples, np.isnan(lead.samples)) for lead in used], 1)
        mean = whole.mean(1, dtype=np.float32)
        sound = _at_rate(mean, used[0].rate_hz, self.spec, "constant")[: self.samples]
        frames = log_mel(sound, self.bank, self.spec.sample_rate_hz)
        if not len(frames):
            return replace(nothing, problem=f"shorter than {WINDOW_S} s")
        return Made(frames, np.ones(len(frames), bool), quality.problem)


def _margin_s(spec: AudioStream) -> float:
    if spec.band_hz is None:
        return MARGIN_S
    return float(np.clip(MARGIN_PERIODS / spec.band_hz[0], MARGIN_S, MOST_MARGIN_S))


def _judged(leads: "list[Lead] | tuple[Lead, ...]", spec: AudioStream, faults: dict[str, str]) -> Quality:
    """The verdict on what is kept of these leads, with the faults that others have already."""
    leads = [lead.cut(spec.seconds) for lead in leads]
    highest_hz = None if spec.band_hz is None else spec.band_hz[1]
    quality = judge_recording(leads, plausible=spec.plausible, rates_hz=spec.rates_hz, highest_hz=highest_hz)
    return replace(quality, faults={**faults, **quality.faults})


def _in_unit(lead: Lead | None, unit: str) -> Lead | str:
    """The lead in this unit; or why not."""
    if lead is None:
        return "not in the recording"
    if not lead.unit:
        return "not calibrated: no unit is stated"
    factor = factor_between(lead.unit, unit)
    if factor is None:
        return f"not in a unit that {unit} can be made of"
    return lead if factor == 1.0 else lead.times(factor, unit)


def _alike(leads: list[Lead]) -> list[list[Lead]]:
    """The leads in groups of one rate and length, which are filtered together."""
    groups: dict[tuple[float, int], list[Lead]] = {}
    for lead in leads:
        groups.setdefault((lead.rate_hz, len(lead.samples)), []).append(lead)
    return list(groups.values())


def _filtered(alike: list[Lead], spec: AudioStream) -> tuple[np.ndarray, np.ndarray]:
    """(samples (T', leads), which of them are missing) at the task's rate."""
    rate_hz, lost = alike[0].rate_hz, [gaps(lead) for lead in alike]
    whole = [bridged(lead.samples, missing) for lead, missing in zip(alike, lost, strict=True)]
    samples = _at_rate(np.stack(whole, 1), rate_hz, spec, "line")
    masks = [mask_at_rate(missing, rate_hz, spec.sample_rate_hz, len(samples)) for missing in lost]
    return samples, np.stack(masks, 1)


def _at_rate(samples: np.ndarray, rate_hz: float, spec: AudioStream, pad: str) -> np.ndarray:
    filtered = samples if spec.band_hz is None else band_pass(samples, rate_hz, spec.band_hz)
    return resample(filtered, rate_hz, spec.sample_rate_hz, pad=pad)


FORMS: dict[str, type[Waveform] | type[LogMel]] = {"waveform": Waveform, "log-mel": LogMel}
