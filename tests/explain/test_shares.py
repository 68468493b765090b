"""Shares of whole streams."""

from collections.abc import Callable
from itertools import combinations
from math import factorial

import numpy as np
import pytest

from explain.shares import coalition_worth, explain_streams
from ingest.cohort import Cohort
from models.prediction import Predictor


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort()


def test_the_shares_of_every_test_case_sum_to_its_log_odds(cohort: Cohort, predictor: Predictor) -> None:
    batch = cohort.batch(cohort.rows("test"))
    found = explain_streams(predictor, batch)
    said = predictor.predict(batch).logit
    for explanation, logit in zip(found, said, strict=True):
        assert abs(explanation.base_logit + sum(explanation.streams.values()) - logit) < 1e-4
        assert explanation.additivity_error < 1e-6
        assert not explanation.withheld
    assert np.std([share for e in found for share in e.streams.values()]) > 0.01


def test_an_absent_stream_gets_no_share(cohort: Cohort, predictor: Predictor) -> None:
    rows = cohort.rows("test")
    found = explain_streams(predictor, cohort.batch(rows))
    for explanation, here in zip(found, cohort.present[rows], strict=True):
        names = [name for name, there in zip(cohort.stream_names, here, strict=True) if there]
        assert list(explanation.streams) == names
        assert len(explanation.coalitions) == 2 ** len(names)
    assert not cohort.present[rows].all()


@pytest.mark.parametrize("fusion", ["attention", "concat"])
def test_shares_follow_shapleys_formula_on_predictions_with_streams_taken_out(
    cohort: Cohort, build_predictor: Callable[..., Predictor], fusion: str
) -> None:
    predictor = build_predictor(cohort, fusion=fusion)
    names = predictor.stream_names
    row = int(np.flatnonzero(cohort.present.sum(1) == 4)[0])
    batch = cohort.batch([row])
    explanation = explain_streams(predictor, batch)[0]
    here = list(explanation.streams)

    def worth(kept: tuple[str, ...]) -> float:
        return float(predictor.predict(batch.without(*(n for n in names if n not in kept))).logit[0])

    for name in here:
        others = [n for n in here if n != name]
        expected = 0.0
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(here) - size - 1) / factorial(len(here))
            for some in combinations(others, size):
                expected += weight * (worth((*some, name)) - worth(some))
        assert explanation.streams[name] == pytest.approx(expected, abs=1e-5)
    assert explanation.coalitions[""] == explanation.base_logit == pytest.approx(worth(()), abs=1e-5)
    pair = [n for n in names if n in here[:2]]
    assert explanation.coalitions["+".join(pair)] == pytest.approx(worth(tuple(pair)), abs=1e-5)


def test_a_case_with_nothing_has_the_base_as_its_log_odds(cohort: Cohort, predictor: Predictor) -> None:
    batch = cohort.batch([0])
    nothing = explain_streams(predictor, batch.without(*batch.streams))[0]
    assert nothing.streams == {}
    assert nothing.coalitions == {"": nothing.base_logit}
    assert nothing.base_logit == pytest.approx(nothing.logit, abs=1e-6)


def test_a_large_batch_is_explained_as_its_cases_are(cohort: Cohort, build_predictor: Callable[..., Predictor]) -> None:
    # Without notes: the words' encoder pads to the longest note of a batch.
    predictor = build_predictor(cohort, streams=["record", "vitals", "xray", "sound"])
    rows = np.tile(cohort.rows("test"), 15)
    together = coalition_worth(predictor, predictor.encode(cohort.batch(rows)))
    assert len(rows) > 512
    alone = coalition_worth(predictor, predictor.encode(cohort.batch(rows[-1:])))
    np.testing.assert_allclose(together[-1], alone[0], atol=1e-5)
