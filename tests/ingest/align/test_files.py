"""Images: real files to arrays, and files that are gone, broken or changed."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ingest.align.image import fit_image, holds_8_bits
from ingest.delivery.shown_names import mask
from ingest.files import sha256_of
from ingest.identity.bearing import bearing_of
from ingest.identity.register import Claim, IdentityRegister
from ingest.identity.store import NAME


def file_row(subject: int, path: Path, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "code": "FILE", "hours": 5, "asset": str(path), **more}


def xray(**more: Any) -> dict[str, Any]:
    return {"xray": {"kind": "image", "codes": ["FILE"], "shape": [8, 8], **more}}


def test_proportions_stay_and_borders_are_black() -> None:
    out = fit_image(np.ones((10, 20), np.float32), (16, 16), 1)
    assert out.shape == (1, 16, 16)
    assert (out[0, 4:12] == 1).all()
    assert out.sum() == 8 * 16


def test_shrinking_averages_fine_patterns_away() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    assert np.allclose(fit_image(stripes, (8, 8), 1)[0, :, 1:-1], 0.5, atol=0.02)


def test_colour_to_grey_and_back() -> None:
    red = np.zeros((4, 4, 3), np.float32)
    red[..., 0] = 1
    assert np.allclose(fit_image(red, (4, 4), 1), 0.299)
    assert fit_image(np.full((4, 4), 0.5, np.float32), (4, 4), 3).shape == (3, 4, 4)


def test_eight_bit_sources_are_stored_in_eight_bits(tmp_path: Path, people: Any, task_of: Any, aligned: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "8.png")
    deep = pixels.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "16.png")
    assert [holds_8_bits(tmp_path / name) for name in ("8.png", "16.png", "none.png", "x.jpg")] == [
        True, False, False, True,
    ]  # fmt: skip
    for name, dtype in (("8.png", np.uint8), ("16.png", np.float16)):
        _, cohort = aligned([*people(), file_row(1, tmp_path / name)], task_of(xray()), name=name)
        assert cohort.arrays(0, "xray").values.dtype == dtype
        values = cohort.batch([0]).streams["xray"].values[0, 0, 0].numpy()
        assert np.allclose(values, pixels / 255, atol=1e-3)


def test_a_changed_or_broken_file_is_refused_and_the_rest_goes_on(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    good, changed, broken = (tmp_path / name for name in ("good.png", "changed.png", "broken.png"))
    for path in (good, changed):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    rows = [
        *people(),
        file_row(1, good, asset_sha256=sha256_of(good)),
        file_row(2, changed, asset_sha256="0" * 64),
        file_row(3, broken),
        file_row(4, tmp_path / "gone.png"),
        {"subject": 5, "code": "FILE", "hours": 5},
    ]
    report, cohort = aligned(rows, task_of(xray()))
    stream = report.streams["xray"]
    assert cohort.present[:, 0].tolist() == [True] + [False] * 19
    assert stream.left_out == {"unreadable or changed": 3, "without a file": 1}
    assert len(stream.refusals) == 3
    assert f"{changed}, sha256: expected 000000000000…" in stream.refusals[0]
    assert "ingest it again" in stream.refusals[0]
    assert all("\n" not in line for line in stream.refusals)


def test_the_latest_images_are_kept_oldest_first(tmp_path: Path, people: Any, task_of: Any, aligned: Any) -> None:
    rows = people()
    for hour in (1, 2, 3):
        Image.fromarray(np.full((8, 8), hour * 50, np.uint8)).save(tmp_path / f"{hour}.png")
        rows.append({**file_row(1, tmp_path / f"{hour}.png"), "hours": hour})
    report, cohort = aligned(rows, task_of(xray(max_images=2)))
    stream = cohort.batch([0]).streams["xray"]
    assert np.allclose(stream.values[0, :, 0, 0, 0] * 255, [100, 150], atol=1e-3)
    assert stream.hours[0].tolist() == [-22, -21]
    assert report.streams["xray"].left_out == {"older than the latest kept": 1}


@pytest.mark.parametrize("window", [None, 10])
def test_files_outside_the_window_or_future_are_never_opened(
    window: float | None, tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "ok.png")
    rows = [*people(), {**file_row(1, tmp_path / "ok.png"), "hours": 20}, {**file_row(1, tmp_path / "x"), "hours": 30}]
    report, _ = aligned(rows, task_of(xray(window_hours=window)))
    assert report.streams["xray"].refusals == ()


def test_a_folder_named_by_a_bare_identifier_is_masked_in_what_is_refused(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 37"""
    register = IdentityRegister(tmp_path / "identities")
    register.register([("ward", "2019")], Claim())
    register.save()
    (tmp_path / "2019").mkdir()
    (tmp_path / "2019" / "0001.png").write_bytes(b"no image")
    rows = [*people(), file_row(1, tmp_path / "2019" / "0001.png")]
    bearing = bearing_of(tmp_path / "identities")
    report, cohort = aligned(rows, task_of(xray()), bearing=bearing)
    (line,) = report.streams["xray"].refusals
    assert "/2019/" not in line
    assert mask("2019") in line
    assert "/2019/" not in (cohort.folder / "report.json").read_text()


def test_what_cannot_be_asked_of_a_register_that_is_being_written_counts_as_borne(tmp_path: Path) -> None:
    register = IdentityRegister(tmp_path)
    register.stated_subject("ward", "Ann-7")
    register.save()
    register.close()
    bearing = bearing_of(tmp_path)
    assert bearing({"ann-7", "labs"}) == {"ann-7"}
    writer = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert bearing({"ann-7", "labs"}) == {"ann-7", "labs"}
    writer.close()
