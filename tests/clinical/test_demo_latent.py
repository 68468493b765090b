"""The demo ward's risk: calibrated, bounded by what the files can know, and the same however many are asked for."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from clinical.ward.latent import (
    INTERCEPT,
    MODALITIES,
    NOTE_STEP,
    NOTES,
    PRESENT,
    RHO,
    TAU,
    WEIGHTS,
    Latent,
    attainable_risk,
    draw_latent,
    without_modalities,
)


@pytest.fixture(scope="module")
def many() -> Latent:
    return draw_latent(40_000, 11)


def test_about_22_percent_deteriorate(many: Latent) -> None:
    assert many.risk.mean() == pytest.approx(0.22, abs=0.01)
    assert many.outcome.mean() == pytest.approx(many.risk.mean(), abs=0.006)


def test_the_attainable_risk_is_calibrated(many: Latent) -> None:
    bins = np.digitize(many.attainable_risk, np.linspace(0.1, 0.9, 9))
    for number in range(10):
        of_bin = bins == number
        error = 4 * np.sqrt(0.25 / of_bin.sum())
        assert many.outcome[of_bin].mean() == pytest.approx(many.attainable_risk[of_bin].mean(), abs=error)


def test_files_allow_0_91_to_0_93_and_knowing_the_factors_more(many: Latent) -> None:
    attainable = roc_auc_score(many.outcome, many.attainable_risk)
    assert 0.91 < attainable < 0.93
    assert attainable < roc_auc_score(many.outcome, many.risk) < attainable + 0.04


@pytest.mark.parametrize("name", MODALITIES)
def test_each_modality_alone_says_less_and_each_is_missed(many: Latent, name: str) -> None:
    place = MODALITIES.index(name)
    having = many.has[:, place]
    assert 0.70 < roc_auc_score(many.outcome[having], many.readings[having, place]) < 0.80
    rest = attainable_risk(many.readings, without_modalities(many.has, [name]))
    loss = roc_auc_score(many.outcome, many.attainable_risk) - roc_auc_score(many.outcome, rest)
    assert 0.005 < loss < 0.035


def test_modalities_are_absent_as_often_as_stated(many: Latent) -> None:
    np.testing.assert_allclose(many.has.mean(axis=0), PRESENT, atol=0.01)


def test_absence_says_nothing(many: Latent) -> None:
    for place in range(3, 6):
        assert roc_auc_score(many.outcome, many.has[:, place]) == pytest.approx(0.5, abs=0.01)


def test_without_any_modality_the_risk_is_that_of_everybody(many: Latent) -> None:
    nothing = attainable_risk(many.readings[:3], np.zeros((3, len(MODALITIES)), bool))
    np.testing.assert_allclose(nothing, many.risk.mean(), atol=0.005)


def test_one_reading_gives_the_integral_of_the_textbook() -> None:
    """Given one reading r, factor m has mean r / (1 + tau^2), and the others rho^2 times that."""
    place, reading = 1, 1.3
    total = (1 - RHO**2) * WEIGHTS[place] + RHO**2 * WEIGHTS.sum()  # the covariance of L with z_m
    mean = INTERCEPT + total * reading / (1 + TAU[place] ** 2)
    variance = (1 - RHO**2) * (WEIGHTS**2).sum() + RHO**2 * WEIGHTS.sum() ** 2 - total**2 / (1 + TAU[place] ** 2)
    expected, _ = quad(lambda logit: expit(logit) * norm.pdf(logit, mean, np.sqrt(variance)), -20, 20)
    readings, has = np.zeros((1, 6)), np.zeros((1, 6), bool)
    readings[0, place], has[0, place] = reading, True
    assert attainable_risk(readings, has)[0] == pytest.approx(expected, abs=1e-6)


def test_a_note_alone_gives_the_rate_among_those_with_its_level(many: Latent) -> None:
    level = 2 * NOTE_STEP
    same = np.isclose(many.readings[:, NOTES], level)
    only_notes = np.arange(6)[None] == NOTES
    stated = attainable_risk(np.full((1, 6), level), only_notes)[0]
    assert many.risk[same].mean() == pytest.approx(stated, abs=0.02)


def test_a_reading_that_is_absent_is_not_used(many: Latent) -> None:
    other = np.where(many.has, many.readings, 99.0)
    np.testing.assert_allclose(attainable_risk(other, many.has), many.attainable_risk)


def test_the_first_patients_are_the_same_however_many_are_drawn(many: Latent) -> None:
    few = draw_latent(7, 11)
    np.testing.assert_array_equal(few.readings, many.readings[:7])
    np.testing.assert_array_equal(few.outcome, many.outcome[:7])
