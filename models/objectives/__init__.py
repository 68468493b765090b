"""Objectives: what the logits of a network mean for each kind of outcome, and how wrong they are."""

from models.objectives.build import OBJECTIVES, build_objective
from models.objectives.objective import Objective

__all__ = ["OBJECTIVES", "Objective", "build_objective"]
