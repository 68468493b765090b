"""Evaluation: how good a model is, how sure that is, and against what."""

from models.evaluate.evaluation import evaluate
from models.evaluate.metrics import EvaluationError, OneClassError
from models.evaluate.results import Evaluation

__all__ = ["Evaluation", "EvaluationError", "OneClassError", "evaluate"]
