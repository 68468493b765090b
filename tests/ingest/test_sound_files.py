from pathlib import Path

import numpy as np
import pytest
import soundfile

from ingest.errors import InputError
from ingest.sound_files import read_sound


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_channels_become_their_mean(tmp_path: Path, suffix: str) -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
    soundfile.write(tmp_path / f"a.{suffix}", stereo, 8000)
    samples, rate_hz = read_sound(tmp_path / f"a.{suffix}")
    assert (samples.shape, samples.dtype, rate_hz) == ((100,), np.float32, 8000)
    np.testing.assert_allclose(samples, 0.125, atol=1e-4)


def test_what_is_no_sound_is_refused_in_one_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    (tmp_path / "rubbish.wav").write_bytes(b"RIFF1234WAVErubbish")
    soundfile.write(tmp_path / "a.ogg", np.zeros(100), 8000)
    for name in ("empty.wav", "rubbish.wav", "a.ogg", "absent.wav"):
        with pytest.raises(InputError, match="expected a WAV or FLAC") as error:
            read_sound(tmp_path / name)
        assert "\n" not in str(error.value)
