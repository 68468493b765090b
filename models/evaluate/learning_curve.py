"""A learning curve: what a model gains from more training cases, judged on the same test cases throughout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from ingest.align.refit import refit
from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from models.config import ModelConfig
from models.evaluate.bootstrap import draw_resamples
from models.evaluate.evaluation import FUSED
from models.evaluate.figures import COLOURS, STYLE
from models.evaluate.folds import frozen_streams, risks_of
from models.evaluate.metrics import EvaluationError, Measure, auprc, auroc, brier, check_outcomes
from models.evaluate.partition import check_whole
from models.evaluate.pooled import estimate
from models.evaluate.results import Estimate
from models.evaluate.rivals import RIVALS, Part, Rival

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
MEASURES: dict[str, Measure] = {"auroc": auroc, "auprc": auprc, "brier": brier}
DEFAULT_RIVALS: dict[str, Rival] = {name: RIVALS[name] for name in ("network", "gradient-boosting")}
LEFT_OUT = "left out"  # no part of the cohort


@dataclass(frozen=True)
class Point:
    """One share of the training subjects. models: name -> measure -> estimate; problems: rival -> why it has none."""

    share: float
    subjects: int
    cases: int
    events: int
    models: Mapping[str, Mapping[str, Estimate]]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class LearningCurve:
    """Every share on the same test cases. cases, subjects and events of a point count training and validation."""

    task: str
    n: int
    events: int
    seed: int
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON; never NaN."""
        raw: dict[str, Any] = TypeAdapter(LearningCurve).dump_python(self, mode="json")
        return raw

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "LearningCurve":
        """The inverse of `to_json`."""
        return TypeAdapter(LearningCurve).validate_python(raw)


def learning_curve(
    cohort: Cohort,
    config: ModelConfig,
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    groups: np.ndarray | None = None,
    rivals: Mapping[str, Rival] = DEFAULT_RIVALS,
    folder: Path | None = None,
    resamples: int = 1000,
    on_step: Callable[[str, int, int], None] | None = None,
) -> LearningCurve:
    """Fit every rival on growing shares of the subjects of the training and of the validation split.

    A smaller share is part of every larger one. The validation split is thinned too: a model of few cases has few to
    stop and to calibrate on. Normalisation and levels are fitted on the share. folder: as in `cross_validate`. A
    share that cannot train a rival says why; raises OneClassError where the test cases are all of one class.
    """
    if not shares or sorted(set(shares)) != list(shares) or not 0 < shares[0] <= shares[-1] <= 1:
        raise EvaluationError(f"shares: expected growing numbers above 0, at most 1, got {list(shares)}")
    subjects = cohort.index["subject_id"].to_numpy()
    groups = subjects if groups is None else np.asarray(groups)
    check_whole(groups, subjects)
    rows = cohort.rows("test")
    rows = rows[~np.isnan(cohort.target[rows])]
    target = cohort.target[rows].astype(float)
    check_outcomes(target, "of the test split")
    drawn = draw_resamples(target, subjects[rows], np.random.default_rng(seed), resamples)
    place = standing(cohort, groups, seed)
    points = []
    for number, share in enumerate(shares):
        own = cohort.index["split"].to_numpy(object)
        split = np.where((own == "test") | (place <= share), own, LEFT_OUT)
        mine = refit(cohort, split, keep=frozen_streams(config))
        models: dict[str, dict[str, Estimate]] = {}
        problems: dict[str, str] = {}
        for at, (name, rival) in enumerate(rivals.items()):
            if on_step is not None:
                on_step(f"{share:.0%}: {name}", number * len(rivals) + at, len(shares) * len(rivals))
            run = None if folder is None else folder / ".runs" / f"share-{name}"
            kept = None if folder is None else folder / "shares" / f"{share:g}-{name}.parquet"
            try:
                found = risks_of(rival, name, Part(mine, config, rows, seed, run), kept)
            except TelltaleError as error:
                problems[name] = str(error)
                continue
            models |= {
                model: {label: estimate(measure, target, risk, drawn) for label, measure in MEASURES.items()}
                for model, risk in found.items()
            }
        learnt = np.isin(split, ("train", "validation")) & ~np.isnan(cohort.target)
        events = int(cohort.target[learnt].sum())
        counts = (len(np.unique(subjects[learnt])), int(learnt.sum()), events)
        points.append(Point(float(share), *counts, models, problems))
    return LearningCurve(cohort.task.name, len(rows), int(target.sum()), seed, tuple(points))


def standing(cohort: Cohort, groups: np.ndarray, seed: int) -> np.ndarray:
    """(N,) each case's place in (0, 1]: a share holds the groups up to it. Of each split, and of those with the event
    and those without, every share holds its part, one group at least."""
    _, number = np.unique(groups, return_inverse=True)
    target = np.nan_to_num(cohort.target)
    event = np.bincount(number, target) > 0
    split = cohort.index["split"].to_numpy(str)
    place = np.ones(len(event))
    rng = np.random.default_rng(seed)
    for part in ("train", "validation"):
        here = np.zeros(len(event), bool)
        here[number[split == part]] = True
        for label in (True, False):
            some = np.flatnonzero(here & (event == label))
            order = rng.permutation(len(some))
            place[some[order]] = np.arange(len(some)) / max(len(some), 1) + 1e-12
    return np.asarray(place[number])


def learning_curve_figure(curve: LearningCurve, measure: str = "auroc") -> "Figure":
    """A measure over the number of training cases, with bands: fused and flat models strong, single streams faint."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        axes = figure.subplots()
        names = list(dict.fromkeys(name for point in curve.points for name in point.models))
        singles = [name for name in names if name not in STRONG]
        for name in names:
            points = [(p.cases, p.models[name][measure]) for p in curve.points if name in p.models]
            told = [(x, e.value, e.low, e.high) for x, e in points if e.value is not None]
            if not told:
                continue
            x, value, low, high = zip(*told, strict=True)
            colour = STRONG.get(name) or COLOURS[f"single-{singles.index(name) % 8 + 1}"]
            if name in STRONG:
                axes.fill_between(x, low, high, color=colour, alpha=0.14, lw=0)
            width, alpha = (2.2 if name == FUSED else 1.6, 1.0) if name in STRONG else (1.0, 0.8)
            axes.plot(x, value, "o-", ms=4, color=colour, label=name, lw=width, alpha=alpha)
        axes.set_xscale("log")
        cases = [point.cases for point in curve.points]
        axes.set_xticks(cases, [f"{number:,}" for number in cases])
        axes.minorticks_off()
        axes.set(xlabel="Training and validation cases (logarithmic)", ylabel=LABELS.get(measure, measure))
        figure.legend(loc="outside right center")
    return figure


STRONG: dict[str, str] = {
    FUSED: COLOURS["fused"],
    "gradient boosting": COLOURS["baseline"],
    "logistic regression": COLOURS["attainable"],
    "late average": COLOURS["muted"],
}
LABELS = {
    "auroc": "AUROC, with 95 % interval",
    "auprc": "Average precision, with 95 % interval",
    "brier": "Brier score",
}
