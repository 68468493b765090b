"""A learning curve: nested shares of the same subjects, one test split, and nothing of the others in what is fitted."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.config import ModelConfig
from models.evaluate import learning_curve as curves
from models.evaluate.learning_curve import LearningCurve, learning_curve, learning_curve_figure, standing
from models.evaluate.metrics import EvaluationError, OneClassError, auroc, measure
from models.evaluate.rivals import Part

MakeCohort = Callable[..., Cohort]


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: MakeCohort) -> Cohort:
    return synthetic_cohort(n=160, seed=6)


@pytest.fixture
def config(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> ModelConfig:
    return tiny_config(cohort)


def test_shares_are_nested_stratified_and_of_whole_groups(cohort: Cohort) -> None:
    groups = np.arange(160) // 2  # whose cases may lie in different splits, but never in different shares
    own = cohort.index["split"].to_numpy(str)
    place = standing(cohort, groups, 3)
    assert ((place > 0) & (place <= 1)).all()
    for group in np.unique(groups):
        assert len(np.unique(place[groups == group])) == 1
    single = standing(cohort, cohort.index["subject_id"].to_numpy(), 3)
    for part in ("train", "validation"):
        for label in (0, 1):
            mine = (own == part) & (cohort.target == label)
            for share in curves.SHARES:
                assert (mine & (single <= share)).sum() == np.ceil(round(share * mine.sum(), 9))


def test_every_point_learns_from_its_share_and_is_asked_the_same(
    cohort: Cohort, config: ModelConfig, tmp_path: Path
) -> None:
    seen: list[Part] = []

    def watch(part: Part) -> Mapping[str, np.ndarray]:
        seen.append(part)
        ages = part.cohort.batch(part.cohort.rows("train"), ["record"]).streams["record"].values[:, 0].double()
        statistics = part.cohort.statistics.streams["record"]
        assert statistics.mean[0] == pytest.approx(float(ages.mean()))
        asked = part.cohort.batch(part.rows, ["record"]).streams["record"].values[:, 0].double().numpy()
        return {"by age": 1 / (1 + np.exp(-(asked - statistics.mean[0]) / statistics.std[0]))}

    found = learning_curve(cohort, config, shares=(0.25, 0.5, 1.0), rivals={"x": watch}, folder=tmp_path, resamples=100)
    learnt = [set(np.concatenate([p.cohort.rows("train"), p.cohort.rows("validation")])) for p in seen]
    assert learnt[0] < learnt[1] < learnt[2]
    assert learnt[2] == set(np.flatnonzero(cohort.index["split"] != "test"))
    assert all(part.rows.tolist() == cohort.rows("test").tolist() for part in seen)
    assert [(p.cases, p.subjects) for p in found.points] == [(len(some), len(some)) for some in learnt]
    assert found.points[2].events == int(cohort.target[sorted(learnt[2])].sum())
    rows = cohort.rows("test")
    age = cohort.batch(rows, ["record"]).streams["record"].values[:, 0].numpy()
    expected = measure(auroc, cohort.target[rows], (age - age.min()) / np.ptp(age))
    assert found.points[0].models["by age"]["auroc"].value == pytest.approx(expected)
    assert LearningCurve.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    again = learning_curve(cohort, config, shares=(0.25, 0.5, 1.0), rivals={"x": watch}, folder=tmp_path, resamples=100)
    assert (again, len(seen)) == (found, 3)


def test_a_share_that_cannot_be_learnt_from_says_why_and_the_others_stand(
    cohort: Cohort, config: ModelConfig, with_targets: Callable[..., Cohort]
) -> None:
    def needs_forty(part: Part) -> Mapping[str, np.ndarray]:
        if len(part.cohort.rows("train")) < 40:
            raise EvaluationError("too few")
        return {"half": np.full(len(part.rows), 0.5)}

    found = learning_curve(cohort, config, shares=(0.1, 1.0), rivals={"x": needs_forty}, resamples=100)
    assert [dict(point.problems) for point in found.points] == [{"x": "too few"}, {}]
    assert list(found.points[1].models) == ["half"]
    with pytest.raises(EvaluationError, match=r"expected growing numbers above 0, at most 1, got \[0.5, 0.2\]"):
        learning_curve(cohort, config, shares=(0.5, 0.2))
    with pytest.raises(OneClassError, match=r"0 events in .* of the test split"):
        learning_curve(with_targets(cohort, np.zeros(160, np.float32)), config)


def test_the_fused_model_and_gradient_boosting_are_drawn_with_their_numbers(
    cohort: Cohort, config: ModelConfig
) -> None:
    found = learning_curve(cohort, config, shares=(0.5, 1.0), resamples=100)
    assert {"fused", "gradient boosting", "labs", "late average"} <= set(found.points[0].models)
    (axes,) = learning_curve_figure(found).axes
    (line,) = [line for line in axes.lines if line.get_label() == "fused"]
    assert list(line.get_xdata()) == [point.cases for point in found.points]
    assert list(line.get_ydata()) == [point.models["fused"]["auroc"].value for point in found.points]
