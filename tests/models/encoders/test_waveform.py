"""A waveform from file to risk: what is planted in an electrocardiogram is found, and explained where it lies."""

import datetime as dt
from pathlib import Path

import edfio
import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from ingest.align.build import align
from ingest.cohort import Cohort, open_cohort
from ingest.observations import ObservationColumns
from ingest.task import parse_task
from models.config import model_config
from models.score import predict_rows
from models.training.train import train

LEADS, RATE, SECONDS, CASES = ("I", "II", "V5"), 250, 6, 300
ADMITTED = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
TASK = {
    "name": "ecg", "title": "Death within 48 h", "index": {"event": "ADMISSION", "offset_hours": 24},
    "target": {"events": ["MEDS_DEATH"], "horizon_hours": 48},
    "streams": {"ecg": {
        "kind": "audio", "codes": ["ECG"], "form": "waveform", "sample_rate_hz": 100, "seconds": SECONDS,
        "leads": list(LEADS), "unit": "mV", "plausible": [0.1, 10], "band_hz": [0.5, 40],
    }},
}  # fmt: skip


def electrocardiogram(depression: float, rng: np.random.Generator) -> np.ndarray:
    """(samples, leads) in millivolts: P, Q, R, S and T as bells, and an ST segment of V5 that lies so much lower."""
    time = np.arange(RATE * SECONDS) / RATE
    phase = (time * rng.uniform(55, 95) / 60 + rng.random()) % 1
    waves = ((0.2, 0.025, 0.12), (0.36, 0.01, -0.1), (0.4, 0.012, 1.0), (0.44, 0.012, -0.2), (0.7, 0.05, 0.3))
    beat = sum(height * np.exp(-((phase - at) ** 2) / (2 * width**2)) for at, width, height in waves)
    wander = 0.15 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time + rng.random())
    leads = np.outer(beat, rng.uniform(0.4, 1.2, 3)) + wander[:, None] + 0.03 * rng.normal(size=(len(time), 3))
    leads[:, 2] -= depression * ((phase > 0.46) & (phase < 0.6))
    return leads


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, np.ndarray]:
    """(the cohort of files in millivolts, the risk that each subject's outcome was drawn from)."""
    folder, rng, rows = tmp_path_factory.mktemp("ecg"), np.random.default_rng(0), ObservationColumns()
    severity = rng.normal(size=CASES)
    risk = 1 / (1 + np.exp(-3 * severity))
    for subject in range(CASES):
        path = write(folder / f"{subject}.edf", electrocardiogram(0.15 * severity[subject], rng))
        rows.add(subject, "ADMISSION", time=ADMITTED, available_time=None)
        rows.add(subject, "ECG", time=ADMITTED + dt.timedelta(hours=5), available_time=None, asset=str(path))
        if rng.random() < risk[subject]:
            rows.add(subject, "MEDS_DEATH", time=ADMITTED + dt.timedelta(hours=40), available_time=None)
    align(pa.Table.from_batches([rows.batch()]), parse_task(TASK, "test"), folder / "cohort")
    return open_cohort(folder / "cohort"), risk


def write(path: Path, leads: np.ndarray) -> Path:
    edfio.Edf(
        [
            edfio.EdfSignal(samples, RATE, label=f"ECG {name}", physical_dimension="mV", physical_range=(-5, 5))
            for name, samples in zip(LEADS, leads.T, strict=True)
        ]
    ).write(path)
    return path


@pytest.mark.slow
def test_the_encoder_learns_what_was_planted_in_one_lead(cohort: tuple[Cohort, np.ndarray]) -> None:
    held, risk = cohort
    config = model_config(held.task, {"width": 32, "members": 2, "training": {"epochs": 12}})
    predictor = train(held, config, seed=0, version="v1").predictor
    rows = held.rows("test")
    best = roc_auc_score(held.target[rows], risk[held.index["subject_id"].to_numpy()[rows]])
    reached = roc_auc_score(held.target[rows], predict_rows(predictor, held, rows).logit)
    assert best > 0.9
    assert reached > best - 0.1
