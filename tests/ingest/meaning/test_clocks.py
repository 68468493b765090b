"""A clock that is off is noticed, told, and above a tolerance refused (FAULTS 11)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.account.quarantine import Refusal
from ingest.meaning.clocks import ClockWatch, check_order

MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE


def test_the_offset_of_a_clock_that_is_ahead_is_told() -> None:
    """FAULTS 11: the monitor is ten minutes ahead of the server, which releases its values at once."""
    watch = ClockWatch()
    time = np.full(5, DAY)
    refused = watch.add(time, time - np.array([10, 10, 11, 0, -2]) * MINUTE)
    assert not refused.any()
    assert watch.notes() == {
        "clocks disagree: measured 10 min (median) after it was known; counts as known when measured": 3
    }


def test_above_the_tolerance_values_are_refused_with_the_offset() -> None:
    """FAULTS 11: a device with a wrong date."""
    watch = ClockWatch()
    time = np.full(3, 10 * DAY)
    assert watch.add(time, np.array([7 * DAY, 9 * DAY, 10 * DAY])).tolist() == [True, False, False]
    with pytest.raises(Refusal) as refusal:
        watch.add_one(10 * DAY, 7 * DAY)
    assert refusal.value.got == "one known 3 days before"
    assert refusal.value.expected == "a value to be known after it was measured, or up to 24 h before"
    assert watch.noticed == 1, "what is refused is not told twice"


def test_clocks_that_agree_say_nothing() -> None:
    watch = ClockWatch()
    watch.add(np.zeros(3, np.int64), np.array([30, 0, -0.5]) * MINUTE)
    watch.add(np.zeros(0, np.int64), np.zeros(0, np.int64))
    watch.add_one(0, MINUTE)
    assert watch.notes() == {}


@given(st.lists(st.integers(-3 * DAY, 3 * DAY), min_size=1, max_size=30))
def test_one_by_one_and_together_say_the_same(leads: list[int]) -> None:
    together, alone = ClockWatch(), ClockWatch()
    refused = together.add(np.array(leads), np.zeros(len(leads), np.int64))
    for lead, expected in zip(leads, refused.tolist(), strict=True):
        if expected:
            with pytest.raises(Refusal):
                alone.add_one(lead, 0)
        else:
            alone.add_one(lead, 0)
    assert alone.notes() == together.notes()


def test_a_stream_whose_time_runs_backwards_is_told() -> None:
    """FAULTS 11."""
    hours = np.array([0, 1, 2, 1.5, 1.75, 3])
    assert check_order(hours) == "time runs backwards at 2 of 6 samples, by up to 30 min"
    assert check_order(hours, tolerance_hours=0.5) is None


@given(st.lists(st.floats(-1e6, 1e6), max_size=50))
def test_time_in_order_is_never_complained_of(hours: list[float]) -> None:
    assert check_order(np.sort(np.array(hours))) is None
    if len(set(hours)) > 1:
        assert check_order(np.sort(np.array(hours))[::-1]) is not None
