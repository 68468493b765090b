"""What is kept is read back as it was, or refused; training begins with it, or says why it cannot."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from ingest.errors import ModelError, TelltaleError
from models.config import ModelConfig
from models.pretrain.kept import (
    encoders_for,
    load_pretrained,
    next_name,
    pretrained_folder,
    pretrained_names,
    save_pretrained,
)
from models.pretrain.pretrain import Pretrained, pretrain
from models.training.run import Epoch
from models.training.train import train

STREAMS = ["record", "labs", "sound"]


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=120)


@pytest.fixture(scope="module")
def found(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> Pretrained:
    return pretrain(cohort, tiny_config(cohort), seed=0, streams=STREAMS, epochs=4)


@pytest.fixture
def models(found: Pretrained, tmp_path: Path) -> Path:
    save_pretrained(pretrained_folder(tmp_path, "masked-0001"), found, "deterioration-small")
    return tmp_path


def test_what_was_kept_comes_back_bit_for_bit(models: Path, found: Pretrained) -> None:
    kept = load_pretrained(models, "masked-0001")
    assert list(kept.encoders) == STREAMS
    for name, state in found.encoders.items():
        assert state.keys() == kept.encoders[name].keys()
        assert all(torch.equal(tensor, kept.encoders[name][key]) for key, tensor in state.items())
    assert kept.statistics == found.statistics
    assert kept.facts["method"] == "masked"
    assert [epoch["number"] for epoch in kept.facts["history"]] == [1, 2, 3, 4]
    assert {path.suffix for path in (models / ".pretrained" / "masked-0001").iterdir()} == {".json", ".safetensors"}


def test_names_are_numbered_and_never_used_twice(models: Path, found: Pretrained) -> None:
    assert next_name(models, "masked") == "masked-0002"
    assert next_name(models, "contrastive") == "contrastive-0001"
    assert pretrained_names(models) == ["masked-0001"]
    with pytest.raises(ModelError, match="this name is taken"):
        save_pretrained(pretrained_folder(models, "masked-0001"), found, "deterioration-small")
    with pytest.raises(TelltaleError, match=r"name '../elsewhere': expected small letters"):
        pretrained_folder(models, "../elsewhere")


def test_an_altered_a_missing_and_an_extra_file_are_refused(models: Path) -> None:
    folder = pretrained_folder(models, "masked-0001")
    weights = folder / "labs.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"labs\.safetensors: expected SHA-256 .* the file was altered"):
        load_pretrained(models, "masked-0001")
    weights.unlink()
    with pytest.raises(ModelError, match=r"labs\.safetensors: expected this file, found none"):
        load_pretrained(models, "masked-0001")
    weights.write_bytes(whole)
    (folder / "labs.pkl").write_bytes(b"")
    with pytest.raises(ModelError, match=r"got also labs\.pkl; nothing was loaded"):
        load_pretrained(models, "masked-0001")


def test_a_name_that_there_is_not_is_answered_with_those_that_there_are(models: Path) -> None:
    with pytest.raises(ModelError, match=r"pretrained 'best': expected one of those kept .* \(masked-0001\)"):
        load_pretrained(models, "best")


def test_encoders_are_given_only_to_streams_that_mean_the_same(
    models: Path, cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    kept = load_pretrained(models, "masked-0001")
    config = tiny_config(cohort)
    assert list(encoders_for(kept, cohort, config)) == STREAMS
    with pytest.raises(ModelError, match="stream record, width: expected 32, as the task has it, got 16"):
        encoders_for(kept, cohort, config.model_copy(update={"width": 32}))
    other = config.encoders["sound"].model_copy(update={"network": "recurrent"})
    with pytest.raises(ModelError, match=r"stream sound, encoder: expected .*recurrent"):
        encoders_for(kept, cohort, config.model_copy(update={"encoders": {**config.encoders, "sound": other}}))
    labs = cohort.statistics.streams["labs"]
    turned = replace(labs, names=labs.names[::-1])  # the same shapes, and every value would be read for another
    statistics = replace(cohort.statistics, streams={**cohort.statistics.streams, "labs": turned})
    with pytest.raises(ModelError, match=r"stream labs, names: expected \('lactate', 'C-reactive protein'\)"):
        encoders_for(kept, replace(cohort, statistics=statistics), config)
    alone = replace(cohort.statistics, streams={"xray": cohort.statistics.streams["xray"]})
    with pytest.raises(ModelError, match="expected encoders for some of"):
        encoders_for(kept, replace(cohort, statistics=alone), config)


def test_training_begins_with_the_very_encoders(
    cohort: Cohort, found: Pretrained, tiny_config: Callable[..., ModelConfig]
) -> None:
    config = tiny_config(cohort, alone_epochs=0)  # nothing is learnt alone: what it begins with is what stays
    outcome = train(cohort, config, seed=1, version="v0001", pretrained=found.encoders)
    plain = train(cohort, config, seed=1, version="v0001")
    for name in cohort.stream_names:
        state = outcome.predictor.network.encoders[name].state_dict()
        expected = found.encoders[name] if name in STREAMS else plain.predictor.network.encoders[name].state_dict()
        assert all(torch.equal(state[key].cpu(), expected[key].cpu()) for key in expected), name


def test_a_run_from_pretrained_encoders_is_not_gone_on_with_by_one_from_nothing(
    cohort: Cohort, found: Pretrained, tiny_config: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    def stop(_: Epoch) -> None:
        raise Killed

    config = tiny_config(cohort, alone_epochs=2)
    with pytest.raises(Killed):
        train(cohort, config, seed=1, version="v0001", streams=["labs"], pretrained=found.encoders,
              run_folder=tmp_path, on_epoch=stop)  # fmt: skip
    heard: list[Epoch] = []
    train(cohort, config, seed=1, version="v0001", streams=["labs"], run_folder=tmp_path, on_epoch=heard.append)
    assert [epoch.number for epoch in heard] == [1, 2]


def test_weights_of_other_shapes_are_refused_by_name(
    cohort: Cohort, found: Pretrained, tiny_config: Callable[..., ModelConfig]
) -> None:
    wider = tiny_config(cohort).model_copy(update={"width": 32})
    with pytest.raises(
        ModelError, match=r"pretrained encoder of labs, weight: expected shape \[2, 32\], got shape \[2, 16\]"
    ):
        train(cohort, wider, seed=1, version="v0001", streams=["labs"], pretrained=found.encoders)
    extra = {"labs": {**found.encoders["labs"], "more": torch.zeros(1)}}
    with pytest.raises(
        ModelError, match=r"pretrained encoder of labs, more: expected no such weights, got shape \[1\]"
    ):
        train(cohort, tiny_config(cohort), seed=1, version="v0001", streams=["labs"], pretrained=extra)


def test_the_json_holds_no_nan(models: Path, cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> None:
    rows = cohort.index["sound_row"].to_numpy().copy()
    rows[cohort.rows("validation")] = -1
    without = replace(cohort, index=cohort.index.assign(sound_row=rows))
    found = pretrain(without, tiny_config(cohort), seed=0, streams=["sound"], epochs=1)
    save_pretrained(pretrained_folder(models, "no-validation"), found, "deterioration-small")
    text = (pretrained_folder(models, "no-validation") / "pretrained.json").read_text()
    assert json.loads(text)["best"]["sound"] == {"loss": None, "epoch": 1, "at_first": None}
    assert np.isfinite(json.loads(text)["history"][0]["training_losses"]["reconstruct sound"])
