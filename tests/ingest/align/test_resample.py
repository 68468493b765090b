"""Resampling along axes: exact on slopes, as Pillow on pictures, and nothing invented outside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ingest.align.resample import Axis, resample_plane, weights


@settings(deadline=None)
@given(st.integers(2, 400), st.integers(1, 60), st.floats(0.2, 12), st.floats(-5, 5))
def test_every_output_inside_is_an_average_and_every_one_outside_is_zero(
    source: int, size: int, step: float, shift: float
) -> None:
    axis = Axis(source, size, (source - 1) / 2 + shift, step, 0, source)
    totals = weights(axis) @ np.ones(source, np.float32)
    assert np.allclose(totals[axis.inside], 1, atol=1e-5)
    assert not totals[~axis.inside].any()


@pytest.mark.parametrize("step", [0.4, 1.0, 1.1, 1.7, 2.0, 3.3, 7.7])
def test_a_slope_stays_exact_away_from_the_borders(step: float) -> None:
    axis = Axis(300, 20, 149.3, step, 0, 300)
    assert np.allclose(weights(axis) @ np.arange(300, dtype=np.float32), axis.positions, atol=1e-4)


def test_enlarging_is_plain_linear_interpolation() -> None:
    signal = np.random.default_rng(0).random(40).astype(np.float32)
    axis = Axis(40, 50, 19.2, 0.37, 0, 40)
    assert np.allclose(weights(axis) @ signal, np.interp(axis.positions, np.arange(40), signal), atol=1e-6)


@pytest.mark.parametrize(("source", "size"), [(2500, 224), (50, 96), (512, 128)])
def test_whole_pictures_come_out_as_from_pillow(source: int, size: int) -> None:
    rows = np.linspace(0, 9, source, dtype=np.float32)[:, None]
    picture = (np.sin(rows) * np.cos(rows.T * 2)).astype(np.float32)
    axis = Axis.whole(source, size)
    expected = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(resample_plane(picture, axis, axis) - expected).max() < 0.01


def test_values_are_clipped_before_they_are_averaged() -> None:
    plane = np.tile(np.array([0, 4000], np.uint16), (8, 4))
    axis = Axis.whole(8, 2)
    clipped = resample_plane(plane, axis, axis, clip=(0, 1000))
    assert clipped.max() < 600


def test_only_pixels_of_the_box_count() -> None:
    plane = np.zeros((10, 10), np.float32)
    plane[3:7, 2:8] = 1
    rows, columns = Axis(10, 4, 4.5, 1.0, 3, 7), Axis(10, 3, 4.5, 2.0, 2, 8)
    assert np.allclose(resample_plane(plane, rows, columns), 1)
