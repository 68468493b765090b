"""Cross-validation: nothing of a subject reaches the models that judge it, and a killed run goes on."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ingest.align.refit import refit
from ingest.cohort import Cohort, open_cohort
from models.config import ModelConfig
from models.evaluate.folds import cross_validate, make_folding
from models.evaluate.metrics import EvaluationError
from models.evaluate.rivals import LATE_AVERAGE, RIVALS, Part, Rival, mean_of_present
from models.prediction import Prediction
from models.training.train import train

MakeCohort = Callable[..., Cohort]
MakeConfig = Callable[..., ModelConfig]


def by_age(part: Part) -> Mapping[str, np.ndarray]:
    """A rival that needs no training: the older the riskier, by the statistics of the part's own training split."""
    statistics = part.cohort.statistics.streams["record"]
    age = part.cohort.batch(part.rows, ["record"]).streams["record"].values[:, 0].numpy().astype(float)
    return {"by age": 1 / (1 + np.exp(-(age - statistics.mean[0]) / statistics.std[0]))}


def counted(calls: list[tuple[int, ...]], rival: Rival = by_age) -> Rival:
    def call(part: Part) -> Mapping[str, np.ndarray]:
        calls.append(tuple(part.rows))
        return rival(part)

    return call


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: MakeCohort) -> Cohort:
    return synthetic_cohort(n=160, cases_per_subject=2, seed=6)


@pytest.fixture
def config(cohort: Cohort, tiny_config: MakeConfig) -> ModelConfig:
    return tiny_config(cohort)


def test_every_case_is_left_out_once_a_repeat_and_no_subject_is_in_two_parts(cohort: Cohort) -> None:
    folding = make_folding(cohort, 5, 2, 7)
    subjects = cohort.index["subject_id"].to_numpy()
    for repeat in range(2):
        tested = np.zeros(len(cohort), int)
        for fold in range(5):
            split = folding.split(repeat, fold, cohort)
            tested += split == "test"
            parts = [set(subjects[split == name]) for name in ("train", "validation", "test")]
            assert sum(map(len, parts)) == len(set.union(*parts)) == 80
            shares = [cohort.target[split == name].mean() for name in ("train", "validation", "test")]
            assert np.ptp(shares) < 0.08
            assert (split == "validation").sum() / (split != "test").sum() == pytest.approx(0.2, abs=0.03)
        assert (tested == 1).all()
    assert (folding.part[0] != folding.part[1]).any()
    np.testing.assert_array_equal(folding.part, make_folding(cohort, 5, 2, 7).part)


def test_groups_of_subjects_stay_whole(cohort: Cohort) -> None:
    wards = np.array([f"ward {subject % 20}" for subject in cohort.index["subject_id"]])
    folding = make_folding(cohort, 4, 1, 0, wards)
    split = folding.split(0, 2, cohort)
    for ward in np.unique(wards):
        assert len(np.unique(folding.part[0][wards == ward])) == 1
        assert len(np.unique(split[wards == ward])) == 1
    with pytest.raises(EvaluationError, match="expected each subject in one"):
        make_folding(cohort, 4, 1, 0, np.arange(len(cohort)))


def test_each_fold_is_fitted_on_its_own_training_rows_and_an_outlier_that_is_tested_moves_nothing(
    cohort: Cohort, config: ModelConfig, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(cohort.folder, copied)
    held = np.load(copied / "shards/00000/record.values.npy")
    held[5, 0] = 1e6  # the age of a case
    np.save(copied / "shards/00000/record.values.npy", held)
    seen: dict[str, list[tuple[bool, float]]] = {"plain": [], "outlier": []}

    def watch(name: str) -> Rival:
        def call(part: Part) -> Mapping[str, np.ndarray]:
            seen[name].append((5 in part.rows, part.cohort.statistics.streams["record"].mean[0]))
            ages = np.load(part.cohort.folder / "shards/00000/record.values.npy")[part.cohort.rows("train"), 0]
            assert seen[name][-1][1] == pytest.approx(ages.astype(float).mean())
            return {"fused": np.full(len(part.rows), 0.5)}

        return call

    cross_validate(cohort, config, seed=1, rivals={"x": watch("plain")}, resamples=100)
    cross_validate(open_cohort(copied), config, seed=1, rivals={"x": watch("outlier")}, resamples=100)
    assert [tested for tested, _ in seen["plain"]] == [tested for tested, _ in seen["outlier"]]
    assert sum(tested for tested, _ in seen["plain"]) == 1
    for (tested, plain), (_, moved) in zip(seen["plain"], seen["outlier"], strict=True):
        own = cohort.statistics.streams["record"].mean[0]
        assert plain != own
        if tested:
            assert moved == plain
    assert max(mean for _, mean in seen["outlier"]) > 1000  # where it was learnt from, it did


def test_a_pooled_auroc_is_that_of_the_kept_risks_by_hand(cohort: Cohort, config: ModelConfig, tmp_path: Path) -> None:
    result = cross_validate(cohort, config, folds=4, seed=2, rivals={"age": by_age}, folder=tmp_path, resamples=100)
    kept = pd.read_parquet(tmp_path / "out-of-fold.parquet")
    assert sorted(kept["case_id"]) == sorted(cohort.index["case_id"])
    assert sorted(kept["fold"].unique()) == [1, 2, 3, 4]
    folding = make_folding(cohort, 4, 1, 2)
    ages = cohort.batch(cohort.rows(), ["record"]).streams["record"].values[:, 0].numpy().astype(float)
    risk = np.zeros(len(cohort))
    for fold in range(4):
        train = ages[folding.split(0, fold, cohort) == "train"]
        mine = folding.part[0] == fold
        risk[mine] = 1 / (1 + np.exp(-(ages[mine] - train.mean()) / train.std()))
    positive, negative = risk[cohort.target == 1], risk[cohort.target == 0]
    by_hand = ((positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)).mean()
    assert result.model("by age").pooled["auroc"].value == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(roc_auc_score(kept["target"], kept["risk"]), abs=1e-6)


def test_a_killed_run_goes_on_and_other_settings_begin_anew(
    cohort: Cohort, config: ModelConfig, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    calls: list[tuple[int, ...]] = []

    def dies_in_the_third(part: Part) -> Mapping[str, np.ndarray]:
        if len(calls) == 2:
            raise KilledError
        return counted(calls)(part)

    def run(rival: Rival, **changed: object) -> object:
        options = {"folds": 4, "seed": 3, "resamples": 100, "folder": tmp_path, **changed}
        return cross_validate(cohort, config, rivals={"age": rival}, **options)  # type: ignore[arg-type]  # by name

    with pytest.raises(KilledError):
        run(dies_in_the_third)
    assert not (tmp_path / "out-of-fold.parquet").exists()
    result = run(counted(calls))
    assert len(calls) == 4
    assert sorted(row for rows in calls for row in rows) == list(range(len(cohort)))
    whole = cross_validate(cohort, config, folds=4, seed=3, rivals={"age": by_age}, resamples=100)
    assert result == whole
    assert run(counted(calls)) == whole
    assert len(calls) == 4
    run(counted(calls), seed=4)
    assert len(calls) == 8
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 2})})
    cross_validate(cohort, longer, folds=4, seed=4, rivals={"age": counted(calls)}, folder=tmp_path, resamples=100)
    assert len(calls) == 12


def test_the_fused_network_its_streams_their_average_and_flat_models_are_judged_on_the_same_cases(
    synthetic_cohort: MakeCohort, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    cohort = synthetic_cohort(n=120, seed=9, absent={"record": 0.3})
    config = tiny_config(cohort)
    result = cross_validate(cohort, config, folds=2, seed=5, folder=tmp_path, resamples=100)
    names = [model.name for model in result.models]
    assert names == ["fused", *cohort.stream_names, LATE_AVERAGE, "gradient boosting", "logistic regression"]
    assert {d.against for d in result.differences} == set(names) - {"fused"}
    kept = pd.read_parquet(tmp_path / "out-of-fold.parquet")
    assert (kept.groupby("model")["case_id"].nunique() == 120).all()
    assert not list(tmp_path.glob(".runs/*"))
    folding = make_folding(cohort, 2, 1, 5)
    mine = refit(cohort, folding.split(0, 1, cohort))
    outcome = train(mine, config, seed=folding.seed_of(0, 1), version="v0001")
    rows = mine.rows("test")
    risk = outcome.predictor.predict(mine.batch(rows)).risk
    fused = kept[(kept["model"] == "fused") & (kept["fold"] == 2)].set_index("case_id")["risk"]
    assert fused[mine.index["case_id"][rows]].to_numpy() == pytest.approx(risk, abs=1e-6)


def test_the_late_average_is_over_the_streams_that_a_case_has() -> None:
    def said(logit: list[float], present: list[bool]) -> Prediction:
        fields = dict.fromkeys(Prediction.__dataclass_fields__, np.zeros(3))
        return Prediction(**{**fields, "logit": np.array(logit), "present": np.array(present)[:, None]})

    logit, present = mean_of_present(
        {"a": said([1, 2, -1], [True, True, False]), "b": said([3, 9, -3], [True, False, False])}
    )
    assert logit.tolist() == [2, 2, -2]
    assert present.tolist() == [True, True, False]


def test_the_late_average_is_calibrated_on_the_validation_split_however_timid_the_mean_is(
    synthetic_cohort: MakeCohort, tiny_config: MakeConfig
) -> None:
    """On the cases that it was fitted on, by scikit-learn without a penalty: slope 1, intercept 0."""
    cohort = synthetic_cohort(n=240, seed=2, strength=1.5)
    config = tiny_config(cohort, alone_epochs=4)
    rows = cohort.rows("validation")
    risk = RIVALS["network"](Part(cohort, config, rows, 3))[LATE_AVERAGE]
    logit = np.log(risk / (1 - risk))
    fitted = LogisticRegression(C=np.inf).fit(logit[:, None], cohort.target[rows])
    assert fitted.coef_[0, 0] == pytest.approx(1, abs=0.02)
    assert fitted.intercept_[0] == pytest.approx(0, abs=0.02)


def test_frozen_features_are_made_once_for_all_folds(cohort: Cohort, tiny_config: MakeConfig, tmp_path: Path) -> None:
    copied = tmp_path / "cohort"
    shutil.copytree(cohort.folder, copied)
    mine = open_cohort(copied)
    config = tiny_config(mine)
    frozen = config.encoders["xray"].model_copy(update={"frozen": True})
    config = config.model_copy(update={"encoders": {**config.encoders, "xray": frozen}})
    means: list[tuple[float, ...]] = []

    def watch(part: Part) -> Mapping[str, np.ndarray]:
        means.append(part.cohort.statistics.streams["xray"].mean)
        return RIVALS["network"](Part(part.cohort, part.config, part.rows, 0, part.folder))

    cross_validate(mine, config, folds=3, rivals={"x": watch}, resamples=100)
    assert set(means) == {mine.statistics.streams["xray"].mean}
    assert len(list(copied.glob("shards/00000/xray.features-*.npy"))) == 1


def test_what_cannot_be_folded_is_refused_and_says_where(
    cohort: Cohort, config: ModelConfig, with_targets: Callable[..., Cohort]
) -> None:
    with pytest.raises(EvaluationError, match="expected 2 folds or more, 1 repeat or more; got 1, 1"):
        cross_validate(cohort, config, folds=1)
    rare = with_targets(cohort, np.where(np.arange(len(cohort)) < 6, 1.0, 0.0).astype(np.float32))
    with pytest.raises(EvaluationError, match=r"in 5 folds: expected at least 5 .* got 3 with and 77 without"):
        cross_validate(rare, config, folds=5)

    def fails(part: Part) -> Mapping[str, np.ndarray]:
        raise EvaluationError("no")

    with pytest.raises(EvaluationError, match=r"^repeat 1, fold 1, mine: no$"):
        cross_validate(cohort, config, rivals={"mine": fails})
    with pytest.raises(EvaluationError, match="one risk for each case"):
        cross_validate(cohort, config, rivals={"mine": lambda part: {"x": np.zeros(3)}})


def test_unknown_outcomes_are_left_aside(
    cohort: Cohort, config: ModelConfig, with_targets: Callable[..., Cohort]
) -> None:
    target = cohort.target.copy()
    target[:10] = np.nan
    result = cross_validate(with_targets(cohort, target), config, rivals={"age": by_age}, resamples=100)
    assert (result.n, result.events) == (150, int(np.nansum(target)))
