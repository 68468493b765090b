"""An evaluation compares all models on the same cases, and says where it cannot."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve as sklearn_pr
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from models.evaluate import Evaluation, EvaluationError, OneClassError, evaluate
from models.evaluate.curves import precision_recall_curve, roc_curve
from models.evaluate.results import Estimate


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def inputs(n: int = 260, seed: int = 0) -> dict[str, Any]:
    """Two modalities, the second missing in half of the cases, and a fused model that uses what there is."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    has_b = rng.random(n) < 0.5
    attainable = sigmoid(-1 + 1.3 * a + 1.3 * b)
    return {
        "predictions": {
            "fused": sigmoid(-1 + 1.3 * a + 1.3 * b * has_b),
            "vitals": sigmoid(-1 + a),
            "xray": sigmoid(-1 + b * has_b),
            "gradient boosting": sigmoid(-1 + a + b * has_b + 0.5 * rng.normal(size=n)),
        },
        "target": (rng.random(n) < attainable).astype(float),
        "subject_ids": np.arange(n) // 2,
        "patterns": np.where(has_b, "vitals + xray", "vitals"),
        "available": {"vitals": np.ones(n, bool), "xray": has_b},
        "attainable": attainable,
        "n_bootstrap": 120,
        "rng": np.random.default_rng(1),
    }


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(**inputs())


def test_every_model_is_there_with_every_measure_and_an_interval_around_it(evaluation: Evaluation) -> None:
    assert [m.name for m in evaluation.models] == ["fused", "vitals", "xray", "gradient boosting", "best attainable"]
    for model in evaluation.models:
        assert len(model.metrics) == 8
        for name, estimate in model.metrics.items():
            assert estimate.value is not None
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.low <= estimate.value <= estimate.high, (model.name, name)
    assert (evaluation.n, evaluation.subjects) == (260, 130)
    assert evaluation.best_single == "vitals"
    assert evaluation.model("xray").kind == "network with only this stream"


def test_differences_are_of_the_same_cases_and_attained_is_a_share(evaluation: Evaluation) -> None:
    given = inputs()
    fused, vitals = (roc_auc_score(given["target"], given["predictions"][name]) for name in ("fused", "vitals"))
    assert evaluation.difference("vitals").estimate.value == pytest.approx(fused - vitals)
    best = roc_auc_score(given["target"], given["attainable"])
    assert evaluation.attained is not None
    assert evaluation.attained.value == pytest.approx(fused / best)


def test_a_modality_is_judged_among_the_cases_that_have_it_too(evaluation: Evaluation) -> None:
    given = inputs()
    has = given["available"]["xray"]
    where = evaluation.model("xray").where_available
    assert where is not None
    assert (where.n, where.events) == (has.sum(), given["target"][has].sum())
    assert where.auroc.value == pytest.approx(roc_auc_score(given["target"][has], given["predictions"]["xray"][has]))
    assert where.auroc.value > (evaluation.model("xray").metrics["auroc"].value or 1)


def test_patterns_reconcile_and_a_rare_one_says_why_it_has_no_number() -> None:
    given = inputs()
    given["patterns"] = given["patterns"].astype(object)
    rare = np.flatnonzero(given["target"] == 1)[:3]
    given["patterns"][rare] = "xray"
    found = evaluate(**given)
    assert sum(p.n for p in found.patterns) == found.n
    assert sum(p.events for p in found.patterns) == found.events
    by_name = {p.pattern: p for p in found.patterns}
    assert by_name["xray"].auroc == Estimate(None, reason="too few: 3 events")
    assert [p.n for p in found.patterns] == sorted((p.n for p in found.patterns), reverse=True)


def test_a_model_that_gives_all_cases_one_risk_has_no_slope_and_says_so() -> None:
    given = inputs()
    given["predictions"]["xray"] = np.full(260, 0.3)
    model = evaluate(**given).model("xray")
    assert model.metrics["calibration_slope"] == Estimate(None, reason="all cases have the same risk")
    assert model.metrics["auroc"].value == 0.5


def test_a_perfect_model_does_not_break_anything() -> None:
    given = inputs(80)
    given["predictions"]["fused"] = np.where(given["target"] == 1, 0.999, 0.001)
    found = evaluate(**given)
    assert found.model("fused").metrics["auroc"] == Estimate(1.0, 1.0, 1.0)
    assert found.model("fused").metrics["calibration_slope"].reason == "the risk separates the outcomes completely"
    json.dumps(found.to_json(), allow_nan=False)


def test_it_goes_to_json_and_back_without_nan(evaluation: Evaluation) -> None:
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_operating_points_count_what_they_claim(evaluation: Evaluation) -> None:
    given = inputs()
    y, risk = given["target"], given["predictions"]["fused"]
    for point in evaluation.operating_points:
        flagged = risk >= point.threshold
        assert point.flagged == flagged.sum()
        assert point.sensitivity.value == pytest.approx(flagged[y == 1].mean())
        assert point.specificity.value == pytest.approx((~flagged)[y == 0].mean())
        assert point.positive_predictive_value.value == pytest.approx(y[flagged].mean())


def test_curves_are_those_of_scikit_learn() -> None:
    given = inputs(90)
    y, risk = given["target"], np.round(given["predictions"]["fused"], 2)
    false, found, _ = sklearn_roc(y, risk, drop_intermediate=False)
    ours = roc_curve(y, risk)
    assert (ours.x, ours.y) == (pytest.approx(false, abs=1e-6), pytest.approx(found, abs=1e-6))
    precision, recall, _ = sklearn_pr(y, risk)
    ours = precision_recall_curve(y, risk)
    last = len(ours.x) - 1  # scikit-learn stops the curve at full recall read from above; ours goes on to flag all
    assert ours.x[1:] == pytest.approx(recall[::-1][1 : last + 1], abs=1e-6)
    assert ours.y[1:] == pytest.approx(precision[::-1][1 : last + 1], abs=1e-6)


def test_one_class_and_a_missing_fused_model_are_refused() -> None:
    given = inputs(37)
    with pytest.raises(OneClassError, match=r"^evaluation needs both classes: 0 events in 37 cases of the test split$"):
        evaluate(**{**given, "target": np.zeros(37)})
    del given["predictions"]["fused"]
    with pytest.raises(EvaluationError, match="a prediction named 'fused', got vitals, xray, gradient boosting"):
        evaluate(**given)


def test_asking_for_what_is_not_there_names_what_is(evaluation: Evaluation) -> None:
    with pytest.raises(EvaluationError, match="no model 'sound'; there are fused, vitals"):
        evaluation.model("sound")
    with pytest.raises(EvaluationError, match="no difference in 'ece' against 'vitals'"):
        evaluation.difference("vitals", "ece")
