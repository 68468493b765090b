"""Scores are written twice and agree, whole or not at all, and only by a model that fits the cohort."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingest.cohort import Cohort
from ingest.errors import ModelError
from models import score as scoring
from models.score import check_fits, predict_rows, score
from models.training.train import TrainingOutcome

COLUMNS = ["case_id", "subject_id", "index_time", "split", "target", "risk", "risk_low", "risk_high", "logit",
           "logit_std", "abstained", "reason", "warning", "conformal_90", "unfamiliar", "disagreement", "model_version",
           "pattern", "has_record", "has_vitals", "has_labs", "has_xray", "has_notes", "has_sound", "problems",
           "inputs", "scored_at"]  # fmt: skip


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=160)


def test_parquet_and_csv_are_the_same_rows_in_the_documented_columns(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path
) -> None:
    files = score(outcome.predictor, cohort, tmp_path / "scores")
    assert (files.parquet.name, files.csv.name, files.cases) == ("v0001.parquet", "v0001.csv", 160)
    exact, text = pd.read_parquet(files.parquet), pd.read_csv(files.csv, parse_dates=["index_time", "scored_at"])
    empty = ["problems", "inputs", "reason", "warning"]
    text[empty] = text[empty].astype(object).fillna("")
    assert list(exact.columns) == list(text.columns) == COLUMNS
    assert len(exact) == len(text) == 160
    for column in COLUMNS:
        if exact[column].dtype.kind == "f":
            assert text[column].to_numpy(float) == pytest.approx(exact[column].to_numpy(float), rel=1e-6), column
        elif exact[column].dtype.kind == "M":
            assert (pd.to_datetime(text[column]) == exact[column]).all(), column
        else:
            assert text[column].tolist() == exact[column].tolist(), column


def test_each_row_is_the_models_word_on_that_case(outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path) -> None:
    frame = pd.read_parquet(score(outcome.predictor, cohort, tmp_path).parquet)
    for row in (0, 77, 159):
        alone = outcome.predictor.predict(cohort.batch([row]))
        found = frame.iloc[row]
        assert found["case_id"] == cohort.index["case_id"][row]
        assert found["logit"] == pytest.approx(alone.logit[0], abs=1e-5)
        assert found["logit_std"] == pytest.approx(alone.logit_std[0], abs=1e-5)
        here = [name for name in cohort.stream_names if cohort.index[f"{name}_row"][row] >= 0]
        assert found["pattern"] == " + ".join(here)
        assert [name for name in cohort.stream_names if found[f"has_{name}"]] == here
    shown = frame[~frame["abstained"]]
    assert shown["risk"].between(shown["risk_low"], shown["risk_high"]).all()
    assert shown[["risk", "risk_low", "risk_high"]].stack().between(0, 1).all()
    assert frame["target"].tolist() == cohort.target.tolist()


def test_small_batches_are_used_and_change_nothing(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pd.read_parquet(score(outcome.predictor, cohort, tmp_path / "whole").parquet)
    monkeypatch.setattr(scoring, "BATCH", 48)
    largest: list[int] = []
    real = Cohort.batch

    def watched(self: Cohort, rows: Any, streams: Any = None) -> Any:
        largest.append(len(rows))
        return real(self, rows, streams)

    monkeypatch.setattr(Cohort, "batch", watched)
    heard: list[tuple[int, int]] = []
    files = score(outcome.predictor, cohort, tmp_path / "parts", progress=lambda done, of: heard.append((done, of)))
    parts = pd.read_parquet(files.parquet)
    assert max(largest) == 48
    assert heard == [(48, 160), (96, 160), (144, 160), (160, 160)]
    assert parts["logit"].to_numpy() == pytest.approx(whole["logit"].to_numpy(), abs=1e-5)
    assert pd.read_csv(files.csv)["case_id"].tolist() == whole["case_id"].tolist()


def test_some_rows_can_be_scored_and_none(outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path) -> None:
    some = score(outcome.predictor, cohort, tmp_path / "some", rows=cohort.rows("test"))
    frame = pd.read_parquet(some.parquet)
    assert len(frame) == some.cases == len(cohort.rows("test"))
    assert set(frame["split"]) == {"test"}
    none = score(outcome.predictor, cohort, tmp_path / "none", rows=np.array([], np.int64))
    assert none.cases == 0
    assert list(pd.read_parquet(none.parquet).columns) == COLUMNS
    assert none.csv.read_text().splitlines() == [",".join(COLUMNS)]


def test_an_unknown_outcome_is_an_empty_cell(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path, with_targets: Callable[[Cohort, Any], Cohort]
) -> None:
    target = cohort.target.copy()
    target[3] = np.nan
    files = score(outcome.predictor, with_targets(cohort, target), tmp_path)
    assert np.isnan(pd.read_parquet(files.parquet)["target"][3])
    assert files.csv.read_text().splitlines()[4].split(",")[4] == ""


def test_a_kill_half_way_leaves_the_former_scores_whole(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = score(outcome.predictor, cohort, tmp_path)
    before = (former.parquet.read_bytes(), former.csv.read_bytes())
    monkeypatch.setattr(scoring, "BATCH", 64)

    def killed(done: int, _: int) -> None:
        if done > 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(outcome.predictor, cohort, tmp_path, progress=killed)
    assert (former.parquet.read_bytes(), former.csv.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v0001.csv", "v0001.parquet"]


def test_a_cohort_that_lacks_a_stream_is_refused(outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path) -> None:
    streams = {n: s for n, s in cohort.statistics.streams.items() if n != "labs"}
    other = replace(cohort, statistics=replace(cohort.statistics, streams=streams))
    with pytest.raises(ModelError, match=r"model v0001 reads the stream labs; cohort .* has none"):
        score(outcome.predictor, other, tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    ("stream", "part", "value"),
    [
        ("vitals", "names", ("heart rate", "temperature", "oxygen saturation")),
        ("labs", "units", ("mg/L", "mg/dL")),
        ("record", "levels", {"sex": ("male", "female")}),
        ("xray", "feature_shape", (1, 64, 64)),
        ("notes", "vocabulary_size", 9),
        ("sound", "kind", "series"),
    ],
)
def test_a_cohort_whose_stream_means_something_else_is_refused(
    outcome: TrainingOutcome, cohort: Cohort, stream: str, part: str, value: object
) -> None:
    streams = dict(cohort.statistics.streams)
    streams[stream] = replace(streams[stream], **{part: value})  # type: ignore[arg-type]
    other = replace(cohort, statistics=replace(cohort.statistics, streams=streams))
    with pytest.raises(ModelError, match=f"stream {stream}, {part}: expected .*; align it with the model's own task"):
        check_fits(outcome.predictor, other)


def test_predictions_of_no_rows_are_empty(outcome: TrainingOutcome, cohort: Cohort) -> None:
    nothing = predict_rows(outcome.predictor, cohort, np.array([], np.int64))
    assert (nothing.risk.shape, nothing.present.shape) == ((0,), (0, 6))


def test_predictions_of_rows_come_in_the_order_asked_for(outcome: TrainingOutcome, cohort: Cohort) -> None:
    rows = np.array([30, 2, 99])
    logits = predict_rows(outcome.predictor, cohort, rows).logit
    for row, logit in zip(rows, logits, strict=True):
        assert outcome.predictor.predict(cohort.batch([row])).logit[0] == pytest.approx(logit, abs=1e-5)


def test_the_score_says_which_stream_could_not_be_used(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path
) -> None:
    """FAULTS 19: where the cohort's index says so; an older cohort, which does not, has no problems."""
    whole = pd.read_parquet(score(outcome.predictor, cohort, tmp_path / "old").parquet)
    assert whole["problems"].tolist() == [""] * 160
    said = np.full(160, None, object)
    said[3], other = "flat line in all leads", np.full(160, None, object)
    other[[3, 5]] = "=1 lead clipped"
    spoilt = replace(cohort, index=cohort.index.assign(sound_problem=said, xray_problem=other))
    files = score(outcome.predictor, spoilt, tmp_path / "new")
    exact = pd.read_parquet(files.parquet)
    expected = {3: "xray: =1 lead clipped; sound: flat line in all leads", 5: "xray: =1 lead clipped"}
    assert {row: text for row, text in enumerate(exact["problems"]) if text} == expected
    assert pd.read_csv(files.csv)["problems"].dropna().to_dict() == expected
    assert exact["logit"].tolist() == whole["logit"].tolist()


def test_a_formula_in_a_case_is_neutralised_in_the_csv_alone(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path
) -> None:
    """FAULTS 34."""
    names = cohort.index["case_id"].to_numpy(object).copy()
    names[0] = "=HYPERLINK(1)"
    files = score(outcome.predictor, replace(cohort, index=cohort.index.assign(case_id=names)), tmp_path)
    exact, text = pd.read_parquet(files.parquet), pd.read_csv(files.csv)
    assert (exact["case_id"][0], text["case_id"][0]) == ("=HYPERLINK(1)", "'=HYPERLINK(1)")
    assert text["logit"].to_numpy() == pytest.approx(exact["logit"].to_numpy())  # negative ones among them
    assert (text["logit"] < 0).any()


def test_a_case_of_another_kind_gets_no_risk_in_either_file_but_the_reason(
    outcome: TrainingOutcome, cohort: Cohort, tmp_path: Path
) -> None:
    """FAULTS 29. Its risk stays known to those who evaluate the model."""
    known, batch = outcome.predictor.trust.familiar["record"], cohort.batch(cohort.rows())
    tokens = outcome.predictor.encode(batch)["record"]
    scores = known.scores(batch.streams["record"], tokens, outcome.predictor.statistics.streams["record"])
    familiar = {"record": replace(known, limits={"tokens": float(np.median(scores["tokens"]))})}
    strict = replace(outcome.predictor, trust=replace(outcome.predictor.trust, familiar=familiar))
    files = score(strict, cohort, tmp_path)
    exact, text = pd.read_parquet(files.parquet), pd.read_csv(files.csv)
    hidden = exact["abstained"].to_numpy()
    assert (files.abstained, text["abstained"].sum()) == (hidden.sum(), hidden.sum())
    assert 70 <= files.abstained <= 90
    for frame in (exact, text):
        assert frame.loc[hidden, ["risk", "risk_low", "risk_high", "logit", "logit_std"]].isna().all(axis=None)
        assert frame.loc[~hidden, ["risk", "risk_low", "risk_high", "logit", "logit_std"]].notna().all(axis=None)
        assert set(frame.loc[hidden, "reason"]) == {"record: not the kind of data that the model was trained on"}
    assert set(exact.loc[hidden, "conformal_90"]) == {""}
    assert set(exact.loc[~hidden, "conformal_90"]) <= {"{}", "{0}", "{1}", "{0, 1}"}
    assert np.isfinite(predict_rows(strict, cohort, cohort.rows()).risk).all()
