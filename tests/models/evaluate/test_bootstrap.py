"""Bootstrap intervals cover, respect subjects, and are quick."""

import time

import numpy as np
import pytest

from models.evaluate.bootstrap import (
    basic_interval,
    bootstrap_interval,
    draw_resamples,
    paired_difference,
    paired_ratio,
)
from models.evaluate.calibration_curve import calibration_error
from models.evaluate.metrics import OneClassError, UndefinedError, auroc, brier, calibration_slope


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_interval_of_auroc_covers_the_truth_as_often_as_it_says() -> None:
    from scipy.stats import norm

    truth = norm.cdf(1 / np.sqrt(2))  # the AUROC of N(1, 1) against N(0, 1)
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.repeat([0.0, 1.0], [90, 40])
        risk = sigmoid(rng.normal(size=130) + y)
        interval = bootstrap_interval(auroc, y, risk, draw_resamples(y, np.arange(130), rng, 300))
        covered += interval.low <= truth <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    rng = np.random.default_rng(0)
    y, risk = (rng.random(2000) < 0.3).astype(float), rng.random(2000)
    interval = bootstrap_interval(brier, y, risk, draw_resamples(y, np.arange(2000), rng, 2000))
    half = 1.96 * ((risk - y) ** 2).std() / np.sqrt(2000)
    assert interval.value == pytest.approx(((risk - y) ** 2).mean())
    assert (interval.low, interval.high) == pytest.approx((interval.value - half, interval.value + half), abs=half / 8)


def test_the_basic_interval_of_a_calibration_error_reaches_zero_where_risks_are_calibrated() -> None:
    reached = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        risk = sigmoid(rng.normal(-1, 1.4, 200))
        y = (rng.random(200) < risk).astype(float)
        interval = basic_interval(calibration_error, y, risk, draw_resamples(y, np.arange(200), rng, 200))
        assert interval.low <= interval.value <= interval.high
        reached += interval.low == 0
    assert reached / 60 >= 0.8


def test_cases_of_a_subject_are_drawn_together_and_make_the_interval_wider() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(100) < 0.4).astype(float)
    risk = sigmoid(rng.normal(size=100) + y)
    y, risk, subjects = np.repeat(y, 8), np.repeat(risk, 8), np.repeat(np.arange(100), 8)
    clustered = draw_resamples(y, subjects, rng)
    weights = np.concatenate(list(clustered.weights())).reshape(1000, 100, 8)
    assert (weights == weights[:, :, :1]).all()
    whole = bootstrap_interval(auroc, y, risk, clustered)
    single = bootstrap_interval(auroc, y, risk, draw_resamples(y, np.arange(800), rng))
    assert (whole.high - whole.low) / (single.high - single.low) == pytest.approx(np.sqrt(8), rel=0.2)


def test_a_resample_with_one_class_is_drawn_again_and_counted() -> None:
    y = np.array([1.0] + [0.0] * 19)
    resamples = draw_resamples(y, np.arange(20), np.random.default_rng(0), 500)
    missing = 0.95**20  # how often a draw misses the event
    assert resamples.redrawn == pytest.approx(500 * missing / (1 - missing), rel=0.25)
    events = np.concatenate(list(resamples.weights())) @ y
    assert (events > 0).all()


def test_one_class_is_refused_and_a_single_subject_is_not() -> None:
    with pytest.raises(OneClassError, match="0 events in 4 cases"):
        draw_resamples(np.zeros(4), np.arange(4), np.random.default_rng(0))
    alone = draw_resamples(np.array([0.0, 1.0]), np.zeros(2), np.random.default_rng(0), 10)
    assert (alone.counts == 1).all()


def test_a_paired_difference_is_narrower_than_an_unpaired_one_and_its_p_agrees_with_it() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=400)
    y = (rng.random(400) < sigmoid(1.5 * x - 1)).astype(float)
    better, worse = sigmoid(x), sigmoid(x + rng.normal(size=400))
    resamples = draw_resamples(y, np.arange(400), rng)
    contrast = paired_difference(auroc, y, better, worse, resamples)
    single = [bootstrap_interval(auroc, y, risk, resamples) for risk in (better, worse)]
    assert contrast.high - contrast.low < 0.95 * np.hypot(*(interval.high - interval.low for interval in single))
    assert contrast.low > 0
    assert contrast.p < 0.05
    mirrored = paired_difference(auroc, y, worse, better, resamples)
    assert (mirrored.low, mirrored.high) == pytest.approx((-contrast.high, -contrast.low), abs=2e-3)
    same = paired_difference(auroc, y, better, better, resamples)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert paired_ratio(auroc, y, worse, better, resamples).high < 1


def test_p_is_uniform_where_there_is_no_difference() -> None:
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=150)
        y = (rng.random(150) < sigmoid(x)).astype(float)
        a, b = (sigmoid(x + rng.normal(size=150)) for _ in range(2))
        found.append(paired_difference(auroc, y, a, b, draw_resamples(y, np.arange(150), rng, 200)).p)
    assert np.mean(np.array(found) < 0.05) <= 0.12
    assert 0.35 < np.mean(np.array(found) < 0.5) < 0.65


def test_a_measure_without_value_says_why() -> None:
    y = np.repeat([0.0, 1.0], 20)
    resamples = draw_resamples(y, np.arange(40), np.random.default_rng(0), 50)
    with pytest.raises(UndefinedError, match="calibration_slope: no finite value; all cases have the same risk"):
        bootstrap_interval(calibration_slope, y, np.full(40, 0.3), resamples)


def test_the_same_generator_gives_the_same_interval_and_a_thousand_resamples_take_well_under_a_second() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random(500) < 0.25).astype(float)
    risk = sigmoid(rng.normal(size=500) + y)
    started = time.perf_counter()
    first = bootstrap_interval(auroc, y, risk, draw_resamples(y, np.arange(500), np.random.default_rng(7)))
    assert time.perf_counter() - started < 1
    assert first == bootstrap_interval(auroc, y, risk, draw_resamples(y, np.arange(500), np.random.default_rng(7)))
