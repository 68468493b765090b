"""Names of leads and units of signals."""

import numpy as np
import pytest

from ingest.signals.signal import Lead, Recording, factor_between, key_of, lead_name, ucum, with_prefix


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Lead I", "I"),
        ("lead aVR", "aVR"),
        ("Lead I (Einthoven)", "I"),
        ("(a)", "(a)"),
        ("ECG V1", "V1"),
        ("EKG Lead II", "II"),
        ("EEG Fpz-Cz", "Fpz-Cz"),
        ("  MLII ", "MLII"),
        ("ECG", "ECG"),
        ("Lead", "Lead"),
        ("Leader", "Leader"),
        ("channel 1", "channel 1"),
    ],
)
def test_what_is_said_around_a_leads_name_is_left_out(written: str, name: str) -> None:
    assert lead_name(written) == name


def test_leads_are_found_however_they_are_spelt() -> None:
    lead = Lead("aVR", np.zeros(1, np.float32), 1.0, "mV")
    assert Recording((lead,)).lead("Lead AVR") is lead
    assert Recording((lead,)).lead("aVL") is None
    assert key_of("V1") != key_of("V10")


@pytest.mark.parametrize(
    ("written", "unit"), [("µV", "uV"), ("\u03bcV", "uV"), (" mmHg", "mm[Hg]"), ("mV", "mV"), ("xyz", "xyz")]
)
def test_units_as_files_write_them_become_ucum(written: str, unit: str) -> None:
    assert ucum(written) == unit


@pytest.mark.parametrize(
    ("unit", "wanted", "factor"),
    [
        ("V", "mV", 1e3),
        ("uV", "mV", 1e-3),
        ("nV", "V", 1e-9),
        ("kPa", "Pa", 1e3),
        ("1", "1", 1.0),
        ("mV", "mm[Hg]", None),
        ("mV", "V/s", None),
        ("", "mV", None),
        ("m", "mV", None),
    ],
)
def test_units_that_differ_by_a_prefix_are_converted_and_no_others(unit: str, wanted: str, factor: float) -> None:
    assert factor_between(unit, wanted) == (None if factor is None else pytest.approx(factor))


def test_the_unit_a_thousand_times_as_small() -> None:
    assert [with_prefix("mV", power) for power in (-3, 3, -6, 1)] == ["uV", "V", "nV", None]
    assert with_prefix("/min", 3) is None
