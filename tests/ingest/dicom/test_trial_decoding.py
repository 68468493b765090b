"""Decoding tried in a process of its own. What crashes a real decoder is in test_dicom_corpora."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from ingest.dicom.trial_decoding import _Trial, undecodable

Write = Callable[..., Path]


def compressed(path: Path, write_dicom: Write) -> Path:
    pixels = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.uint16)
    dataset = dcmread(write_dicom(path, pixels))
    dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    dataset.save_as(path)
    return path


def test_what_decodes_passes_and_the_rest_is_refused_by_number(tmp_path: Path, write_dicom: Write) -> None:
    sound = compressed(tmp_path / "a.dcm", write_dicom)
    broken = tmp_path / "b.dcm"
    content = sound.read_bytes()
    start = content.index(b"\xff\x4f\xff\x51")
    broken.write_bytes(content[: start + 60] + b"\0" * 400 + content[start + 460 :])
    found = dict(undecodable([(1, sound, 8192), (2, broken, 8192), (3, sound, 8192)]))
    assert list(found) == [2]
    assert found[2].field == "Pixel Data"
    assert "do not decode" in found[2].got


def test_a_child_that_died_between_files_is_replaced(tmp_path: Path, write_dicom: Write) -> None:
    path = compressed(tmp_path / "a.dcm", write_dicom)
    trial = _Trial()
    try:
        assert trial.refusal(path, 5.0) is None
        assert trial._child is not None
        os.kill(trial._child.pid, signal.SIGKILL)
        trial._child.wait()
        assert trial.refusal(path, 5.0) is None
    finally:
        trial.stop()


def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, write_dicom: Write) -> None:
    path = compressed(tmp_path / "a.dcm", write_dicom)
    trial = _Trial()
    try:
        refusal = trial.refusal(path, 0.001)  # the modules alone take longer
        assert refusal is not None
        assert "within" in refusal.got
    finally:
        trial.stop()
