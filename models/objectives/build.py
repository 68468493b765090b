"""From a task's target to the objective that its kind asks for."""

from collections.abc import Callable
from typing import Any, cast

from ingest.target import Target
from ingest.task import Task
from models.objectives.binary import BinaryObjective, LabelsObjective
from models.objectives.classes import ClassesObjective, OrdinalObjective
from models.objectives.objective import Objective, ObjectiveModule
from models.objectives.regression import RegressionObjective
from models.objectives.several import SeveralObjective
from models.objectives.survival import SurvivalObjective


def build_objective(task: Task) -> Objective:
    """The objective of all that the task asks for."""
    parts = {name: _of(target) for name, target in task.targets.items()}
    return cast(Objective, parts["target"] if len(parts) == 1 else SeveralObjective(dict(parts)))


def _of(target: Target) -> ObjectiveModule:
    return OBJECTIVES[target.kind](target)


OBJECTIVES: dict[str, Callable[[Any], ObjectiveModule]] = {
    "binary": lambda target: BinaryObjective(),
    "multiclass": lambda target: ClassesObjective(tuple(target.classes), target.risk),
    "ordinal": lambda target: OrdinalObjective(tuple(target.classes), target.risk),
    "multilabel": lambda target: LabelsObjective(tuple(target.labels), target.risk),
    "regression": lambda target: RegressionObjective(target.above),
    "survival": lambda target: SurvivalObjective(
        tuple(target.causes), target.risk or next(iter(target.causes)), target.horizon_hours, target.intervals
    ),
}
