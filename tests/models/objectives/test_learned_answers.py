"""A trained network comes close to a truth that is known, for every kind of outcome and far closer than the prior.

Cases have two numbers, and what comes of them is drawn from a model of these; the whole way is gone, from observations
over alignment and training to calibrated predictions.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit, softmax
from scipy.stats import norm

from ingest.align.build import align
from ingest.cohort import Cohort, open_cohort
from ingest.observations import ObservationColumns
from ingest.task import parse_task
from models.config import model_config
from models.score import predict_rows
from models.training.train import train

pytestmark = pytest.mark.slow
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
CASES = 1000
HORIZON = 24.0
MODEL = {
    "width": 16, "members": 2, "dropout": 0.0, "experts": [], "fusion": {"heads": 2},
    "training": {"alone_epochs": 20, "epochs": 1, "batch_size": 64, "learning_rate": 0.02, "element_mask": 0.0},
}  # fmt: skip
GRADES = {"kind": "ordinal", "label": "SAID", "classes": {"low": ["0"], "middle": ["1"], "high": ["2"]},
          "risk": ["high"]}  # fmt: skip
EVENT = {"events": ["DEATH"], "horizon_hours": HORIZON}
NUMBER = {"kind": "regression", "value": "NUMBER", "above": 8.0}
DEATH_OR_HOME = {"kind": "survival", "causes": {"death": ["DEATH"], "home": ["HOME"]}, "follow_up": ["LAST"],
                 "horizon_hours": HORIZON, "intervals": 6}  # fmt: skip

Rows = list[tuple[str, float | None, float | None, str | None]]  # code, hours, number, text
Truth = tuple[dict[str, Any], Callable[[np.random.Generator, np.ndarray], Rows], Callable[[np.ndarray], np.ndarray]]


def slope(x: np.ndarray) -> np.ndarray:
    return 1.4 * x[..., 0] - 1.0 * x[..., 1]


def rates(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deaths and discharges per hour; the second does not depend on who it is."""
    return 0.02 * np.exp(0.8 * slope(x)), np.full(x.shape[:-1], 0.02)


def incidence(x: np.ndarray, hours: float, cause: int) -> np.ndarray:
    """Of competing exponential causes (Kalbfleisch & Prentice 2002, eq. 8.5, with constant hazards)."""
    each = rates(x)
    total = each[0] + each[1]
    return np.asarray(each[cause] / total * -np.expm1(-total * hours))


def binary(rng: np.random.Generator, x: np.ndarray) -> Rows:
    return [("DEATH", 10.0, None, None)] if rng.random() < expit(slope(x) - 0.5) else []


def said(chances: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.random.Generator, np.ndarray], Rows]:
    return lambda rng, x: [("SAID", 10.0, None, str(rng.choice(3, p=chances(x))))]


def three(x: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(np.stack([0 * slope(x), slope(x), x[..., 1] - 0.5], -1), -1))


def graded(x: np.ndarray) -> np.ndarray:
    first, second = expit(slope(x) + 0.5), expit(slope(x) - 0.5)
    return np.stack([1 - first, first * (1 - second), first * second], -1)


def labels(rng: np.random.Generator, x: np.ndarray) -> Rows:
    home = [("HOME", 12.0, None, None)] if rng.random() < expit(x[1]) else []
    return binary(rng, x) + home


def number(rng: np.random.Generator, x: np.ndarray) -> Rows:
    return [("NUMBER", 10.0, float(rng.normal(7 + slope(x), np.exp(0.4 * x[1]))), None)]


def course(rng: np.random.Generator, x: np.ndarray) -> Rows:
    """The first of death and discharge, unless follow-up ended before."""
    death, home = (float(rng.exponential(1 / rate)) for rate in rates(x))
    code, hours = ("DEATH", death) if death < home else ("HOME", home)
    last = float(rng.uniform(4, 60))
    rows: Rows = [("LAST", min(last, hours), None, None)]
    return [*rows, (code, hours, None, None)] if hours <= last else rows


def normal(x: np.ndarray) -> np.ndarray:
    return np.stack([7 + slope(x), np.exp(0.4 * x[:, 1])], 1)


# kind -> (target, what comes of a case, the truth (N, P) of all that is predicted)
KINDS: dict[str, Truth] = {
    "binary": ({"target": EVENT}, binary, lambda x: expit(slope(x) - 0.5)[:, None]),
    "multiclass": ({"target": {**GRADES, "kind": "multiclass"}}, said(three), three),
    "ordinal": ({"target": GRADES}, said(graded), graded),
    "multilabel": (
        {"target": {"kind": "multilabel", "risk": "death",
                    "labels": {"death": EVENT, "home": {**EVENT, "events": ["HOME"]}}}},
        labels,
        lambda x: np.stack([expit(slope(x) - 0.5), expit(x[:, 1])], 1),
    ),
    "regression": ({"target": NUMBER}, number, normal),
    "survival": (
        {"target": DEATH_OR_HOME},
        course,
        lambda x: np.stack([incidence(x, 4.0 * j, cause) for cause in (0, 1) for j in range(1, 7)], 1),
    ),
    "several": (
        {"target": EVENT, "also": {"number": NUMBER, "grade": GRADES}},
        lambda rng, x: binary(rng, x) + number(rng, x) * (rng.random() < 0.7) + said(graded)(rng, x),
        lambda x: np.concatenate([expit(slope(x) - 0.5)[:, None], normal(x), graded(x)], 1),
    ),
}  # fmt: skip


def cohort_of(kind: str, folder: Path) -> tuple[Cohort, np.ndarray]:
    """(the cohort, (N, 2) what is known of each case)."""
    targets, come, _ = KINDS[kind]
    rng = np.random.default_rng(11)
    x = rng.normal(size=(CASES, 2))
    columns = ObservationColumns()
    for subject, mine in enumerate(x):
        rows: Rows = [("IN", 0.0, None, None), ("A", -1.0, mine[0], None), ("B", -1.0, mine[1], None)]
        for code, hours, value, text in [*rows, *come(rng, mine)]:
            when = START + dt.timedelta(hours=float(hours or 0))
            columns.add(subject, code, time=when, numeric_value=value, text_value=text)
    features = [{"name": name, "codes": [name]} for name in "AB"]
    raw = {
        "name": "truth", "title": "Truth", "index": {"event": "IN"}, "model": MODEL, **targets,
        "streams": {"record": {"kind": "table", "features": features}},
    }  # fmt: skip
    align(pa.Table.from_batches([columns.batch()]), parse_task(raw, kind), folder / "cohort")
    cohort = open_cohort(folder / "cohort")
    return cohort, x[cohort.index["subject_id"].to_numpy()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_network_comes_close_to_the_truth(kind: str, tmp_path: Path) -> None:
    cohort, x = cohort_of(kind, tmp_path)
    predictor = train(cohort, model_config(cohort.task), seed=0, version="v0001").predictor
    rows = cohort.rows("test")
    said = predict_rows(predictor, cohort, rows)
    truth = KINDS[kind][2](x[rows])
    assert said.probabilities.shape == truth.shape
    off = np.abs(said.probabilities - truth).mean(0)
    constant = np.abs(truth - truth.mean(0)).mean(0)  # the best that could be said of everybody alike
    assert constant.max() > 0.15
    shares = dict(zip(predictor.network.meaning.names, zip(off, constant, strict=True), strict=True))
    assert (off < np.maximum(0.45 * constant, 0.04)).all(), shares


def test_the_risk_of_a_number_is_its_tail(tmp_path: Path) -> None:
    cohort, x = cohort_of("regression", tmp_path)
    predictor = train(cohort, model_config(cohort.task), seed=0, version="v0001").predictor
    rows = cohort.rows("test")
    mean, sd = KINDS["regression"][2](x[rows]).T
    risk = predict_rows(predictor, cohort, rows).risk
    assert np.abs(risk - norm.sf(8.0, mean, sd)).mean() < 0.08
