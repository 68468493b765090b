"""Pooled measures are those of all left-out cases, and of repeats the mean."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from models.evaluate.metrics import EvaluationError, OneClassError, auroc
from models.evaluate.pooled import CrossValidation, over_repeats, pooled


def long_form(repeats: int = 1, n: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    target = (rng.random(n) < 1 / (1 + np.exp(1 - 1.5 * z))).astype(float)
    frames = []
    for repeat in range(repeats):
        for model, noise in (("fused", 0.3), ("trees", 1.2)):
            risk = 1 / (1 + np.exp(1 - z - noise * rng.normal(size=n)))
            frames.append(
                pd.DataFrame(
                    {"repeat": repeat + 1, "fold": rng.permutation(n) * 0 + np.arange(n) % 4 + 1,
                     "case_id": [f"c{i}" for i in range(n)], "subject_id": np.arange(n) // 2, "target": target,
                     "model": model, "risk": risk}
                )
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_pooled_and_fold_by_fold_measures_are_those_of_scikit_learn() -> None:
    risks = long_form()
    found = pooled(risks, task="t", seed=0, resamples=100)
    for model, mine in risks.groupby("model"):
        result = found.model(str(model))
        assert result.pooled["auroc"].value == pytest.approx(roc_auc_score(mine["target"], mine["risk"]))
        assert result.pooled["brier"].value == pytest.approx(brier_score_loss(mine["target"], mine["risk"]))
        each = [roc_auc_score(part["target"], part["risk"]) for _, part in mine.groupby("fold")]
        assert result.folds["auroc"].by_fold == pytest.approx(each)
        assert result.folds["auroc"].mean == pytest.approx(np.mean(each))
        assert result.folds["auroc"].std == pytest.approx(np.std(each, ddof=1))
        assert result.pooled["auroc"].low < result.pooled["auroc"].value < result.pooled["auroc"].high  # type: ignore[operator]  # they are there
    assert (found.n, found.subjects, found.folds, found.repeats) == (120, 60, 4, 1)
    (difference,) = [d for d in found.differences if d.metric == "auroc"]
    aurocs = [found.model(name).pooled["auroc"].value for name in ("fused", "trees")]
    assert difference.estimate.value == pytest.approx(aurocs[0] - aurocs[1])  # type: ignore[operator]
    assert CrossValidation.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_of_repeats_a_measure_is_the_mean_and_not_that_of_a_mean_risk() -> None:
    risks = long_form(repeats=3)
    found = pooled(risks, task="t", seed=0, resamples=100)
    mine = risks[risks["model"] == "trees"]
    each = [roc_auc_score(part["target"], part["risk"]) for _, part in mine.groupby("repeat")]
    assert found.model("trees").pooled["auroc"].value == pytest.approx(np.mean(each))
    mean_risk = mine.groupby("case_id", sort=False)[["target", "risk"]].mean()
    assert roc_auc_score(mean_risk["target"], mean_risk["risk"]) > np.mean(each) + 0.01
    assert (found.n, found.subjects, found.repeats) == (120, 60, 3)
    assert len(found.model("fused").folds["auroc"].by_fold) == 12


def test_weights_of_resamples_reach_the_repeats_they_belong_to() -> None:
    rng = np.random.default_rng(2)
    target, risk = np.tile([0.0, 1, 0, 1, 1], 2), rng.random(10)
    weights = rng.integers(0, 3, (4, 10)).astype(float) + 0.5
    found = over_repeats(auroc, 2)(target, risk, weights)
    runs = (slice(0, 5), slice(5, 10))
    by_hand = [np.mean([roc_auc_score(target[r], risk[r], sample_weight=w[r]) for r in runs]) for w in weights]
    assert found == pytest.approx(by_hand)
    assert over_repeats(auroc, 1) is auroc


def test_extra_measures_stand_beside_the_usual_ones() -> None:
    def flagged(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray((weights @ (risk > 0.5)) / weights.sum(1))

    risks = long_form()
    found = pooled(risks, task="t", seed=0, measures={"flagged": flagged}, resamples=100)
    fused = risks[risks["model"] == "fused"]
    assert found.model("fused").pooled["flagged"].value == pytest.approx((fused["risk"] > 0.5).mean())
    assert {d.metric for d in found.differences} == {"auroc", "auprc", "brier", "log_loss", "flagged"}


def test_a_fold_of_one_class_has_no_auroc_and_the_others_count() -> None:
    risks = long_form()
    risks.loc[risks["fold"] == 2, "target"] = 0.0
    found = pooled(risks, task="t", seed=0, resamples=100).model("fused").folds["auroc"]
    assert found.by_fold[1] is None
    known = [value for value in found.by_fold if value is not None]
    assert len(known) == 3
    assert found.mean == pytest.approx(np.mean(known))


def test_missing_risks_and_one_class_are_refused() -> None:
    risks = long_form()
    with pytest.raises(EvaluationError, match="a risk of every model for every case"):
        pooled(risks.iloc[:-1], task="t", seed=0, resamples=100)
    with pytest.raises(OneClassError, match="0 events in 120 cases left out by any fold"):
        pooled(risks.assign(target=0.0), task="t", seed=0, resamples=100)
    with pytest.raises(EvaluationError, match="no model 'x'; there are fused, trees"):
        pooled(risks, task="t", seed=0, resamples=100).model("x")
