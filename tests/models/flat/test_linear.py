"""The regression is scikit-learn's on a design that can be written down by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator
from sklearn.linear_model import LogisticRegression as Sklearn
from sklearn.preprocessing import OneHotEncoder, RobustScaler

from ingest.cohort import Cohort
from models.evaluate.metrics import OneClassError, auroc, measure
from models.flat import linear
from models.flat.linear import categorical, fit_design, fit_penalised, train_logistic_regression

MakeCohort = Callable[..., Cohort]


def table(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Age, a lab that a third lack, a site of three levels, a constant; and an outcome that they tell."""
    rng = np.random.default_rng(seed)
    age, lab = rng.normal(60, 12, n), np.exp(rng.normal(size=n))
    site = rng.integers(0, 3, n).astype(float)
    logit = -1 + 0.06 * (age - 60) + 0.8 * np.log(lab) + np.array([0, 1.5, -1])[site.astype(int)]
    target = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    lab[rng.random(n) < 1 / 3] = np.nan
    return np.stack([age, lab, site, np.full(n, 7.0)], 1), target


def test_the_coefficients_are_those_of_scikit_learns_own_pipeline() -> None:
    columns, target = table()
    numbers = RobustScaler(unit_variance=True).fit(columns[:, :2])
    scaled = np.clip(np.nan_to_num(numbers.transform(columns[:, :2]), nan=0.0), -5, 5)
    others = ColumnTransformer(
        [("site", OneHotEncoder(sparse_output=False), [2]), ("missing", MissingIndicator(), [1])]
    ).fit_transform(columns)
    expected = Sklearn(C=0.1, max_iter=1000, tol=1e-8).fit(np.hstack([scaled, others]), target)
    design = fit_design(columns, {2: 3})
    coefficients, intercept = fit_penalised(design.apply(columns), target, 0.1)
    assert coefficients == pytest.approx(expected.coef_[0], abs=1e-3)
    assert intercept == pytest.approx(expected.intercept_[0], abs=1e-3)
    assert design.apply(columns).shape == (400, 2 + 3 + 1)  # the constant tells nothing


def test_new_cases_are_read_by_what_was_fitted() -> None:
    columns, _ = table()
    design = fit_design(columns, {2: 3})
    median, quartiles = np.nanmedian(columns[:, 1]), np.nanquantile(columns[:, 1], [0.25, 0.75])
    asked = np.array([[np.nan, median, np.nan, 3.0], [1e9, quartiles[1], 4.0, 7.0]])
    found = design.apply(asked)
    assert found[0].tolist() == [0, 0, 0, 0, 0, 0]
    assert found[1, 0] == 5
    assert found[1, 1] == pytest.approx((quartiles[1] - median) / (np.ptp(quartiles) / 1.3489795))
    assert found[1, 2:].tolist() == [0, 0, 0, 0]  # a level that was not there is none of them
    assert design.apply(np.full((1, 4), np.nan))[0, -1] == 1


def test_columns_missing_together_share_a_flag_and_empty_ones_give_nothing() -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(50, 5))
    columns[:20, [0, 1]] = np.nan
    columns[10:30, 2] = np.nan
    columns[:, 4] = np.nan
    design = fit_design(columns, {})
    assert design.flags.tolist() == [0, 2]
    assert design.numeric.tolist() == [0, 1, 2, 3]
    rare = np.where(np.arange(50) < 4, 1.0, 0.0)[:, None]
    found = fit_design(rare, {}).apply(rare)
    assert found.max() == pytest.approx(min(1 / rare.std(), 5))  # no quartiles apart: by the standard deviation
    assert fit_design(np.full((3, 2), np.nan), {}).apply(np.full((3, 2), np.nan)).shape == (3, 0)


def test_the_penalty_is_chosen_by_left_out_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    noise, target = rng.normal(size=(120, 60)), np.repeat([0, 1], 60)
    signal = noise.copy()
    signal[:, 0] += 3 * target
    subjects = np.arange(120) // 2
    losses = linear._log_losses(noise, target, subjects, {}, [], 0)
    assert losses.argmin() == 0  # nothing to learn: the strongest penalty
    assert losses.shape == (len(linear.STRENGTHS),)
    assert linear._log_losses(signal, target, subjects, {}, [], 0).argmin() > 2


def test_categories_are_told_by_level_and_not_by_number(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(200, 3)
    streams = dict(cohort.statistics.streams)
    streams["vitals"] = replace(streams["vitals"], levels={"heart rate": ("low", "high")})
    changed = replace(cohort, statistics=replace(cohort.statistics, streams=streams))
    names = ["record: age", "record: sex", "vitals: heart rate, last", "vitals: heart rate, mean",
             "vitals: heart rate, count"]  # fmt: skip
    assert categorical(changed, names) == ({1: 2, 2: 2}, [3])


def test_it_finds_the_signal_is_the_same_twice_and_its_risks_do_not_depend_on_company(
    synthetic_cohort: MakeCohort,
) -> None:
    cohort = synthetic_cohort(600, 11, strength=1.6)
    fitted = train_logistic_regression(cohort, 0)
    rows = cohort.rows("test")
    risk = fitted.predict_risk(cohort, rows)
    assert measure(auroc, cohort.target[rows], risk) > 0.7
    assert ((risk > 0) & (risk < 1)).all()
    np.testing.assert_array_equal(train_logistic_regression(cohort, 0).predict_risk(cohort, rows), risk)
    assert fitted.predict_risk(cohort, rows[[3, 1]]) == pytest.approx(risk[[3, 1]], abs=1e-6)


def test_test_cases_have_no_say_and_one_class_is_refused(
    synthetic_cohort: MakeCohort, with_targets: Callable[..., Cohort]
) -> None:
    cohort = synthetic_cohort(150, 12)
    turned = cohort.target.copy()
    turned[cohort.rows("test")] = 1 - turned[cohort.rows("test")]
    rows = cohort.rows()
    plain = train_logistic_regression(cohort, 0).predict_risk(cohort, rows)
    np.testing.assert_array_equal(
        train_logistic_regression(with_targets(cohort, turned), 0).predict_risk(cohort, rows), plain
    )
    with pytest.raises(OneClassError, match=r"0 events in .* of the train and validation splits"):
        train_logistic_regression(with_targets(cohort, np.zeros(150, np.float32)), 0)
