"""Sample rates, bands and gaps of signals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.align.filtering import band_pass, bridged, mask_at_rate, ratio, resample


def tone(hz: float, rate_hz: float, seconds: float = 4) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


def test_resampling_keeps_a_low_tone_and_removes_what_would_alias() -> None:
    low = resample(tone(200, 44_100, 1), 44_100, 4000)
    assert len(low) == 4000
    assert np.allclose(low[500:-500], tone(200, 4000, 1)[500:-500], atol=0.01)
    assert np.abs(resample(tone(3000, 44_100, 1), 44_100, 4000)[500:-500]).max() < 0.01


@pytest.mark.parametrize("from_hz", [257.3, 999.99, 360, 62.5, 31.25])
def test_rates_that_are_no_whole_ratio_are_met_closely(from_hz: float) -> None:
    found = resample(tone(5, from_hz), from_hz, 100, pad="line")
    assert abs(len(found) - 400) <= 1
    count = min(len(found), 400)
    assert np.allclose(found[20 : count - 20], tone(5, 100)[20 : count - 20], atol=0.02)


def test_an_offset_makes_no_step_at_the_ends() -> None:
    found = resample(tone(5, 500) + 100, 500, 100, pad="line")
    assert np.abs(found - (tone(5, 100) + 100)).max() < 0.1


@given(st.floats(0.01, 1e6), st.integers(1, 48_000))
def test_the_ratio_is_of_bounded_size_and_near(from_hz: float, to_hz: int) -> None:
    up, down = ratio(from_hz, to_hz)
    assert min(up, down) >= 1
    if not float(from_hz).is_integer():
        assert max(up, down) <= 10_000
        if 1e-3 < to_hz / from_hz < 1e3:
            assert up / down == pytest.approx(to_hz / from_hz, rel=0.06)


@pytest.mark.parametrize(("hz", "gain"), [(0.1, 0.0), (0.5, 0.5), (5, 1.0), (40, 0.5), (90, 0.0)])
def test_the_band_is_that_of_a_butterworth_filter_run_both_ways(hz: float, gain: float) -> None:
    """The gain at either end of the band is a half: 1 / sqrt(2), twice."""
    samples = tone(hz, 250, 60)
    found = band_pass(samples, 250, (0.5, 40))[2000:-2000]
    assert np.sqrt(2) * found.std() == pytest.approx(gain, abs=0.03)
    if gain == 1:
        assert np.allclose(found, samples[2000:-2000], atol=0.03)  # and nothing is shifted


@pytest.mark.parametrize("length", [0, 1, 5, 30])
def test_short_signals_pass(length: int) -> None:
    if length:
        assert len(band_pass(np.ones(length, np.float32), 100, (1, 10))) == length
    assert len(resample(np.ones(length, np.float32), 100, 50)) == -(-length // 2)


def test_gaps_are_bridged_by_straight_lines_and_known_at_the_new_rate() -> None:
    samples = np.array([0, 1, np.nan, np.nan, 4, 5, np.nan], np.float32)
    missing = np.isnan(samples)
    assert bridged(samples, missing).tolist() == [0, 1, 2, 3, 4, 5, 5]
    assert bridged(samples, np.ones(7, bool)).tolist() == [0] * 7
    assert mask_at_rate(missing, 100, 200, 14).tolist() == [
        False, False, False, True, True, True, True, False, False, False, False, True, True, True,
    ]  # fmt: skip
