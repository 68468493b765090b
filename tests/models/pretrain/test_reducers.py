"""Reducers are those of their definitions, fitted on training cases without outcomes; the probe finds what is there."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from models.evaluate.metrics import auroc, measure
from models.flat.features import fit_flat
from models.flat.linear import categorical, fit_design
from models.pretrain.probe import compare, labelled, probe
from models.pretrain.reducers import KINDS, fit_reducer


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=240)


def test_principal_components_are_the_singular_vectors_of_the_design(cohort: Cohort) -> None:
    rows = cohort.rows("train")
    found = fit_reducer("pca", cohort, rows, components=5).reduce(cohort, rows)
    columns, names = fit_flat(cohort, rows, 0).columns(cohort, rows)
    design = fit_design(columns, *categorical(cohort, names)).apply(columns)
    left, _, _ = np.linalg.svd(design - design.mean(0), full_matrices=False)
    expected = left[:, :5] * np.sqrt(len(rows) - 1)
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-5)


def test_independent_components_are_white_and_find_mixed_sources() -> None:
    rng = np.random.default_rng(0)
    sources = np.stack([rng.uniform(-1, 1, 2000), rng.laplace(size=2000), rng.choice([-1.0, 1.0], 2000)], 1)
    mixed = sources @ rng.normal(size=(3, 3)) + 7
    centre, axes = KINDS["ica"](mixed, 3, 0)
    found = (mixed - centre) @ axes
    np.testing.assert_allclose(np.cov(found.T), np.eye(3), atol=2e-3)
    correlation = np.abs(np.corrcoef(found.T, sources.T)[:3, 3:])
    np.testing.assert_allclose(correlation.max(0), 1, atol=0.02)
    assert set(correlation.argmax(0)) == {0, 1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_a_reducer_sees_neither_outcomes_nor_other_cases(cohort: Cohort, kind: str) -> None:
    rows = cohort.rows("train")
    expected = fit_reducer(kind, cohort, rows, components=4).reduce(cohort, cohort.rows("test"))
    blind = replace(cohort, index=cohort.index.assign(target=np.nan))
    found = fit_reducer(kind, blind, rows, components=4).reduce(blind, cohort.rows("test"))
    assert np.array_equal(found, expected)
    assert np.isfinite(found).all()
    other = fit_reducer(kind, cohort, rows[:-20], components=4).reduce(cohort, cohort.rows("test"))
    assert not np.allclose(other, expected)


def test_more_components_than_there_are_columns_are_as_many_as_there_are(cohort: Cohort) -> None:
    rows = cohort.rows("train")
    found = fit_reducer("pca", cohort, rows, components=999, streams=["record"]).reduce(cohort, rows)
    assert found.shape[1] == 4  # age, failure, two levels and a flag for neither, of which the last three add up to 1


def test_an_unknown_reducer_and_cases_that_do_not_differ_are_refused(cohort: Cohort) -> None:
    with pytest.raises(TelltaleError, match="reducer: expected one of ica, pca, got 'umap'"):
        fit_reducer("umap", cohort, cohort.rows("train"))
    with pytest.raises(TelltaleError, match="reducer pca: expected columns that vary over 1 cases, found none"):
        fit_reducer("pca", cohort, cohort.rows("train")[:1])


def test_the_probe_comes_near_the_best_that_can_be_and_is_blind_where_there_is_nothing(cohort: Cohort) -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(900, 6))
    risk = 1 / (1 + np.exp(-signal @ np.array([2.0, -1, 0, 0, 0, 0])))
    target = (rng.random(900) < risk).astype(int)
    subjects = np.arange(900) // 2
    found = probe(signal[:600], target[:600], subjects[:600], signal[600:])
    best = measure(auroc, target[600:], risk[600:])
    assert measure(auroc, target[600:], found) == pytest.approx(best, abs=0.02)
    nothing = probe(rng.normal(size=(600, 6)), target[:600], subjects[:600], rng.normal(size=(300, 6)))
    assert measure(auroc, target[600:], nothing) == pytest.approx(0.5, abs=0.12)


def test_labelled_cases_are_a_share_of_each_class_and_enough_of_each() -> None:
    target = np.array([1.0] * 40 + [0.0] * 160)
    rows = labelled(target, 0.25, np.random.default_rng(0))
    assert (int(target[rows].sum()), len(rows), len(set(rows))) == (10, 50, 50)
    assert int(target[labelled(target, 0.01, np.random.default_rng(0))].sum()) == 4
    assert len(labelled(target, 1.0, np.random.default_rng(0))) == 200


def test_representations_are_compared_on_the_same_draws_of_the_test_split(cohort: Cohort) -> None:
    rng = np.random.default_rng(0)
    told = cohort.target[:, None] * 2 - 1 + 0.1 * rng.normal(size=(len(cohort), 1))
    found = compare(
        cohort, {"told": told, "again": told, "noise": rng.normal(size=(len(cohort), 3))}, (0.1, 1.0), draws=3
    )
    assert found["told"] == found["again"]
    assert [len(found["told"][share]) for share in (0.1, 1.0)] == [3, 1]
    assert min(found["told"][0.1]) > 0.99
    assert max(found["noise"][1.0]) < 0.7
