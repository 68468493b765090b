"""Scoring: a cohort through a model in bounded memory, to Parquet and CSV."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.cohort import Cohort, presence_pattern
from ingest.errors import ModelError
from ingest.exports.safe_csv import write_csv
from ingest.files import replacing_file
from models.features import with_frozen_features
from models.prediction import Prediction, Predictor
from models.trust.conformal import labels_of
from models.trust.selfcheck import SelfCheck

BATCH = 256


@dataclass(frozen=True)
class ScoreFiles:
    """What was written: the same rows twice, for programs and for people.

    abstained: for how many cases no risk is given. alarms: what the self-check found wrong; the scores are then not to
    be used.
    """

    parquet: Path
    csv: Path
    cases: int
    abstained: int = 0
    alarms: tuple[str, ...] = ()


def score(
    predictor: Predictor,
    cohort: Cohort,
    folder: Path,
    *,
    rows: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreFiles:
    """Score cases (all where rows is None) and write `<version>.parquet` and `.csv` into folder, whole or not at all.

    Columns: case_id, subject_id, index_time, split, target (empty where unknown), risk, risk_low, risk_high (90 %),
    logit, logit_std (all five empty where the model abstains), abstained and the reason, warning (what else to mind),
    conformal_<level> ("{0, 1}": what cannot be ruled out; of a number conformal_<level>_low and _high; none of them
    where the outcome is a time), unfamiliar (the least familiar stream's distance from training, 1 is the limit),
    disagreement (how far apart the streams are by themselves, 1 is the limit), model_version, pattern, has_<stream>,
    problems (the streams that were there but could not be
    used, or only in part, and why: "ecg: flat line in all leads; ..."; empty where there is none),
    inputs (the digest of what was scored; empty where the cohort keeps none), scored_at.
    """
    check_fits(predictor, cohort)
    chosen = cohort.rows() if rows is None else rows
    cohort = with_frozen_features(cohort, predictor.network, predictor.device)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    files = ScoreFiles(folder / f"{predictor.version}.parquet", folder / f"{predictor.version}.csv", len(chosen))
    check, abstained = SelfCheck(predictor.stream_names), 0
    with replacing_file(files.parquet) as parquet, replacing_file(files.csv) as csv:
        writer: pq.ParquetWriter | None = None
        try:
            for start in range(0, max(len(chosen), 1), BATCH):
                part = chosen[start : start + BATCH]
                frame = _frame(predictor, cohort, part, check).assign(scored_at=now)
                abstained += int(frame["abstained"].sum())
                table = pa.Table.from_pandas(frame, preserve_index=False)
                writer = writer or pq.ParquetWriter(parquet, table.schema, compression="zstd")
                writer.write_table(table.cast(writer.schema))
                write_csv(csv, frame, append=start > 0)
                if progress is not None:
                    progress(start + len(part), len(chosen))
        finally:
            if writer is not None:
                writer.close()
    return replace(files, abstained=abstained, alarms=tuple(check.alarms()))


def check_fits(predictor: Predictor, cohort: Cohort) -> None:
    """Raise ModelError where the cohort's streams are not those that the model was trained on."""
    for name in predictor.stream_names:
        trained = predictor.statistics.streams[name]
        here = cohort.statistics.streams.get(name)
        if here is None:
            raise ModelError(f"model {predictor.version} reads the stream {name}; cohort {cohort.folder.name} has none")
        for part in ("kind", "feature_shape", "names", "units", "levels", "vocabulary_size"):
            if getattr(here, part) != getattr(trained, part):
                raise ModelError(
                    f"model {predictor.version}, stream {name}, {part}: expected {getattr(trained, part)}, "
                    f"cohort {cohort.folder.name} has {getattr(here, part)}; align it with the model's own task"
                )


def predict_rows(predictor: Predictor, cohort: Cohort, rows: np.ndarray, keep: np.ndarray | None = None) -> Prediction:
    """The predictions of these cases in memory, for evaluation. keep (M,) bool limits the streams."""
    streams = predictor.stream_names
    parts = [predictor.predict(batch, keep) for batch in cohort.batches(rows, BATCH, streams)]
    parts = parts or [predictor.predict(cohort.batch(rows, streams), keep)]
    return Prediction(*(np.concatenate([getattr(p, f) for p in parts]) for f in Prediction.__dataclass_fields__))


def _predicted(predictor: Predictor, prediction: Prediction) -> dict[str, np.ndarray]:
    """All that is predicted beside the risk; empty where the model abstains."""
    shown, names = prediction.shown(prediction.probabilities), predictor.network.meaning.names
    return {f"predicted_{name}": shown[:, i] for i, name in enumerate(names) if name != "risk"}


def _frame(predictor: Predictor, cohort: Cohort, rows: np.ndarray, check: SelfCheck) -> pd.DataFrame:
    index = cohort.index.iloc[rows]
    names = predictor.stream_names
    batch = cohort.batch(rows, names)
    tokens = predictor.encode(batch)
    prediction = predictor.read(batch, tokens)
    check.see(batch, tokens, prediction.logit)
    return pd.DataFrame(
        {
            "case_id": index["case_id"].to_numpy(str),
            "subject_id": index["subject_id"].to_numpy(np.int64),
            "index_time": index["index_time"].to_numpy("datetime64[us]"),
            "split": index["split"].to_numpy(str),
            "target": index["target"].to_numpy(np.float32),
            "risk": prediction.shown_risk,
            "risk_low": prediction.shown(prediction.low),
            "risk_high": prediction.shown(prediction.high),
            "logit": prediction.shown(prediction.logit),
            "logit_std": prediction.shown(prediction.logit_std),
            "abstained": prediction.abstained,
            "reason": prediction.reason,
            "warning": prediction.warning,
            **_predicted(predictor, prediction),
            **_conformal(predictor, prediction),
            "unfamiliar": prediction.unfamiliar.max(1),
            "disagreement": prediction.disagreement,
            "model_version": predictor.version,
            "pattern": presence_pattern(prediction.present, names),
            **{f"has_{name}": prediction.present[:, i] for i, name in enumerate(names)},
            "problems": problems_of(index, list(cohort.task.streams)),
            "inputs": np.array([cohort.inputs(int(row)) or "" for row in rows], str),
        }
    )


def _conformal(predictor: Predictor, prediction: Prediction) -> dict[str, np.ndarray]:
    """The columns of what cannot be ruled out, empty where the model abstains."""
    fitted = predictor.trust.conformal
    if fitted is None:
        return {}
    columns = {}
    labels, hidden = labels_of(predictor.task), prediction.abstained
    for place, level in enumerate(fitted.levels):
        name = f"conformal_{100 * level:g}"
        if labels:
            sets = prediction.conformal_set[:, place]
            said = ["{" + ", ".join(np.array(labels)[row]) + "}" for row in sets]
            columns[name] = np.where(hidden, "", np.array(said, str))
        else:
            shown = prediction.shown(prediction.conformal_interval)[:, place]
            columns |= {f"{name}_low": shown[:, 0], f"{name}_high": shown[:, 1]}
    return columns


def problems_of(index: pd.DataFrame, streams: Sequence[str]) -> np.ndarray:
    """(n,) texts: what the cohort's index says of streams that could not be used. Older cohorts say nothing."""
    said = [(name, index[f"{name}_problem"]) for name in streams if f"{name}_problem" in index]
    rows = [
        "; ".join(f"{name}: {column.iat[row]}" for name, column in said if isinstance(column.iat[row], str))
        for row in range(len(index))
    ]
    return np.array(rows, str) if rows else np.zeros(0, "U1")
