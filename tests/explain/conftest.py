"""A predictor with random weights: attributions must add up whatever the model has learnt."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from ingest.cohort import Cohort
from ingest.statistics import Statistics
from models.config import model_config
from models.network import build_network
from models.prediction import Predictor
from models.trust.calibrate import Calibration
from models.trust.logits import LogitCalibration


@pytest.fixture(scope="session")
def build_predictor() -> Callable[..., Predictor]:
    """A factory: `build_predictor(cohort, streams=None, encoders=None, fusion="attention")`."""

    def build(
        cohort: Cohort,
        streams: Sequence[str] | None = None,
        encoders: Mapping[str, Mapping[str, Any]] | None = None,
        fusion: str = "attention",
    ) -> Predictor:
        names = list(streams or cohort.stream_names)
        config = model_config(cohort.task, {"fusion": {"kind": fusion}})
        config = config.model_copy(
            update={
                "encoders": {n: config.encoders[n].model_copy(update=(encoders or {}).get(n, {})) for n in names},
                "width": 16,
            }
        )
        statistics = Statistics({n: cohort.statistics.streams[n] for n in names}, 100, 0.2)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            network = build_network(config, statistics, cohort.task).eval()
        for parameter in network.readout.parameters():
            parameter.data *= 4  # so that attributions are large beside rounding
        calibration = LogitCalibration((Calibration(1.3, -0.2),), network.meaning.groups)
        return Predictor("v0001", cohort.task, config, statistics, network, calibration, torch.device("cpu"))

    return build


@pytest.fixture(scope="session")
def predictor(synthetic_cohort: Callable[..., Cohort], build_predictor: Callable[..., Predictor]) -> Predictor:
    """All six streams of the synthetic cohort."""
    return build_predictor(synthetic_cohort())
