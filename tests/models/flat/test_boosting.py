"""The flat features say what they claim, and the baseline learns from them."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from ingest.cohort import Cohort, StreamArrays
from models.evaluate.metrics import OneClassError, auroc, measure
from models.flat import features as flat
from models.flat.boosting import train_gradient_boosting
from models.flat.features import bag_of_tokens, fit_flat, flat_features

MakeCohort = Callable[..., Cohort]


def test_columns_have_names_and_a_missing_stream_is_nan_in_all_of_its_columns(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(120, 5, shards=3)
    columns, names = flat_features(cohort, cohort.rows())
    assert columns.shape == (120, len(names))
    assert columns.dtype == np.float32
    assert len(set(names)) == len(names)
    for position, stream in enumerate(cohort.stream_names):
        mine = columns[:, [name.startswith(f"{stream}: ") for name in names]]
        assert (np.isnan(mine).all(1) == ~cohort.present[:, position]).all(), stream


def test_columns_are_those_of_each_case_whatever_the_order_and_company(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(120, 5, shards=3)
    features = fit_flat(cohort, cohort.rows("train"), 0)
    whole, _ = features.columns(cohort, cohort.rows())
    some = np.array([100, 3, 57, 3])
    np.testing.assert_allclose(features.columns(cohort, some)[0], whole[some], rtol=1e-5, atol=1e-5)


def test_series_are_summed_up_by_time_not_by_position() -> None:
    values = np.array([[[5.0], [1.0], [3.0], [99.0]]])
    hours = np.array([[-1.0, -3.0, -2.0, 0.0]])
    observed = np.array([[[True], [True], [True], [False]]])
    found = flat._series(StreamArrays(values, observed, hours))[0]
    assert found == pytest.approx([5, 3, 1, 5, 2, 3, 1])  # last, mean, min, max, slope, count, hours since
    lone = flat._series(StreamArrays(values, observed & (hours == -3)[:, :, None], hours))[0]
    assert np.isnan(lone[4])
    assert lone[[0, 5, 6]] == pytest.approx([1, 1, 3])


def test_an_image_is_pooled_by_blocks_and_the_latest_is_taken() -> None:
    old, new = np.zeros((1, 16, 24)), np.kron(np.arange(64.0).reshape(8, 8), np.ones((2, 3)))[None]
    arrays = StreamArrays(np.stack([new, old])[None], np.ones((1, 2), bool), np.array([[-1.0, -9.0]]))
    found = flat._image(arrays)[0]
    assert found[:64] == pytest.approx(np.arange(64))
    assert found[64:] == pytest.approx([31.5, np.arange(64).std()], rel=1e-5)


def test_a_volume_and_an_image_smaller_than_the_grid_are_pooled_too() -> None:
    volume = StreamArrays(np.ones((2, 1, 1, 5, 9, 12)), np.ones((2, 1), bool), np.zeros((2, 1)))
    assert flat._image(volume).shape == (2, 4 * 8 * 8 + 2)
    small = StreamArrays(np.ones((2, 1, 3, 6, 6)), np.ones((2, 1), bool), np.zeros((2, 1)))
    assert flat._image(small).shape == (2, 3 * 36 + 6)


def test_sound_is_averaged_over_the_observed_frames_only() -> None:
    values = np.array([[[1.0, 10.0], [3.0, 30.0], [0.0, 0.0]]])
    found = flat._audio(StreamArrays(values, np.array([[True, True, False]]), np.zeros((1, 3))))[0]
    assert found == pytest.approx([2, 20, 1, 10])


def test_a_bag_counts_tokens_and_neighbouring_pairs() -> None:
    tokens = np.array([[7, 7, 9, 0], [0, 0, 0, 0]])
    bag = bag_of_tokens(tokens, tokens > 0).toarray()
    assert sorted(bag[0][bag[0] > 0]) == [1, 1, 1, 2]  # 9, 7-7, 7-9, and 7 twice
    assert not bag[1].any()
    turned = bag_of_tokens(np.array([[9, 7, 7, 0]]), np.array([[True, True, True, False]])).toarray()
    assert (turned[0] != bag[0]).any()


def test_trees_find_the_signal_are_the_same_twice_and_quick(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(600, 11, strength=1.6)
    started = time.perf_counter()
    trained = train_gradient_boosting(cohort, 0)
    assert time.perf_counter() - started < 30  # some 2 s on one quiet core
    test = cohort.rows("test")
    risk = trained.predict_risk(cohort, test)
    assert measure(auroc, cohort.target[test], risk) > 0.68
    assert (train_gradient_boosting(cohort, 0).predict_risk(cohort, test) == risk).all()


def test_nothing_to_learn_is_not_learned(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(300, 12, strength=0.0)
    test = cohort.rows("test")
    risk = train_gradient_boosting(cohort, 0).predict_risk(cohort, test)
    assert np.abs(risk - cohort.target.mean()).mean() < 0.12


def test_a_stream_that_nobody_has_and_outcomes_of_one_class(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(120, 13, absent={"notes": 1.0, "xray": 1.0})
    columns, names = flat_features(cohort, cohort.rows())
    assert not [name for name in names if name.startswith("notes")]
    assert np.isnan(columns[:, [name.startswith("xray") for name in names]]).all()
    cohort.index["target"] = np.float32(0)
    with pytest.raises(OneClassError, match=r"0 events in \d+ cases of the train and validation splits"):
        train_gradient_boosting(cohort, 0)


def test_columns_without_any_value_are_left_to_nobody(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(150, 14, absent={"xray": 1.0})
    trees = train_gradient_boosting(cohort, 0)
    assert trees.known.sum() < len(trees.names)
    assert np.isfinite(trees.predict_risk(cohort, cohort.rows("test"))).all()
