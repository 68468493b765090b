"""A model trained without a stream: what a model that merely lacks it is held against."""

from dataclasses import replace

from ingest.cohort import Cohort
from models.config import ModelConfig
from models.network import build_network
from models.prediction import Predictor
from models.training.train import TrainingOutcome, train


def train_without(
    stream: str, outcome: TrainingOutcome, cohort: Cohort, config: ModelConfig, *, seed: int
) -> Predictor:
    """Trained on all other streams of `outcome`'s model, which is of the same cohort, configuration and seed.

    Encoders are trained each by itself, so those of the others are the same and are taken as they are.
    """
    others = [name for name in outcome.predictor.stream_names if name != stream]
    settings = config.model_copy(update={"training": config.training.model_copy(update={"alone_epochs": 0})})
    whole = outcome.predictor.statistics
    statistics = replace(whole, streams={name: whole.streams[name] for name in others})
    network = build_network(config, statistics, cohort.task)
    state = network.state_dict()
    for name in others:
        mine = (f"encoders.{name}.", f"alone.{name}.")
        single = outcome.alone[name].network.state_dict() if outcome.alone else {}
        state |= {key: tensor for key, tensor in single.items() if key.startswith(mine)}
    network.load_state_dict(state)
    network.prior.copy_(outcome.predictor.network.prior)
    start = replace(outcome.predictor, network=network, statistics=statistics)
    return train(cohort, settings, seed=seed, version="v0001", streams=others, start=start).predictor
