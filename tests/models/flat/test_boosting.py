"""The flat features say what they claim, and the baseline learns from them."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.evaluate.metrics import OneClassError, auroc, measure
from models.flat.boosting import train_gradient_boosting
from models.flat.features import fit_flat, flat_features

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
    cohort = replace(cohort, index=cohort.index.assign(target=np.float32(0)))
    with pytest.raises(OneClassError, match=r"0 events in \d+ cases of the train and validation splits"):
        train_gradient_boosting(cohort, 0)


def test_columns_without_any_value_are_left_to_nobody(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(150, 14, absent={"xray": 1.0})
    trees = train_gradient_boosting(cohort, 0)
    assert trees.known.sum() < len(trees.names)
    assert np.isfinite(trees.predict_risk(cohort, cohort.rows("test"))).all()
