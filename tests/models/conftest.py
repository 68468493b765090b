"""Models small enough to be trained in a second."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from ingest.cohort import Cohort
from models.config import ModelConfig, model_config
from models.network import Network, build_network
from models.training.train import TrainingOutcome, train
from models.training.weights import seeded

TINY: Mapping[str, Any] = {"width": 16, "members": 2, "fusion": {"heads": 2}, "experts": ()}
BRIEF: Mapping[str, Any] = {"alone_epochs": 1, "epochs": 1, "warmup_epochs": 0}


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., ModelConfig]:
    """A factory: `tiny_config(cohort, fusion="attention", **training)`, width 16, 2 members, no experts, one epoch."""

    def make(cohort: Cohort, fusion: str = "attention", **training: Any) -> ModelConfig:
        raw = {**TINY, "fusion": {**TINY["fusion"], "kind": fusion}, "training": {**BRIEF, **training}}
        return model_config(cohort.task, raw)

    return make


@pytest.fixture(scope="session")
def shaken_network(tiny_config: Callable[..., ModelConfig]) -> Callable[..., Network]:
    """A factory: a network all of whose weights are random, so that every part of it has its say."""

    def make(cohort: Cohort, fusion: str = "attention") -> Network:
        with seeded(5):
            network = build_network(tiny_config(cohort, fusion), cohort.statistics, cohort.task).eval()
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    if not name.startswith("encoders."):
                        parameter.add_(0.3 * torch.randn_like(parameter))
        return network

    return make


@pytest.fixture(scope="session")
def outcome(synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]) -> TrainingOutcome:
    """A model trained for an epoch on 160 cases of all six streams, version v0001. Never changed by a test."""
    cohort = synthetic_cohort(n=160)
    return train(cohort, tiny_config(cohort), seed=1, version="v0001")


@pytest.fixture
def with_targets() -> Callable[[Cohort, Any], Cohort]:
    """A factory: the same cohort in memory with other outcomes."""

    def make(cohort: Cohort, target: Any) -> Cohort:
        return replace(cohort, index=cohort.index.assign(target=target))

    return make
