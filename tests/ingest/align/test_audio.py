"""Audio streams: the latest usable recording, as log-mel frames or as a waveform, and what is said of the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfiltfilt

from ingest.align.spectrum import FLOOR, log_mel, mel_filters
from ingest.errors import TaskError
from ingest.files import sha256_of
from ingest.signals.files import recording_sha256

RATE = 250
ECG = {
    "ecg": {
        "kind": "audio", "codes": ["FILE"], "form": "waveform", "sample_rate_hz": 100, "seconds": 2,
        "leads": ["I", "II", "V1"], "unit": "mV", "plausible": [0.1, 10],
    }
}  # fmt: skip
SOUND = {"sound": {"kind": "audio", "codes": ["FILE"], "seconds": 2, "mels": 8}}


def file_row(subject: int, path: Path, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "code": "FILE", "hours": 5, "asset": str(path), **more}


def beats(seconds: float = 4, rate_hz: int = RATE, seed: int = 0) -> np.ndarray:
    """Something like an electrocardiogram in millivolts."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    spike = np.exp(-(((time % 1.0) - 0.5) ** 2) / (2 * 0.03**2))
    return np.asarray(spike + np.random.default_rng(seed).normal(0, 0.01, len(time)))


def problem_of(cohort: Any, row: int, stream: str = "ecg") -> str:
    said = cohort.index[f"{stream}_problem"].iat[row]
    return said if isinstance(said, str) else ""


def write_edf(path: Path, unit: str = "mV", scale: float = 1.0, **leads: np.ndarray) -> Path:
    """An EDF file; by default of leads I, II and V1 at 250 Hz."""
    signals = leads or {name: beats(seed=i) for i, name in enumerate(("I", "II", "V1"))}
    edfio.Edf(
        [
            edfio.EdfSignal(samples * scale, RATE, label=f"ECG {name}", physical_dimension=unit,
                            physical_range=(-5 * scale, 5 * scale))
            for name, samples in signals.items()
        ]
    ).write(path)  # fmt: skip
    return path


# --- waveforms


def test_a_waveform_is_the_leads_in_order_in_the_unit_and_at_the_rate_of_the_task(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    path = write_edf(tmp_path / "1.edf", "uV", 1000, V1=beats(seed=1), I=beats(seed=2), III=beats(seed=3))
    report, cohort = aligned([*people(), file_row(1, path, asset_sha256=sha256_of(path))], task_of(ECG))
    stream = cohort.batch([0]).streams["ecg"]
    assert stream.values.shape == (1, 200, 3)
    assert stream.observed.all(1).tolist() == [[True, False, True]]  # there is no II
    assert stream.hours[0].tolist() == [-19] * 200
    expected = np.interp(np.arange(200) / 100, np.arange(1000) / 250, beats(seed=2))
    assert np.corrcoef(stream.values[0, :, 0], expected)[0, 1] > 0.99
    assert float(stream.values[0, :, 0].max()) == pytest.approx(1, abs=0.1)
    statistics = cohort.statistics.streams["ecg"]
    assert (statistics.names, statistics.units, statistics.elements) == (("I", "II", "V1"), ("mV",) * 3, 200)
    assert report.streams["ecg"].used == 1
    assert problem_of(cohort, 0) == "partly: lead II: not in the recording"


def test_a_dicom_electrocardiogram_is_read_by_its_lead_names(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any, write_ecg: Callable[..., Path]
) -> None:
    steps = np.stack([beats(2, 500, seed) * 400 for seed in range(3)], 1).round()
    path = write_ecg(tmp_path / "1.dcm", steps)
    _, cohort = aligned([*people(), file_row(1, path)], task_of(ECG))
    stream = cohort.batch([0]).streams["ecg"]
    assert stream.observed.all()
    assert stream.values[0].max(0).values.tolist() == pytest.approx([400 * 2.75e-3] * 3, abs=0.1)


def test_what_is_beyond_the_end_or_in_a_gap_is_not_observed(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    leads = {name: beats(1.6) for name in ("I", "II", "V1")}
    raw = np.stack([leads[name] for name in leads], 1).astype(np.float32)
    steps = (raw * 1000).round().astype("<i2")
    steps[100:125, 1] = -32768  # a gap of 0.1 s in II
    (tmp_path / "r.dat").write_bytes(steps.tobytes())
    lines = [f"r.dat 16 1000/mV 16 0 0 0 0 {name}" for name in leads]
    (tmp_path / "r.hea").write_text("\n".join([f"r 3 {RATE} {len(raw)}", *lines]) + "\n")
    path = tmp_path / "r.hea"
    rows = [*people(), file_row(1, path, asset_sha256=recording_sha256(path))]
    _, cohort = aligned(rows, task_of(ECG))
    observed = cohort.batch([0]).streams["ecg"].observed[0].numpy()
    assert observed[:, 0].tolist() == [True] * 160 + [False] * 40
    assert (~observed[:160, 1]).sum() == 10
    assert problem_of(cohort, 0) == ""
    (tmp_path / "r.dat").write_bytes(steps[::-1].tobytes())
    report, cohort = aligned(rows, task_of(ECG), name="changed")
    assert "sha256" in report.streams["ecg"].refusals[0]
    assert not cohort.present[0, 0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x: x * 0, "flat line in all leads"),
        (lambda x: np.clip(x * 20, -5, 5), "clipped in"),
        (lambda x: x * 0.001, "median range 0.00"),
        (lambda x: np.where(np.arange(len(x)) < 390, x[390], x), "gaps in"),
    ],
)
def test_an_unusable_recording_is_no_value_and_the_case_says_why(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any, spoil: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    """FAULTS 19."""
    leads = {name: spoil(beats(seed=0)) for name in ("I", "II", "V1")}
    path = write_edf(tmp_path / "1.edf", **leads)
    report, cohort = aligned([*people(), file_row(1, path)], task_of(ECG))
    assert not cohort.present[0].any()
    assert said in problem_of(cohort, 0)
    assert problem_of(cohort, 1) == ""
    assert report.streams["ecg"].left_out == {"unusable": 1}
    assert said in report.streams["ecg"].refusals[0]
    assert report.streams["ecg"].used == 0


def test_a_millivolt_read_as_a_microvolt_is_unusable_and_both_readings_are_named(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 19: numbers of microvolts whose header says millivolts."""
    path = write_edf(tmp_path / "1.edf", "mV", 1000)
    _, cohort = aligned([*people(), file_row(1, path)], task_of(ECG))
    problem = problem_of(cohort, 0)
    assert "expected 0.1 to 10 mV; uV may have been read as mV" in problem
    assert not cohort.present[0].any()


def test_a_wrong_sample_rate_is_unusable(tmp_path: Path, people: Any, task_of: Any, aligned: Any) -> None:
    """FAULTS 19."""
    path = write_edf(tmp_path / "1.edf")
    for more, said in (({"rates_hz": [400, 1000]}, "sample rate 250 Hz"), ({"rates_hz": [100, 300]}, None)):
        _, cohort = aligned([*people(), file_row(1, path)], task_of({"ecg": {**ECG["ecg"], **more}}), name=str(said))
        assert cohort.present[0].any() == (said is None)
        assert (said or "") in problem_of(cohort, 0)


def test_where_the_latest_is_unusable_the_one_before_is_taken_and_that_is_noted(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    good, flat = write_edf(tmp_path / "good.edf"), write_edf(tmp_path / "flat.edf", I=np.zeros(1000), II=np.zeros(1000))
    rows = [*people(), {**file_row(1, good), "hours": 3}, {**file_row(1, good), "hours": 1}, file_row(1, flat)]
    rows += [{**file_row(1, tmp_path / "gone.edf"), "hours": 6}]
    report, cohort = aligned(rows, task_of(ECG))
    stream = cohort.batch([0]).streams["ecg"]
    assert stream.hours[0, 0] == 3 - 24
    assert problem_of(cohort, 0) == ""
    note = cohort.index["ecg_note"][0]
    assert note.startswith("recording 2 of 4, since the latest could not be used: cannot be read: expected")
    assert str(tmp_path) not in note
    left = report.streams["ecg"].left_out
    assert left == {"unusable": 1, "unreadable or changed": 1, "older than the latest kept": 1}


def test_leads_in_another_unit_or_without_one_are_unusable(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    _, cohort = aligned([*people(), file_row(1, write_edf(tmp_path / "1.edf", "mmHg"))], task_of(ECG))
    assert problem_of(cohort, 0) == "not in a unit that mV can be made of in all leads"
    steps = (beats() * 200).astype("<i2")
    (tmp_path / "r.dat").write_bytes(steps.tobytes())
    (tmp_path / "r.hea").write_text(f"r 1 250 {len(steps)}\nr.dat 16 0 16 0 0 0 0 I\n")
    _, cohort = aligned([*people(), file_row(1, tmp_path / "r.hea")], task_of(ECG), name="uncalibrated")
    assert "lead I: not calibrated: no unit is stated" in problem_of(cohort, 0)


def test_a_band_pass_removes_what_lies_outside_and_shifts_nothing(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    time = np.arange(1000) / RATE
    tone, drift = np.sin(2 * np.pi * 10 * time), 2 * np.sin(2 * np.pi * 0.05 * time)
    path = write_edf(tmp_path / "1.edf", **dict.fromkeys(("I", "II", "V1"), tone + drift))
    spec = {**ECG["ecg"], "band_hz": [2, 40]}
    _, cohort = aligned([*people(), file_row(1, path)], task_of({"ecg": spec}))
    values = cohort.batch([0]).streams["ecg"].values[0, :, 0].numpy()
    assert np.allclose(values[50:150], np.sin(2 * np.pi * 10 * np.arange(50, 150) / 100), atol=0.05)


def test_where_the_recording_goes_on_its_band_pass_does_not_end_with_what_is_kept(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """As if all of it had been filtered: a slow filter rings for seconds after a signal that breaks off."""
    signals = {name: beats(30, seed=i) + np.arange(30 * RATE) / RATE / 20 for i, name in enumerate(("I", "II", "V1"))}
    path = write_edf(tmp_path / "1.edf", **signals)
    spec = {**ECG["ecg"], "band_hz": [0.5, 40], "seconds": 10, "sample_rate_hz": RATE}
    _, cohort = aligned([*people(), file_row(1, path)], task_of({"ecg": spec}))
    values = cohort.batch([0]).streams["ecg"].values[0].numpy()
    sections = butter(4, (0.5, 40), "bandpass", fs=RATE, output="sos")
    expected = sosfiltfilt(sections, np.stack(list(signals.values()), 1), axis=0)[: 10 * RATE]
    assert np.abs(values - expected).max() < 1e-3


def test_a_refused_recording_named_after_a_person_is_told_of_without_the_name(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 37."""
    flat = write_edf(tmp_path / "Kanari^Berta.edf", **dict.fromkeys(("I", "II", "V1"), np.zeros(1000)))
    rows = [*people(), file_row(1, flat), file_row(2, tmp_path / "Kanari_Berta.edf")]
    report, _ = aligned(rows, task_of(ECG))
    assert len(report.streams["ecg"].refusals) == 2
    assert "Kanari" not in str(report)


@pytest.mark.parametrize(("known", "seen_hours"), [(None, 0.5), (23.9, 1.0)])
def test_a_long_recording_is_cut_at_the_index_time_unless_all_of_it_was_available(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any, known: float | None, seen_hours: float
) -> None:
    """An hour that began half an hour before the index time, at one sample a second."""
    signal = edfio.EdfSignal(np.random.default_rng(0).normal(0, 1, 3600), 1, label="I", physical_dimension="mV")
    edfio.Edf([signal]).write(tmp_path / "1.edf")
    spec = {**ECG["ecg"], "leads": ["I"], "sample_rate_hz": 1, "seconds": 3600}
    row = {**file_row(1, tmp_path / "1.edf"), "hours": 23.5, "known": known}
    _, cohort = aligned([*people(), row], task_of({"ecg": spec}))
    stream = cohort.batch([0]).streams["ecg"]
    assert int(stream.observed.sum()) == seen_hours * 3600
    assert float(stream.hours.max()) <= 0


def test_a_waveform_needs_leads_and_a_unit(task_of: Any) -> None:
    for change in ({"leads": []}, {"unit": None}, {"form": "log-mel"}, {"band_hz": [1, 60]}, {"plausible": [2, 1]}):
        with pytest.raises(TaskError):
            task_of({"ecg": {**ECG["ecg"], **change}})


# --- sound


def test_a_tone_is_loudest_in_its_own_mel_band() -> None:
    rate, mels = 4000, 32
    bank = mel_filters(mels, rate)
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 2000 / 700), mels + 2)[1:-1] / 2595) - 1)
    for band in (3, 15, 28):
        tone = np.sin(2 * np.pi * centres[band] * np.arange(rate) / rate).astype(np.float32)
        assert (log_mel(tone, bank, rate).argmax(1) == band).all()
    assert np.allclose(log_mel(np.zeros(rate, np.float32), bank, rate), 10 * np.log10(FLOOR))


def test_a_short_recording_leaves_frames_unobserved(tmp_path: Path, people: Any, task_of: Any, aligned: Any) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    soundfile.write(tmp_path / "1.wav", noise, 4000)
    soundfile.write(tmp_path / "2.wav", noise[:100], 4000)
    rows = [*people(), file_row(1, tmp_path / "1.wav"), file_row(2, tmp_path / "2.wav")]
    report, cohort = aligned(rows, task_of(SOUND))
    sound = cohort.batch([0]).streams["sound"]
    assert sound.observed[0].sum() == 1 + (4000 - 256) // 128
    assert not sound.values[0][~sound.observed[0]].any()
    assert cohort.present[1].tolist() == [False]
    assert problem_of(cohort, 1, "sound") == "shorter than 0.064 s"
    assert report.streams["sound"].refusals == (f"{tmp_path / '2.wav'}: shorter than 0.064 s",)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_a_sound_is_the_same_in_every_format(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any, name: str
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    noise = np.convolve(noise, np.ones(24) / 24, "same")  # so that lossy formats keep it
    soundfile.write(tmp_path / "a.wav", noise, 16_000)
    soundfile.write(tmp_path / name, noise, 16_000)
    rows = [*people(), file_row(1, tmp_path / "a.wav"), file_row(2, tmp_path / name)]
    _, cohort = aligned(rows, task_of(SOUND))
    one, other = cohort.batch([0, 1]).streams["sound"].values[:, :, :6].numpy()
    assert np.abs(one - other).mean() < 1.5


def test_a_band_pass_leaves_the_bands_within_it(tmp_path: Path, people: Any, task_of: Any, aligned: Any) -> None:
    soundfile.write(tmp_path / "1.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 4000)
    levels = []
    for band in (None, [400, 1000]):
        spec = {**SOUND["sound"], "band_hz": band}
        _, cohort = aligned([*people(), file_row(1, tmp_path / "1.wav")], task_of({"sound": spec}), name=str(band))
        levels.append(cohort.batch([0]).streams["sound"].values[0].numpy().mean(0))
    change = levels[1] - levels[0]
    assert abs(change[3]) < 1
    assert change[0] < -20
    assert change[-1] < -20


@pytest.mark.parametrize(
    ("samples", "said"), [(np.zeros(8000), "flat line"), (np.sign(np.sin(np.arange(8000))), "clipped")]
)
def test_silence_and_clipping_are_unusable(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any, samples: np.ndarray, said: str
) -> None:
    """FAULTS 19."""
    soundfile.write(tmp_path / "1.wav", samples, 4000)
    _, cohort = aligned([*people(), file_row(1, tmp_path / "1.wav")], task_of(SOUND))
    assert said in problem_of(cohort, 0, "sound")
    assert not cohort.present[0].any()
