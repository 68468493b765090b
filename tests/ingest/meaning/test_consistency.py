"""Channels that contradict each other are found out, and those that do not, or that hardly move, are left alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.meaning.consistency import inconsistent
from ingest.task import Consistency

NAMES = ["speed", "acceleration", "steering", "yaw rate"]
RATE = (Consistency(kind="rate", channel="speed", of="acceleration"),)
SIGN = (Consistency(kind="sign", channel="steering", of="yaw rate"),)
EVENTS = Path(__file__).parents[4] / "shared" / "data" / "driving-100car" / "events"


def drive(seed: int = 0, noise: float = 0.1, step_s: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thirty seconds of a car: hours before the index, values (T, 4) in m/s, m/s2, rad and rad/s, all observed."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(0, 30, step_s)
    acceleration = 2.5 * np.sin(seconds / 2 + rng.uniform(0, 6)) + np.sin(seconds / 0.9)
    speed = 15 + np.append(0, np.cumsum((acceleration[1:] + acceleration[:-1]) / 2 * step_s))
    steering = 0.2 * np.sin(seconds / 3 + rng.uniform(0, 6))
    values = np.stack([speed, acceleration, steering, steering * speed / 2.7], 1)
    values += noise * values.std(0) * rng.standard_normal(values.shape)
    return (seconds - seconds[-1]) / 3600, values, np.ones(values.shape, bool)


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.2, 0.5]))
@settings(max_examples=30, deadline=None)
def test_channels_that_obey_physics_pass(seed: int, step_s: float) -> None:
    hours, values, observed = drive(seed, step_s=step_s)
    assert inconsistent((*RATE, *SIGN), NAMES, hours, values, observed) is None


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_kilometres_per_hour_read_as_metres_per_second_are_found(seed: int) -> None:
    """FAULTS 20: the speed is 3.6 times what the acceleration says."""
    hours, values, observed = drive(seed)
    values[:, 0] *= 3.6
    why = inconsistent(RATE, NAMES, hours, values, observed)
    assert why is not None
    assert re.match(r"speed changes 3\.\d times as fast as acceleration says, as km/h read as m/s would;", why)
    assert "expected a ratio of 0.67 to 1.5" in why


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_steering_of_the_wrong_sign_is_found(seed: int) -> None:
    """FAULTS 20."""
    hours, values, observed = drive(seed)
    values[:, 2] *= -1
    why = inconsistent(SIGN, NAMES, hours, values, observed)
    assert why is not None
    assert "steering and yaw rate go in opposite directions" in why


def test_an_acceleration_of_the_wrong_sign_is_found_by_the_rate() -> None:
    hours, values, observed = drive()
    values[:, 1] *= -1
    assert "one of them has the wrong sign" in str(inconsistent(RATE, NAMES, hours, values, observed))


def test_what_cannot_be_told_passes() -> None:
    hours, values, observed = drive()
    still = values.copy()
    still[:, :2] = [15.0, 0.0]
    assert inconsistent(RATE, NAMES, hours, still, observed) is None, "nothing moves"
    noise = np.random.default_rng(0).standard_normal(values.shape)
    assert inconsistent((*RATE, *SIGN), NAMES, hours, noise * 50, observed) is None, "only noise"
    values[:, 0] *= 3.6
    assert inconsistent(RATE, NAMES, hours[:19], values[:19], observed[:19]) is None, "too short"
    observed[10:, 0] = False
    assert inconsistent(RATE, NAMES, hours, values, observed) is None, "hardly observed together"
    assert inconsistent(RATE, NAMES, hours[:0], values[:0], observed[:0]) is None


def test_an_offset_of_a_sensor_and_a_gap_in_the_record_change_nothing() -> None:
    hours, values, observed = drive()
    values[:, 1] += 0.8  # a sensor that is not level
    hours[150:] += 0.5
    values[150:, 0] += 20
    assert inconsistent(RATE, NAMES, hours, values, observed) is None
    values[:, 0] *= 3.6
    assert inconsistent(RATE, NAMES, hours, values, observed) is not None


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=20, max_size=60),
    st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60),
)
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers of this size overflow, which is no verdict
def test_any_numbers_give_a_verdict(one: list[float], other: list[float]) -> None:
    length = min(len(one), len(other))
    values = np.array([one[:length], other[:length]], np.float64).T
    checks = (
        Consistency(kind="rate", channel="a", of="b"),
        Consistency(kind="sign", channel="a", of="b"),
    )
    hours = np.arange(length) / 3600.0
    inconsistent(checks, ["a", "b"], hours, values, np.ones(values.shape, bool))


@pytest.mark.slow
def test_real_drives_pass_and_their_speed_in_another_unit_does_not() -> None:
    """FAULTS 20, on the 100-Car events: speed in mph, acceleration in g."""
    if not EVENTS.is_dir():
        pytest.skip(f"{EVENTS}: not here")
    from scipy.io import loadmat

    alarms = {1.0: 0, 3.6: 0}
    files = sorted(EVENTS.glob("*.mat"))[:150]
    for file in files:
        series = loadmat(file, squeeze_me=True, struct_as_record=False)["Data100Car"].TimeSeries[:, [4, 9]]
        values = np.asarray(series, np.float64) * [0.44704, 9.80665]
        observed = np.isfinite(values) & (values > -90)
        hours = np.arange(len(values)) / 36_000
        for factor in alarms:
            why = inconsistent(RATE, NAMES[:2], hours, values * [factor, 1], observed)
            alarms[factor] += why is not None
    assert alarms[1.0] <= 0.02 * len(files)
    assert alarms[3.6] >= 0.35 * len(files)
