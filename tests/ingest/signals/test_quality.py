"""FAULTS 19: flat lines, missing samples, clipping, wrong rates and wrong units are found, and sound signals pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.signals.quality import clipped, gaps, judge_recording, lead_fault
from ingest.signals.signal import SOUND, Lead

RATE = 250


def beat(seconds: float = 10, rate_hz: int = RATE) -> np.ndarray:
    """Something like an electrocardiogram in millivolts: a spike each second on a wandering line, with noise."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    spike = np.exp(-(((time % 1.0) - 0.5) ** 2) / (2 * 0.01**2))
    noise = np.random.default_rng(0).normal(0, 0.01, len(time))
    return (spike + 0.1 * np.sin(time) + noise).astype(np.float32)


def lead(samples: np.ndarray, name: str = "I", unit: str = "mV", rate_hz: float = RATE, **more: object) -> Lead:
    return Lead(name, np.asarray(samples, np.float32), rate_hz, unit, **more)  # type: ignore[arg-type]


def test_a_good_lead_has_no_fault() -> None:
    good = lead(beat(), rails=(-5.0, 5.0))
    assert lead_fault(good) is None
    assert judge_recording([good]).problem == ""
    assert judge_recording([good], plausible=(0.1, 10)).used == ("I",)


@pytest.mark.parametrize("value", [0.0, 1.3, -5.0])
def test_a_flat_line_is_found(value: float) -> None:
    """FAULTS 19."""
    assert lead_fault(lead(np.full(2500, value))) == "flat line"
    mostly = beat()
    mostly[400:] = value
    assert lead_fault(lead(mostly)) == "flat line"


def test_a_run_of_missing_samples_is_found() -> None:
    """FAULTS 19."""
    some = beat()
    some[100:800] = np.nan
    assert lead_fault(lead(some)) == "gaps in 28% of it"
    assert lead_fault(lead(np.full(100, np.nan))) == "no samples"
    assert lead_fault(lead(np.zeros(0))) == "no samples"
    few = beat()
    few[100:200] = np.nan
    assert lead_fault(lead(few)) is None
    assert gaps(lead(few)).sum() == 100


def test_a_lost_connection_is_a_gap_from_a_second_on() -> None:
    some = beat()
    some[500:740] = some[500]  # a little less than a second
    assert not gaps(lead(some)).any()
    some[500:750] = some[500]
    assert gaps(lead(some)).sum() == 250


def test_what_lies_at_the_recorders_end_is_clipped() -> None:
    high = np.clip(beat() * 8, -5, 5)
    assert clipped(lead(high, rails=(-5, 5))).mean() > 0.01
    assert "clipped" in str(lead_fault(lead(high, rails=(-5, 5))))
    assert lead_fault(lead(high)) is None  # without the ends one cannot know: a signal may rest there
    assert "clipped" in str(lead_fault(lead(np.clip(np.random.default_rng(0).normal(0, 1, 2500), -0.5, 0.5))))


def test_a_trend_in_few_steps_is_not_taken_for_a_broken_signal() -> None:
    saturation = np.repeat([96, 97, 98, 97, 100, 100], 30)
    assert lead_fault(lead(saturation, unit="%", rate_hz=1, rails=(0, 100))) is None
    assert lead_fault(lead(np.full(180, 97), unit="%", rate_hz=1)) == "flat line"
    steps = np.random.default_rng(0).integers(0, 4, 5000) // np.array(1)
    assert lead_fault(lead(steps, rate_hz=250)) is None


def test_silence_within_a_sound_is_no_gap_but_silence_alone_is() -> None:
    cough = np.zeros(6000)
    cough[3000:4000] = np.random.default_rng(0).normal(0, 0.1, 1000)
    assert lead_fault(lead(cough, unit=SOUND, rate_hz=1000)) == "gaps in 83% of it"
    cough[2000:4000] = np.random.default_rng(0).normal(0, 0.1, 2000)
    assert lead_fault(lead(cough, unit=SOUND, rate_hz=1000)) is None
    assert lead_fault(lead(cough * 0, unit=SOUND, rate_hz=1000)) == "flat line"


def test_a_rate_that_is_not_the_tasks_is_found() -> None:
    """FAULTS 19, wrong sample rate."""
    assert lead_fault(lead(beat()), rates_hz=(400, 1000)) == "sample rate 250 Hz, expected 400 to 1000 Hz"
    assert lead_fault(lead(beat()), highest_hz=150) == "sample rate 250 Hz, which holds nothing up to 150 Hz"
    assert lead_fault(lead(beat()), rates_hz=(200, 300), highest_hz=40) is None


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1000, "uV may have been read as mV"),
        (0.001, "V may have been read as mV"),
        (1e-6, None),
        (1e7, None),
    ],
)
def test_a_millivolt_read_as_a_microvolt_is_found(factor: float, said: str | None) -> None:
    """FAULTS 19: the message names the reading that would fit."""
    quality = judge_recording([lead(beat() * factor), lead(beat() * factor, "II")], plausible=(0.1, 10))
    assert quality.used == ()
    assert quality.problem.startswith("median range ")
    assert "expected 0.1 to 10 mV" in quality.problem
    assert ("read as" in quality.problem) == (said is not None)
    assert (said or "") in quality.problem


def test_one_bad_lead_is_named_and_the_others_are_used() -> None:
    leads = [lead(beat()), lead(np.zeros(2500), "V3"), lead(np.zeros(2500), "V4")]
    quality = judge_recording(leads)
    assert quality.used == ("I",)
    assert quality.problem == "partly: leads V3, V4: flat line"


def test_leads_that_are_all_bad_are_summed_up() -> None:
    flat = [lead(np.zeros(2500), name) for name in ("I", "II")]
    assert judge_recording(flat).problem == "flat line in all leads"
    assert judge_recording(flat[:1]).problem == "lead I: flat line"
    mixed = [*flat, lead(np.full(100, np.nan), "III")]
    assert judge_recording(mixed).problem == "leads I, II: flat line; lead III: no samples"


@given(st.lists(st.sampled_from([0.0, 1.0, np.nan, -2.0]), max_size=60), st.sampled_from([1.0, 4.0, 25.0]))
def test_gaps_are_the_missing_and_the_long_runs_by_a_slow_count(samples: list[float], rate_hz: float) -> None:
    found = gaps(lead(np.array(samples), rate_hz=rate_hz))
    shortest = len(samples) if rate_hz < 20 else min(round(rate_hz), len(samples))
    for at, value in enumerate(samples):
        run = 0 if np.isnan(value) else 1
        for step in (-1, 1):
            place = at + step
            while run and 0 <= place < len(samples) and samples[place] == value:
                run, place = run + 1, place + step
        assert found[at] == (np.isnan(value) or run >= max(shortest, 1))
