"""Writing in pixels is seen, the image is held, and goes when somebody has looked at it (FAULTS 28)."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ingest.errors import InputError
from ingest.privacy.burned_in import has_text
from ingest.privacy.keys import Keys
from ingest.privacy.run import deidentify

KEYS = Keys.of_secret(b"a secret")
SIDE = 256


def phantom(rng: np.random.Generator) -> NDArray[np.float64]:
    """A body of middle brightness with soft structures and noise, on black, in [0, 1]."""
    soft = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 20)
    soft = (soft - soft.min()) / np.ptp(soft)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    body = 1 / (1 + np.exp(((x / 0.42) ** 2 + (y / 0.46) ** 2 - 1) * 12))
    ribs = 0.15 * np.maximum(0, np.sin(y * 60 + (x * 6) ** 2)) ** 2
    return np.clip(body * (0.25 + 0.5 * soft + ribs) + 0.015 * rng.normal(size=soft.shape), 0, 1)


def written_on(image: NDArray[np.float64], rng: np.random.Generator, size: int, gray: int) -> NDArray[np.float64]:
    """The image with a name and a number somewhere on it."""
    picture = Image.fromarray((image * 255).astype(np.uint8))
    place = (rng.uniform(5, 60), rng.uniform(5, SIDE - 2 * size))
    ImageDraw.Draw(picture).text(place, "ARCHER 4815", fill=gray, font=ImageFont.load_default(size))
    return np.asarray(picture) / 255.0


def test_most_writing_is_seen_and_few_plain_images_are_held() -> None:
    rng = np.random.default_rng(1)
    plain = [phantom(rng) for _ in range(10)]
    assert sum(map(has_text, plain)) <= 1
    seen = [has_text(written_on(image, rng, size, 255)) for image in plain for size in (16, 24)]
    assert np.mean(seen) >= 0.8


def dicom(write_dicom: Callable[..., Path], path: Path, values: NDArray[np.float64], **changes: object) -> Path:
    pixels = (values * 255).astype(np.uint8)
    frames = {} if pixels.ndim == 2 else {"NumberOfFrames": len(pixels)}
    write_dicom(path, pixels[0] if pixels.ndim == 3 else pixels, PixelData=pixels.tobytes(), **frames, **changes)
    return path


def test_an_image_with_writing_is_held_and_let_go_after_a_look(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    """FAULTS 28: burned-in text on export is held for review; a mask takes it out."""
    rng = np.random.default_rng(2)
    image = written_on(phantom(rng), rng, 24, 255)
    dicom(write_dicom, tmp_path / "in" / "a.dcm", image)
    report = deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    assert (report.count("held"), report.count("written")) == (1, 0)
    assert list((tmp_path / "out").rglob("*.dcm")) == []
    held = tmp_path / "out-held"
    assert held.stat().st_mode & 0o777 == 0o700
    line = json.loads((held / "held.jsonl").read_text())
    assert (held / line["copy"]).stat().st_mode & 0o777 == 0o600
    reviews = tmp_path / "reviews"
    reviews.write_text(f"# seen\n{line['sha256']} mask 0 0 {SIDE} 100 0 100 {SIDE} 250\n")
    report = deidentify(tmp_path / "in", tmp_path / "out", KEYS, reviewed=reviews)
    assert (report.count("held"), report.count("written")) == (0, 1)
    (made,) = (tmp_path / "out" / "images").iterdir()
    shown = pydicom.dcmread(made)
    assert not shown.pixel_array[:250].any()
    assert np.array_equal(shown.pixel_array[250:], (image * 255).astype(np.uint8)[250:])
    assert "113101" in [code.CodeValue for code in shown.DeidentificationMethodCodeSequence]
    assert not held.exists()
    reviews.write_text(f"{line['sha256']} accept\n")
    deidentify(tmp_path / "in", tmp_path / "out", KEYS, reviewed=reviews)
    assert np.array_equal(pydicom.dcmread(made).pixel_array, (image * 255).astype(np.uint8))
    deidentify(tmp_path / "in", tmp_path / "out", KEYS)  # without the review it is taken back
    assert not made.exists()


def test_the_last_frame_is_looked_at_too(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    """FAULTS 28"""
    rng = np.random.default_rng(3)
    frames = [phantom(rng), phantom(rng), written_on(phantom(rng), rng, 24, 255)]
    dicom(write_dicom, tmp_path / "in" / "a.dcm", np.stack(frames))
    report = deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    assert report.reasons == {"held": {"what looks like text": 1}}


@pytest.mark.parametrize("said", [{"BurnedInAnnotation": "YES"}, {"Modality": "US"}, {"ConversionType": "WSD"}])
def test_what_the_header_says_is_enough(tmp_path: Path, write_dicom: Callable[..., Path], said: dict[str, str]) -> None:
    """FAULTS 28"""
    write_dicom(tmp_path / "in" / "a.dcm", **said)
    assert deidentify(tmp_path / "in", tmp_path / "out", KEYS).count("held") == 1


def test_a_review_that_cannot_be_read_stops_the_run(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    write_dicom(tmp_path / "in" / "a.dcm")
    (tmp_path / "reviews").write_text("0" * 64 + " mask 1 2 3\n")
    with pytest.raises(InputError, match="line 1: expected <sha256> accept"):
        deidentify(tmp_path / "in", tmp_path / "out", KEYS, reviewed=tmp_path / "reviews")
    assert not (tmp_path / "out").exists()
