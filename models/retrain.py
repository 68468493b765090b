"""Retraining behind a gate: a challenger grows from the champion, and takes its place only where it is not worse."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ingest.cohort import Cohort
from models import aliases, store
from models.evaluate.bootstrap import draw_resamples, paired_difference
from models.evaluate.metrics import Measure, auroc, brier, check_outcomes, log_loss
from models.features import with_frozen_features
from models.prediction import Predictor
from models.score import check_fits, predict_rows
from models.training.run import Epoch
from models.training.train import train

# The measure, whether more is better, and by how much a challenger may be worse and still count as "not worse".
GATE: tuple[tuple[Measure, bool, float], ...] = ((auroc, True, 0.005), (log_loss, False, 0.005), (brier, False, 0.002))


@dataclass(frozen=True)
class Check:
    """One measure on the same held-back cases: challenger less champion, its 95 % interval, and the verdict."""

    measure: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    not_worse: bool


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on cases that neither was trained on."""

    champion: str
    challenger: str
    cases: int
    events: int
    checks: tuple[Check, ...]

    @property
    def not_worse(self) -> bool:
        """Whether the challenger passed every check."""
        return all(check.not_worse for check in self.checks)

    @property
    def reason(self) -> str:
        """The verdict in one line."""
        if self.not_worse:
            return f"{self.challenger} is not worse than {self.champion} on {self.cases} held-back cases"
        worse = ", ".join(f"{c.measure} {c.difference:+.4f}" for c in self.checks if not c.not_worse)
        return f"{self.challenger} is worse than {self.champion} on {self.cases} held-back cases: {worse}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "checks": [vars(c) for c in self.checks], "not_worse": self.not_worse}


def challenge(
    cohort: Cohort,
    models: Path,
    database: Path,
    *,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Comparison:
    """Train a challenger from the champion on the cohort as it is now; promote it where it is not worse.

    The challenger is kept as a new version either way. Subjects keep their split for ever, so the test cases are
    new to both.
    """
    task = cohort.task.name
    champion = store.load(models / aliases.champion(database, task))
    check_fits(champion, cohort)
    version = store.next_version(models)
    outcome = train(
        cohort,
        champion.config,
        seed=seed,
        version=version,
        streams=champion.stream_names,
        start=champion,
        run_folder=models / ".runs" / version,
        on_epoch=on_epoch,
    )
    comparison = compare(champion, outcome.predictor, cohort, seed=seed)
    store.save(models, outcome, parent=champion.version, note=comparison.reason)
    store.save_alone(models, outcome)
    shutil.rmtree(models / ".runs" / version, ignore_errors=True)
    if comparison.not_worse:
        aliases.set_alias(database, task, version, comparison.reason)
    return comparison


def has_unseen_cases(cohort: Cohort, models: Path) -> bool:
    """Whether there are more cases to learn from than any version was trained on, as after a stopped retrain."""
    seen = [store.read_facts(models / version)["cases"] for version in store.versions(models)]
    most = max((cases["train"] + cases["validation"] for cases in seen), default=0)
    rows = np.concatenate([cohort.rows("train"), cohort.rows("validation")])
    return int(cohort.known[rows].sum()) > most


def compare(champion: Predictor, challenger: Predictor, cohort: Cohort, *, seed: int) -> Comparison:
    """Both models on the same test cases. Raises OneClassError where those are all of one class."""
    rows = cohort.rows("test")
    rows = rows[~np.isnan(cohort.target[rows])]
    target = cohort.target[rows].astype(float)
    check_outcomes(target, "of the test split")
    resamples = draw_resamples(
        target, cohort.index["subject_id"].to_numpy()[rows], np.random.default_rng(seed), resamples=1000
    )
    old, new = (
        predict_rows(model, with_frozen_features(cohort, model.network, model.device), rows).risk
        for model in (champion, challenger)
    )
    once = np.ones((1, len(rows)))
    checks = []
    for measure, more_is_better, margin in GATE:
        contrast = paired_difference(measure, target, new, old, resamples)
        worse_by = -contrast.value if more_is_better else contrast.value
        surely_worse = contrast.high < 0 if more_is_better else contrast.low > 0
        checks.append(
            Check(
                measure=measure.__name__,
                champion=float(measure(target, old, once)[0]),
                challenger=float(measure(target, new, once)[0]),
                difference=contrast.value,
                low=contrast.low,
                high=contrast.high,
                not_worse=bool(worse_by <= margin and not surely_worse),
            )
        )
    return Comparison(champion.version, challenger.version, len(rows), int(target.sum()), tuple(checks))
