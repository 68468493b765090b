"""The features of frozen encoders, computed once and kept beside the cohort, so that training again is quick."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ingest.batch import Stream
from ingest.cohort import Cohort
from ingest.files import replacing_file
from ingest.statistics import Statistics
from models.config import FusionConfig, ModelConfig
from models.encoders.block_projection import BlockProjection
from models.network import Network, build_network

BATCH = 32
PROJECTED_AT_MOST = 6000  # cases that a projection is fitted on


def with_frozen_features(
    cohort: Cohort, network: Network, device: torch.device, progress: Callable[[str, int, int], None] | None = None
) -> Cohort:
    """The cohort with the values of every frozen encoder's stream replaced by that encoder's features.

    They are kept in the cohort's folder under a key made of the backbone's weights; what is there already is used.
    `progress` hears (stream, rows done, rows in all).
    """
    keys = {}
    for name, encoder in network.encoders.items():
        if not getattr(encoder, "frozen", False):
            continue
        keys[name] = feature_key(encoder)
        for shard in sorted(int(s) for s in cohort.index["shard"].unique()):
            if not cohort.features_file(shard, name, keys[name]).is_file():
                _keep(cohort, shard, name, keys[name], encoder, device, progress)
    return cohort.with_features(keys)


def with_features_of(cohort: Cohort, config: ModelConfig) -> Cohort:
    """The cohort with the features of the frozen encoders that a configuration asks for, for models without any."""
    frozen = [name for name in cohort.stream_names if config.encoders[name].frozen]
    if not frozen:
        return cohort
    statistics = Statistics({name: cohort.statistics.streams[name] for name in frozen}, cohort.statistics.cases, 0.5)
    plain = config.model_copy(update={"experts": (), "fusion": FusionConfig(kind="late-average"), "width": 8})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return with_frozen_features(cohort, build_network(plain, statistics, cohort.task).to(device), device)


def fit_projections(network: Network, cohort: Cohort, rows: np.ndarray, seed: int) -> None:
    """Fit what encoders of very many features need to know of them, on those of training cases."""
    for number, (name, encoder) in enumerate(network.encoders.items()):
        projection = getattr(encoder, "out", None)
        if not isinstance(projection, BlockProjection):
            continue
        has = rows[cohort.index[f"{name}_row"].to_numpy()[rows] >= 0]
        some = np.random.default_rng([seed, number]).permutation(has)[:PROJECTED_AT_MOST]
        streams = (batch.streams[name] for batch in cohort.batches(np.sort(some), BATCH, [name]))
        features = [stream.values[stream.observed_times] for stream in streams]
        if features:
            projection.fit(torch.cat(features), torch.Generator().manual_seed(seed))


def feature_key(encoder: nn.Module) -> str:
    """Twelve hexadecimal digits that stand for a frozen backbone: its parts, its weights, how its input is scaled."""
    digest = hashlib.sha256()
    for name, module in encoder.named_modules():
        if not name.startswith("out"):
            digest.update(f"{name} {type(module).__qualname__} {getattr(module, 'revision', '')}".encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        if not name.startswith("out."):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).tobytes())
    return digest.hexdigest()[:12]


def _keep(
    cohort: Cohort,
    shard: int,
    name: str,
    key: str,
    encoder: nn.Module,
    device: torch.device,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    arrays = cohort.with_features({}).arrays(shard, name)
    rows = len(arrays.values)
    encoder = encoder.to(device).eval()
    with replacing_file(cohort.features_file(shard, name, key)) as path:
        kept = np.zeros((0, 1, 1), np.float16)
        for start in range(0, rows, BATCH):
            features = _features(encoder, cohort.stored(shard, name, slice(start, start + BATCH)).to(device))
            if start == 0:
                kept = np.lib.format.open_memmap(path, "w+", np.float16, (rows, *features.shape[1:]))
            kept[start : start + BATCH] = features
            if progress is not None:
                progress(name, min(start + BATCH, rows), rows)
        if rows == 0:  # nobody here has the stream: no rows, but of the right shape
            nothing = _features(encoder, cohort.stored(shard, name, slice(0, 0)).to(device))
            with path.open("wb") as file:
                np.save(file, nothing)


@torch.inference_mode()
def _features(encoder: nn.Module, stream: Stream) -> np.ndarray:
    features: torch.Tensor = encoder.features(stream)  # type: ignore[operator]  # what `frozen` promises
    return features.cpu().numpy().astype(np.float16)
