"""WFDB, EDF, BDF and DICOM recordings against the libraries of their formats, and what is refused."""

import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from ingest.errors import InputError
from ingest.signals.files import companions, is_waveform, read_recording, recording_facts, recording_sha256
from ingest.signals.signal import Lead

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb uses what pandas is about to drop
    import wfdb

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # the same, when it writes
NOISE = np.random.default_rng(0).normal(0, 1, (1000, 3))


def write_wfdb(folder: Path, name: str = "r", fmt: str = "16", **more: Any) -> Path:
    """Three leads at 360 Hz."""
    described = {"fs": 360, "units": ["mV", "uV", "mmHg"], "sig_name": ["I", "ECG II", "ABP"], **more}
    wfdb.wrsamp(name, p_signal=NOISE, fmt=[fmt] * 3, write_dir=str(folder), **described)
    return folder / f"{name}.hea"


def write_edf(path: Path, *, bdf: bool = False, annotated: bool = True) -> Path:
    """Ten seconds of two leads, at 256 and 500 Hz."""
    signal = edfio.BdfSignal if bdf else edfio.EdfSignal
    leads = [
        signal(
            np.resize(NOISE * 50, 2560), 256, label="EEG Fpz-Cz", physical_dimension="uV", physical_range=(-300, 300)
        ),
        signal(np.resize(NOISE, 5000), 500, label="ECG II", physical_dimension="mV", physical_range=(-5, 5)),
    ]
    notes = [edfio.EdfAnnotation(1, None, "awake")] if annotated else None
    (edfio.Bdf if bdf else edfio.Edf)(leads, annotations=notes).write(path)
    return path


def stacked(leads: tuple[Lead, ...]) -> np.ndarray:
    return np.stack([lead.samples for lead in leads], 1)


# --- WFDB


@pytest.mark.parametrize("fmt", ["16", "212", "24", "32", "80"])
def test_a_wfdb_record_is_what_the_wfdb_library_reads(tmp_path: Path, fmt: str) -> None:
    path = write_wfdb(tmp_path, fmt=fmt)
    reference = wfdb.rdrecord(str(path.with_suffix(""))).p_signal
    recording = read_recording(path)
    assert [lead.name for lead in recording.leads] == ["I", "II", "ABP"]
    assert [lead.unit for lead in recording.leads] == ["mV", "uV", "mm[Hg]"]
    assert all(lead.rate_hz == 360 for lead in recording.leads)
    np.testing.assert_allclose(stacked(recording.leads), reference, atol=1e-5)
    some = read_recording(path, seconds=0.5, leads=["Lead II"])
    np.testing.assert_allclose(stacked(some.leads)[:, 0], reference[:180, 1], atol=1e-5)
    facts = recording_facts(path)
    assert (facts.leads, facts.rate_hz, facts.seconds) == (("I", "II", "ABP"), 360, pytest.approx(1000 / 360))


@pytest.mark.parametrize(("fmt", "kind", "shift"), [("61", ">i2", 0), ("160", "<u2", 32768)])
def test_the_rarer_formats_are_what_the_wfdb_library_reads(tmp_path: Path, fmt: str, kind: str, shift: int) -> None:
    steps = np.random.default_rng(1).integers(-2000, 2000, 400)
    (tmp_path / "r.dat").write_bytes((steps + shift).astype(kind).tobytes())
    line = f"r.dat {fmt} 200(10)/mV 12 0 0 0 0"
    (tmp_path / "r.hea").write_text(f"r 2 100 200\n{line} I\n{line} II\n")
    reference = wfdb.rdrecord(str(tmp_path / "r")).p_signal
    np.testing.assert_allclose(stacked(read_recording(tmp_path / "r.hea").leads), reference, atol=1e-5)


@pytest.mark.parametrize("fmt", ["310", "311"])
def test_three_samples_of_ten_bits_are_what_the_wfdb_library_reads(tmp_path: Path, fmt: str) -> None:
    steps = np.random.default_rng(1).integers(-512, 512, 402)
    threes = (steps & 0x3FF).reshape(-1, 3)
    if fmt == "311":
        raw = (threes[:, 0] | threes[:, 1] << 10 | threes[:, 2] << 20).astype("<u4").tobytes()
    else:
        words = [threes[:, 0] << 1 | (threes[:, 2] & 0x1F) << 11, threes[:, 1] << 1 | threes[:, 2] >> 5 << 11]
        raw = np.stack(words, 1).astype("<u2").tobytes()
    (tmp_path / "r.dat").write_bytes(raw)
    line = f"r.dat {fmt} 200(10)/mV 10 0 0 0 0"
    (tmp_path / "r.hea").write_text(f"r 2 100 201\n{line} I\n{line} II\n")
    made = stacked(read_recording(tmp_path / "r.hea").leads)
    assert np.isnan(made).sum() == (steps == -512).sum()
    expected = np.where(steps == -512, np.nan, (steps - 10) / 200).reshape(-1, 2)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    np.testing.assert_allclose(made, wfdb.rdrecord(str(tmp_path / "r")).p_signal, atol=1e-5)
    cut = {"310": -2, "311": -1}[fmt]
    (tmp_path / "r.dat").write_bytes(raw[:cut])
    refused(tmp_path / "r.hea", "cut short")


def test_missing_samples_several_per_frame_and_skew_are_those_of_the_wfdb_library(tmp_path: Path) -> None:
    steps = np.random.default_rng(1).integers(-2000, 2000, (300, 3)).astype("<i2")
    steps[5, 0] = -32768
    (tmp_path / "r.dat").write_bytes(b"four" + steps.tobytes())
    (tmp_path / "r.hea").write_text("r 2 100 300\nr.dat 16x2+4 200 16 0 0 0 0 I\nr.dat 16:3+4 100/uV 16 0 0 0 0 II\n")
    reference = wfdb.rdrecord(str(tmp_path / "r"), smooth_frames=False).e_p_signal
    one, two = read_recording(tmp_path / "r.hea").leads
    assert (one.rate_hz, two.rate_hz) == (200, 100)
    np.testing.assert_allclose(one.samples, reference[0], atol=1e-5)
    np.testing.assert_allclose(two.samples, reference[1][: len(two.samples)], atol=1e-5)
    assert np.isnan(one.samples[10])


@pytest.mark.parametrize("named", ["../x.dat", "/etc/passwd", "..", "sub/x.dat", "r.hea", "link.dat", "gone.dat"])
def test_a_header_that_names_a_file_elsewhere_is_refused(tmp_path: Path, named: str) -> None:
    """FAULTS 27."""
    inside = tmp_path / "delivery"
    (inside / "sub").mkdir(parents=True)
    for path in (tmp_path / "x.dat", inside / "sub" / "x.dat"):
        path.write_bytes(NOISE.tobytes())
    (inside / "link.dat").symlink_to(tmp_path / "x.dat")
    (inside / "r.hea").write_text(f"r 1 100 20\n{named} 16 200 16 0 0 0 0 I\n")
    message = refused(inside / "r.hea", "signal file")
    assert named not in message.split("expected")[1]
    with pytest.raises(InputError):
        companions(inside / "r.hea")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("r/3 1 100 20\nr 10\n", "segments"),
        ("r 1 0 20\nr.dat 16 200 16 0 0 0 0 I\n", "above 0"),
        ("r 1\nr.dat 16 200 16 0 0 0 0 I\n", "sampling frequency"),
        ("r 1 100 2000\nr.dat 16 200 16 0 0 0 0 I\n", "cut short"),
        ("r 2 100 20\nr.dat 16 200 16 0 0 0 0 I\n", "a line each"),
        ("r 1 100 20\nr.dat 516 200 16 0 0 0 0 I\n", "format 16"),
        ("r 1 100 20\nr.dat sixteen\n", "header"),
        ("r 1 1-2e5 20\nr.dat 16 200 16 0 0 0 0 I\n", "a number"),
        ("r 9999999 100 20\n", "a line each"),
        ("r 1 100 20\nr.dat 16 200 16 0 0 0 0 " + "x" * 2000 + "\n", "lines of at most"),
        ("r 2 100 20\nr.dat 16 200 16 0 0 0 0 I\nr.dat 212 200 12 0 0 0 0 II\n", "one format"),
    ],
)
def test_a_header_that_is_wrong_or_contradicts_its_file_is_refused(tmp_path: Path, header: str, said: str) -> None:
    """FAULTS 19 (a rate of 0, or none), 23."""
    (tmp_path / "r.dat").write_bytes(np.arange(100, dtype="<i2").tobytes())
    (tmp_path / "r.hea").write_text(header)
    refused(tmp_path / "r.hea", said)


def test_a_lead_without_calibration_has_no_unit(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(np.arange(100, dtype="<i2").tobytes())
    (tmp_path / "r.hea").write_text("r 1 100 100\nr.dat 16\n")
    (lead,) = read_recording(tmp_path / "r.hea").leads
    assert (lead.name, lead.unit, lead.rails) == ("signal 1", "", None)


def test_the_digest_of_a_record_covers_its_signal_files(tmp_path: Path) -> None:
    path = write_wfdb(tmp_path)
    before = recording_sha256(path)
    assert companions(path) == [tmp_path / "r.dat"]
    raw = bytearray((tmp_path / "r.dat").read_bytes())
    raw[7] ^= 1
    (tmp_path / "r.dat").write_bytes(raw)
    assert recording_sha256(path) != before


# --- EDF and BDF


@pytest.mark.parametrize("bdf", [False, True])
@pytest.mark.parametrize("annotated", [False, True])
def test_an_edf_or_bdf_file_is_what_edfio_reads(tmp_path: Path, bdf: bool, annotated: bool) -> None:
    path = write_edf(tmp_path / "a.edf", bdf=bdf, annotated=annotated)
    assert is_waveform(path, path.read_bytes()[:4096])
    reference = (edfio.read_bdf if bdf else edfio.read_edf)(path).signals
    recording = read_recording(path)
    assert [(lead.name, lead.unit, lead.rate_hz) for lead in recording.leads] == [
        ("Fpz-Cz", "uV", 256),
        ("II", "mV", 500),
    ]
    assert recording.leads[0].rails == (-300, 300)
    for lead, signal in zip(recording.leads, reference, strict=True):
        np.testing.assert_allclose(lead.samples, signal.data, atol=1e-4)
    (some,) = read_recording(path, 2.5, ["II"]).leads
    np.testing.assert_allclose(some.samples, reference[1].data[:1250], atol=1e-4)
    assert recording_facts(path).seconds == 10


def test_only_the_records_that_are_needed_of_a_long_edf_file_are_read(tmp_path: Path) -> None:
    path, day = tmp_path / "long.edf", 86_400
    edfio.Edf([edfio.EdfSignal(NOISE[:500, 0], 500, label="II", physical_dimension="mV")]).write(path)
    field(path, 236, f"{day:<8}")
    with path.open("r+b") as file:  # a day of zeros, which take no disk
        file.truncate(512 + 1000 * day)
    tracemalloc.start()
    (lead,) = read_recording(path, 10).leads
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(lead.samples), recording_facts(path).seconds) == (5000, day)
    assert peak < 1_000_000


def field(path: Path, start: int, value: str) -> None:
    raw = bytearray(path.read_bytes())
    raw[start : start + len(value)] = value.encode()
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("start", "value", "said"),
    [
        (236, "99      ", "cut short"),
        (244, "0       ", "last some time"),
        (244, "nan     ", "duration"),
        (252, "9999", "number of signals"),
        (184, "512     ", "bytes"),
        (236, "many    ", "a number"),
    ],
)
def test_an_edf_header_that_is_wrong_or_contradicts_its_file_is_refused(
    tmp_path: Path, start: int, value: str, said: str
) -> None:
    """FAULTS 19 (no rate), 23."""
    path = write_edf(tmp_path / "a.edf")
    field(path, start, value)
    refused(path, said)


def test_data_records_that_do_not_follow_one_another_are_refused(tmp_path: Path) -> None:
    """FAULTS 19, wrong sample rate: the header says 1 s of samples per record, their own clocks say 2 s."""
    path = write_edf(tmp_path / "a.edf")
    whole = edfio.read_edf(path)
    field(path, 244, f"{whole.data_record_duration / 2:<8g}")
    with pytest.raises(InputError, match="wrong rate"):
        read_recording(path)


def test_an_interrupted_recording_without_the_times_of_its_parts_is_refused(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", annotated=False)
    field(path, 192, "EDF+D")
    refused(path, "annotations that say when each data record starts")


def test_an_edf_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf")
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "cut short")


@pytest.mark.parametrize("kind", ["edf", "hea", "dcm"])
def test_random_damage_is_read_or_refused_and_never_anything_else(
    tmp_path: Path, kind: str, write_ecg: Callable[..., Path]
) -> None:
    path = {"edf": lambda: write_edf(tmp_path / "a.edf"), "hea": lambda: write_wfdb(tmp_path),
            "dcm": lambda: write_ecg(tmp_path / "a.dcm")}[kind]()  # fmt: skip
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(raw)
        for at in rng.integers(0, min(len(raw), 2500), 3):
            broken[at] = rng.choice([rng.integers(256), *b"0 -.9/("])
        path.write_bytes(broken)
        with suppress(InputError):
            recording = read_recording(path, 1.0)
            assert all(lead.samples.dtype == np.float32 for lead in recording.leads)


# --- DICOM


def test_a_dicom_electrocardiogram_is_what_pydicom_reads(tmp_path: Path, write_ecg: Callable[..., Path]) -> None:
    path = write_ecg(tmp_path / "a.dcm")
    reference = dcmread(path).waveform_array(0)
    recording = read_recording(path)
    assert [lead.name for lead in recording.leads] == ["I", "II", "V1"]
    assert [lead.unit for lead in recording.leads] == ["uV", "uV", "mV"]
    np.testing.assert_allclose(stacked(recording.leads), reference, rtol=1e-5)
    (two,) = read_recording(path, 0.5, ["II"]).leads
    np.testing.assert_allclose(two.samples, reference[:250, 1], rtol=1e-5)
    assert two.rails == pytest.approx((-32768 * 2.5 * 1.1 + 7, 32767 * 2.5 * 1.1 + 7))
    facts = recording_facts(path)
    assert (facts.leads, facts.rate_hz, facts.seconds) == (("I", "II", "V1"), 500, 2)


@pytest.mark.filterwarnings("ignore")  # pydicom on its own sample's private elements
def test_an_electrocardiograph_s_own_file_is_read_by_the_names_of_its_leads() -> None:
    found = get_testdata_file("waveform_ecg.dcm", download=False)
    if found is None:
        pytest.skip("pydicom's waveform_ecg.dcm: not here")
    recording = read_recording(Path(str(found)))
    assert [lead.name for lead in recording.leads] == [
        "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6",
    ]  # fmt: skip
    np.testing.assert_allclose(stacked(recording.leads), dcmread(str(found)).waveform_array(0), rtol=1e-5)
    assert {(lead.unit, lead.rate_hz, lead.seconds) for lead in recording.leads} == {("uV", 1000.0, 10.0)}


def test_the_rhythm_is_read_and_not_the_median_beat_that_is_derived_from_it(
    tmp_path: Path, write_ecg: Callable[..., Path]
) -> None:
    path = write_ecg(tmp_path / "a.dcm", derived_first=True)
    assert len(read_recording(path).leads[0].samples) == 1000


def test_big_endian_samples_are_read_as_such(tmp_path: Path, write_ecg: Callable[..., Path]) -> None:
    path = write_ecg(tmp_path / "a.dcm")
    expected = stacked(read_recording(path).leads)
    dataset = dcmread(path)
    for group in dataset.WaveformSequence:
        group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    turned = Dataset(dataset)
    turned.file_meta = dataset.file_meta
    turned.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    turned.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(stacked(read_recording(path).leads), expected)


def test_a_group_that_starts_later_is_missing_until_then(tmp_path: Path, write_ecg: Callable[..., Path]) -> None:
    path = write_ecg(tmp_path / "a.dcm")
    dataset = dcmread(path)
    rhythm = dataset.WaveformSequence[0]
    later = deepcopy(rhythm)
    rhythm.MultiplexGroupTimeOffset, later.MultiplexGroupTimeOffset = 1000, 1500
    for number, channel in enumerate(later.ChannelDefinitionSequence):
        channel.ChannelSourceSequence[0].CodeValue = ["2:61", "2:62", "2:63"][number]
    dataset.WaveformSequence = [rhythm, later]
    dataset.save_as(path)
    leads = {lead.name: lead.samples for lead in read_recording(path).leads}
    assert not np.isnan(leads["I"]).any()
    assert np.isnan(leads["III"][:250]).all()
    np.testing.assert_array_equal(leads["III"][250:], leads["I"])


def test_padding_is_missing(tmp_path: Path, write_ecg: Callable[..., Path]) -> None:
    path = write_ecg(tmp_path / "a.dcm", padding=-5)
    samples = read_recording(path).leads[0].samples
    assert (
        np.isnan(samples).sum() == (np.asarray(dcmread(path).waveform_array(0))[:, 0] == -5 * 2.5 * 1.1 + 7).sum() > 0
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SamplingFrequency": 0}, "Sampling Frequency"),
        ({"SamplingFrequency": None}, "Sampling Frequency"),
        ({"NumberOfWaveformSamples": 10_000_000}, "Waveform Data"),
        ({"NumberOfWaveformChannels": 4}, "Channel Definition"),
        ({"WaveformSampleInterpretation": "MB"}, "Interpretation"),
        ({"WaveformData": None}, "cannot be read"),
    ],
)
def test_a_group_that_is_not_what_it_promises_is_refused(
    tmp_path: Path, write_ecg: Callable[..., Path], changes: dict[str, Any], said: str
) -> None:
    """FAULTS 19 (no rate), 23."""
    refused(write_ecg(tmp_path / "a.dcm", **changes), said)


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    (tmp_path / "a.txt").write_text("hello")
    refused(tmp_path / "a.txt", "do not decode")
    refused(tmp_path / "gone.edf", "readable")
    refused(write_dicom(tmp_path / "a.dcm"), "Waveform Sequence")


def refused(path: Path, said: str) -> str:
    with pytest.raises(InputError, match=said) as error:
        recording_facts(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError):
        read_recording(path)
    return str(error.value)
