"""Encoders trained alone are kept under what they depend on, and one that is hopeless is given up."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ingest.cohort import Cohort
from ingest.errors import ModelError
from models.config import ModelConfig, model_config
from models.training.train import train
from models.tune.encoders import AloneEncoders, Hopeless, is_hopeless
from models.tune.trials import splits_of

pytestmark = pytest.mark.slow  # searches train many small models

LOSSES = st.lists(st.floats(0.1, 2.0), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def cohort(brief_cohort: Callable[..., Cohort]) -> Cohort:
    return brief_cohort()


def at(cohort: Cohort, folder: Path, seed: int = 0) -> AloneEncoders:
    return AloneEncoders(cohort, splits_of(cohort), folder, seed)


def with_training(config: ModelConfig, **changed: float) -> ModelConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=changed)})


def test_the_key_holds_all_that_a_training_alone_depends_on_and_no_more(cohort: Cohort, tmp_path: Path) -> None:
    alone, config = at(cohort, tmp_path), model_config(cohort.task)
    mine = alone.key(config, "labs")
    record = {**config.encoders, "record": config.encoders["record"].model_copy(update={"network": "mlp"})}
    fusion = config.fusion.model_copy(update={"kind": "gated", "layers": 3})
    for same in (
        config.model_copy(update={"encoders": record}),
        config.model_copy(update={"fusion": fusion, "members": 9, "evidence": "none"}),
        with_training(config, fusion_learning_rate=0.5, epochs=77),
    ):
        assert alone.key(same, "labs") == mine
    labs = {**config.encoders, "labs": config.encoders["labs"].model_copy(update={"network": "lstm"})}
    others = [
        alone.key(config, "notes"),
        alone.key(config.model_copy(update={"encoders": labs}), "labs"),
        alone.key(config.model_copy(update={"width": 32}), "labs"),
        alone.key(config.model_copy(update={"dropout": 0.5}), "labs"),
        alone.key(with_training(config, learning_rate=0.5), "labs"),
        alone.key(with_training(config, alone_epochs=7), "labs"),
        at(cohort, tmp_path, seed=1).key(config, "labs"),
    ]
    flipped = cohort.target.copy()
    flipped[cohort.rows("validation")[0]] = 1 - flipped[cohort.rows("validation")[0]]
    others.append(at(replace(cohort, index=cohort.index.assign(target=flipped)), tmp_path).key(config, "labs"))
    assert len({mine, *others}) == 1 + len(others)


def test_what_is_kept_is_what_was_trained_and_is_not_trained_again(cohort: Cohort, tmp_path: Path) -> None:
    config = model_config(cohort.task)
    heard: list[str] = []
    first = at(cohort, tmp_path).state(config, {}, lambda stream, _: heard.append(stream))
    assert heard == ["record", "record", "labs", "labs", "notes", "notes"]
    second = at(cohort, tmp_path).state(config, {}, lambda stream, _: heard.append(stream))
    assert len(heard) == 6
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not list(tmp_path.glob("*.run"))


def test_a_stream_alone_is_trained_as_training_does_it(cohort: Cohort, tmp_path: Path) -> None:
    config = model_config(cohort.task, {**cohort.task.model, "members": 1, "evidence": "sum",
                                        "fusion": {"kind": "product-of-experts", "heads": 1}})  # fmt: skip
    outcome = train(cohort, config, seed=0, version="v0001", streams=["labs"])
    mine = at(cohort, tmp_path).state(config, {})
    theirs = outcome.predictor.network.state_dict()
    keys = [key for key in theirs if key.startswith(("encoders.labs.", "alone.labs."))]
    assert keys
    assert all(torch.equal(mine[key], theirs[key]) for key in keys)


def test_an_altered_file_is_told(cohort: Cohort, tmp_path: Path) -> None:
    alone, config = at(cohort, tmp_path), model_config(cohort.task)
    alone.state(config, {})
    (tmp_path / f"labs-{alone.key(config, 'labs')}" / "encoder.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match=r"labs-[0-9a-f]{12}: expected an encoder, got .*; remove it to train it anew"):
        alone.state(config, {})


def test_one_that_is_worse_than_most_is_given_up_early(brief_cohort: Callable[..., Cohort], tmp_path: Path) -> None:
    cohort = brief_cohort(n=200, strength=4.0, alone_epochs=7, patience=7, average_decay=0.0)
    alone, config = at(cohort, tmp_path), model_config(cohort.task)
    rivals: dict[str, list[str]] = {"labs": []}
    for rate in (2e-3, 3e-3, 4e-3, 5e-3):
        alone.state(with_training(config, learning_rate=rate), rivals)
        rivals["labs"].append(alone.key(with_training(config, learning_rate=rate), "labs"))
    heard: list[tuple[str, int]] = []
    idle = with_training(config, learning_rate=1e-9)
    with pytest.raises(Hopeless, match=r"^labs alone, epoch 5: "):
        alone.state(idle, rivals, lambda stream, epoch: heard.append((stream, epoch.number)))
    assert heard == [*[("record", number) for number in range(1, 8)], *[("labs", number) for number in range(1, 6)]]
    assert not list(tmp_path.glob("*.run"))
    alone.state(idle, {})  # without rivals there is nothing to be worse than


@given(losses=LOSSES, rivals=st.lists(LOSSES, max_size=8))
def test_the_median_rule(losses: list[float], rivals: list[list[float]]) -> None:
    epochs = len(losses)
    expected = (
        epochs > 4
        and len(rivals) >= 4
        and sorted(losses)[0] > statistics.median(sorted(rival[:epochs])[0] for rival in rivals)
    )
    assert is_hopeless(losses, rivals) == expected
