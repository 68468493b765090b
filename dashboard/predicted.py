"""All that a model predicts of a case, beside the risk: read from its score, in the order and words of its task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ingest.target import ClassesTarget, LabelsTarget, RegressionTarget, SurvivalTarget, Target
from ingest.task import Task

COLUMN = "predicted_"  # before the names of `models.objectives.Objective.names`, in a score


@dataclass(frozen=True)
class Predicted:
    """What is predicted of one outcome. title: of what is learnt beside the target its name, else empty.

    chances: name -> the probability of a class, of which one comes, or of a label, any of which may. curves: cause ->
    (hours, probability by then). number: (mean, standard deviation, unit).
    """

    title: str
    kind: Literal["classes", "labels", "curves", "number"]
    chances: Mapping[str, float]
    curves: Mapping[str, tuple[tuple[float, float], ...]]
    number: tuple[float, float, str] | None = None


def predicted(task: Task, score: Mapping[str, Any]) -> list[Predicted]:
    """One for each outcome of which a score says more than the risk; none where it says nothing more."""
    found = []
    for name, target in task.targets.items():
        prefix = COLUMN if name == "target" else f"{COLUMN}{name}: "
        said = {part: score.get(prefix + part) for part in _parts(target)}
        if said and all(value is not None and value == value for value in said.values()):
            title = "" if name == "target" else name
            found.append(_of(target, title, {part: float(str(value)) for part, value in said.items()}))
    return found


def names_of(task: Task) -> list[str]:
    """The names of all that is predicted, as the objective has them."""
    return [
        part if name == "target" else f"{name}: {part}"
        for name, target in task.targets.items()
        for part in _parts(target) or ["risk"]
    ]


def _parts(target: Target) -> list[str]:
    """The names of one outcome's predictions; none of a binary one, which has its risk alone."""
    if isinstance(target, ClassesTarget):
        return list(target.classes)
    if isinstance(target, LabelsTarget):
        return list(target.labels)
    if isinstance(target, RegressionTarget):
        return ["mean", "standard deviation"]
    if isinstance(target, SurvivalTarget):
        return [f"{cause} by {hours:g} h" for cause in target.causes for hours in _ends(target)]
    return []


def _of(target: Target, title: str, said: Mapping[str, float]) -> Predicted:
    if isinstance(target, RegressionTarget):
        number = (said["mean"], said["standard deviation"], target.unit or "")
        return Predicted(title, "number", {}, {}, number)
    if isinstance(target, SurvivalTarget):
        curves = {
            cause: ((0.0, 0.0), *((hours, said[f"{cause} by {hours:g} h"]) for hours in _ends(target)))
            for cause in target.causes
        }
        return Predicted(title, "curves", {}, curves)
    kind: Literal["classes", "labels"] = "classes" if isinstance(target, ClassesTarget) else "labels"
    return Predicted(title, kind, said, {})


def _ends(target: SurvivalTarget) -> list[float]:
    return [target.horizon_hours * (j + 1) / target.intervals for j in range(target.intervals)]
