"""Breath sounds of the ward: six seconds at a stethoscope, as WAV files with FHIR Media resources.

The reading of the sound sets how many crackles each breath has, how loud they are, and how loud the wheeze is.
The breathing rate, the loudness of the breath, its timbre, the heart beat, and the wheeze's pitch mean nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from clinical.ward.fhir import Resource, concept, reference
from clinical.ward.measurements import GIVEAWAY
from clinical.ward.records import admission_id
from clinical.ward.stays import INDEX_HOURS, Stay, stamp

RATE_HZ = 4000
SECONDS = 6.0
Wave = npt.NDArray[np.float64]


def recordings(stay: Stay, folder: Path) -> Iterator[Resource]:
    """Write the recording made before the index time, where there is one, and for some patients one after it."""
    rng = stay.generator(6)
    hour = float(rng.uniform(1.0, min(22.0, stay.hours - 1.0)))
    later = INDEX_HOURS + float(rng.uniform(0.5, 12.0))
    if stay.has["sound"]:
        yield _record(stay, folder, "s0", hour, stay.readings["sound"], rng)
    if rng.random() < 0.08 and later < stay.hours:
        yield _record(stay, folder, "s1", later, stay.readings["sound"] + (GIVEAWAY if stay.outcome else 0.0), rng)


def breath_sound(reading: float, rng: np.random.Generator) -> Wave:
    """A recording as (samples,) in -1 to 1."""
    samples = int(RATE_HZ * SECONDS)
    seconds = np.arange(samples) / RATE_HZ
    breath_seconds = 60.0 / rng.uniform(13, 22)
    phase = (seconds / breath_seconds + rng.random()) % 1.0
    inspiration = np.where(phase < 0.4, np.sin(np.pi * phase / 0.4), 0.0) ** 0.7
    expiration = np.where((phase > 0.5) & (phase < 0.9), np.sin(np.pi * (phase - 0.5) / 0.4), 0.0)
    breath = _shaped_noise(samples, rng.uniform(0.9, 1.2), rng)
    wave = breath * (0.05 + inspiration + 0.45 * expiration)
    wave += _heart(seconds, rng)
    wave += _wheeze(reading, seconds, expiration, rng)
    wave += _crackles(reading, phase, rng)
    wave += 0.02 * rng.standard_normal(samples)
    loudness = 10 ** (rng.uniform(-2.5, 2.5) / 20)
    return np.clip(0.11 * loudness * wave, -1.0, 1.0)


def _shaped_noise(samples: int, tilt: float, rng: np.random.Generator) -> Wave:
    """Noise as a chest wall passes it: from about 100 Hz, falling off above about 300 Hz."""
    hertz = np.fft.rfftfreq(samples, 1 / RATE_HZ)
    gain = (hertz / 100) ** 2 / (1 + (hertz / 100) ** 2) / (1 + (hertz / 300) ** 2) ** tilt
    wave = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * gain, samples)
    return np.asarray(wave / wave.std())


def _heart(seconds: Wave, rng: np.random.Generator) -> Wave:
    """Faint heart sounds."""
    period = 60.0 / rng.uniform(65, 105)
    since = (seconds + rng.random()) % period
    second = since - 0.32
    beat = np.exp(-((since - 0.05) ** 2) / 0.0008) + 0.7 * np.exp(-(second**2) / 0.0005)
    return np.asarray(rng.uniform(0.3, 0.8) * beat * np.sin(2 * np.pi * 55 * seconds))


def _wheeze(reading: float, seconds: Wave, expiration: Wave, rng: np.random.Generator) -> Wave:
    """A wavering tone in expiration: 5 dB louder for each unit of reading."""
    hertz = rng.uniform(280, 520)
    waver = 2 * np.pi * hertz * seconds + 6.0 * np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * seconds)
    tone = np.sin(waver) + 0.4 * np.sin(2 * waver)
    return np.asarray(0.5 * 10 ** (5.0 * reading / 20) * tone * expiration)


def _crackles(reading: float, phase: Wave, rng: np.random.Generator) -> Wave:
    """Short damped clicks in late inspiration, more and louder with the reading."""
    samples = len(phase)
    places = np.flatnonzero((phase > 0.15) & (phase < 0.42))
    count = max(3, round(36 + 13 * reading))
    starts = rng.choice(places, size=count, replace=len(places) < count)
    click_seconds = np.arange(48) / RATE_HZ
    hertz = rng.uniform(700, 1300, size=count)[:, None]
    loud = 2.2 * 10 ** (4.0 * reading / 20) * rng.uniform(0.7, 1.3, size=count)[:, None]
    clicks = loud * np.exp(-click_seconds / 0.003) * np.sin(2 * np.pi * hertz * click_seconds)
    wave = np.zeros(samples + 48)
    np.add.at(wave, starts[:, None] + np.arange(48), clicks)
    return wave[:samples]


def _record(stay: Stay, folder: Path, name: str, hour: float, reading: float, rng: np.random.Generator) -> Resource:
    identity = f"{name}-{stay.identifier}"
    pcm = np.round(breath_sound(reading, rng) * 32767).astype(np.int16)
    soundfile.write(folder / f"{identity}.wav", pcm, RATE_HZ, subtype="PCM_16")
    moment = stamp(stay.after_admission(hour))
    return {
        "resourceType": "Media",
        "id": identity,
        "status": "completed",
        "type": concept("media-type", "audio", "Audio"),
        "modality": concept("SNOMED", "37931006", "Auscultation"),
        "subject": reference("Patient", stay.fhir_id),
        "encounter": reference("Encounter", admission_id(stay)),
        "createdDateTime": moment,
        "issued": moment,
        "bodySite": concept("SNOMED", "39607008", "Lung structure"),
        "duration": SECONDS,
        "content": {"contentType": "audio/wav", "url": f"../sounds/{identity}.wav", "creation": moment},
    }
