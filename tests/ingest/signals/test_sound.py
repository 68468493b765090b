"""Sound files: decoded as they were written, and refused in one line where they are broken or cut short."""

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ingest.errors import InputError
from ingest.signals.sound import MAX_RATE_HZ, check_sound, is_sound, read_channels, read_sound

KINDS = {
    "pcm.wav": {}, "float.wav": {"subtype": "FLOAT"}, "wide.wav": {"format": "WAVEX"}, "big.wav": {"format": "RF64"},
    "a.flac": {}, "vorbis.ogg": {}, "opus.ogg": {"format": "OGG", "subtype": "OPUS"}, "a.mp3": {}, "a.aiff": {},
}  # fmt: skip
LOSSY = {"vorbis.ogg", "opus.ogg", "a.mp3"}


def tones(rate_hz: int = 16_000) -> np.ndarray:
    """A second of two channels."""
    return np.sin(np.arange(rate_hz) / 5)[:, None] * [0.5, 0.3]


def written(folder: Path, name: str) -> Path:
    soundfile.write(folder / name, tones(), 16_000, **KINDS[name])
    return folder / name


@pytest.mark.parametrize("name", KINDS)
def test_every_format_is_told_by_its_content_and_gives_what_was_written(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    assert is_sound(path.read_bytes()[:4096])
    facts = check_sound(path)
    assert (facts.leads, facts.rate_hz, facts.seconds) == (("channel 1", "channel 2"), 16_000, 1.0)
    samples, rate_hz = read_channels(path, seconds=0.25)
    assert (samples.shape, samples.dtype, rate_hz) == ((4000, 2), np.float32, 16_000)
    np.testing.assert_allclose(samples, tones()[:4000], atol=0.03 if name in LOSSY else 1e-4)


def test_channels_become_their_mean(tmp_path: Path) -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000)
    samples, rate_hz = read_sound(tmp_path / "a.wav")
    assert (samples.shape, samples.dtype, rate_hz) == ((100,), np.float32, 8000)
    np.testing.assert_allclose(samples, 0.125, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_cut_short_is_refused_by_its_header(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path)


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    (tmp_path / "rubbish.wav").write_bytes(b"RIFF1234WAVErubbish")
    soundfile.write(tmp_path / "a.au", np.zeros(100), 8000)
    for name, got in (("empty.wav", "0 frames"), ("rubbish.wav", "do not decode"), ("a.au", "AU"), ("no.wav", "name")):
        assert got in refused(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    samples = tones()
    samples[10, 0] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(InputError, match="no numbers"):
        read_sound(tmp_path / "a.wav")


def test_a_rate_that_contradicts_the_bytes_per_second_is_refused(tmp_path: Path) -> None:
    """FAULTS 19, wrong sample rate: the header says 8 kHz in one field and 16 kHz in another."""
    path = written(tmp_path, "pcm.wav")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"fmt ") + 12
    assert struct.unpack_from("<I", raw, at)[0] == 16_000
    struct.pack_into("<I", raw, at, 8_000)
    path.write_bytes(raw)
    assert "a rate of 8000 Hz" in refused(path)


def test_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(), MAX_RATE_HZ + 1)
    assert f"{MAX_RATE_HZ + 1} Hz" in refused(path)


@pytest.mark.parametrize("name", ["pcm.wav", "a.flac", "vorbis.ogg", "a.mp3"])
def test_random_damage_is_read_or_refused_and_never_anything_else(tmp_path: Path, name: str) -> None:
    raw, rng = written(tmp_path, name).read_bytes(), np.random.default_rng(0)
    for trial in range(40):
        broken = bytearray(raw)
        for at in rng.integers(0, 200 if trial % 2 else len(raw), 5):
            broken[at] = rng.integers(256)
        path = tmp_path / f"{trial}{name}"
        path.write_bytes(broken)
        with suppress(InputError):
            samples, _ = read_sound(path, seconds=0.5)
            assert np.isfinite(samples).all()
            assert np.abs(samples).max() <= 1


@pytest.mark.parametrize(
    "head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xfeh\0i\0", b"RIFF\0\0\0\0AVI ", b"subject,value\n", b""]
)
def test_other_files_are_not_taken_for_sounds(head: bytes) -> None:
    assert not is_sound(head)


def refused(path: Path) -> str:
    with pytest.raises(InputError, match="expected a WAV, FLAC, OGG, MP3 or AIFF file") as error:
        check_sound(path)
    assert "\n" not in str(error.value)
    return str(error.value)
