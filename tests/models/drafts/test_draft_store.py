"""A decoder comes back as it was, for the version it was made for, or not at all."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from ingest.errors import ModelError
from ingest.files import sha256_of
from models import store
from models.drafts.cases import CaseTokens
from models.drafts.store import FILES, drafts_folder, load_drafter, read_metrics, save_drafter
from models.drafts.train import DraftTraining
from models.training.train import TrainingOutcome


@pytest.fixture
def models(outcome: TrainingOutcome, training: DraftTraining, tmp_path: Path) -> Path:
    store.save(tmp_path / "models", outcome)
    save_drafter(tmp_path / "models", training, {"reports": 3})
    return tmp_path / "models"


class Evil:
    """What a pickle may hold: a command that runs when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def test_what_was_saved_drafts_the_same(
    models: Path, outcome: TrainingOutcome, training: DraftTraining, reported: Cohort
) -> None:
    predictor = store.load(models / "v0001")
    loaded = load_drafter(models, predictor)
    memory = CaseTokens(predictor, reported, reported.rows("test")).memory(np.arange(6))
    ids = [str(n) for n in range(6)]
    one, two = training.drafter.draft(ids, memory), loaded.draft(ids, memory)
    assert [draft.text for draft in one] == [draft.text for draft in two]
    assert [draft.probabilities for draft in one] == [draft.probabilities for draft in two]
    assert (loaded.vocabulary, loaded.config) == (training.drafter.vocabulary, training.drafter.config)
    assert two[0].decoder == sha256_of(drafts_folder(models, "v0001") / FILES[0])[:12]
    assert not loaded.decoder.training
    assert read_metrics(models, "v0001") == {"reports": 3}


def test_the_versions_own_folder_and_list_stay_as_they_are(models: Path) -> None:
    assert store.versions(models) == ["v0001"]
    assert store.next_version(models) == "v0002"
    store.load(models / "v0001")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_an_altered_or_missing_file_is_refused_and_named(models: Path, outcome: TrainingOutcome, name: str) -> None:
    path = drafts_folder(models, "v0001") / name
    content = bytearray(path.read_bytes())
    content[content.index(b'": "') + 5 if name == "manifest.json" else len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"altered|JSON") as caught:
        load_drafter(models, outcome.predictor)
    assert str(path.parent) in str(caught.value)
    path.unlink()
    with pytest.raises(ModelError, match="found none"):
        load_drafter(models, outcome.predictor)


def test_a_pickle_beside_the_weights_or_in_their_place_is_never_read(
    models: Path, outcome: TrainingOutcome, tmp_path: Path
) -> None:
    folder, trace = drafts_folder(models, "v0001"), tmp_path / "it-ran"
    (folder / "more.pkl").write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(ModelError, match=r"got also more\.pkl; nothing was loaded"):
        load_drafter(models, outcome.predictor)
    (folder / "more.pkl").rename(folder / FILES[0])
    resign(folder)
    with pytest.raises(ModelError, match=r"decoder\.safetensors: expected the weights of this decoder"):
        load_drafter(models, outcome.predictor)
    assert not trace.exists()


def test_a_decoder_of_other_weights_is_refused(models: Path, outcome: TrainingOutcome) -> None:
    from safetensors.torch import load_file, save_file

    path = models / "v0001" / "model.safetensors"
    weights = load_file(path)
    weights["prior"] = weights["prior"] + 1
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"expected the decoder of v0001 with weights .*telltale draft --train"):
        load_drafter(models, outcome.predictor)


def test_writing_the_evaluation_of_the_version_keeps_its_decoder(models: Path, outcome: TrainingOutcome) -> None:
    config = json.loads((drafts_folder(models, "v0001") / "config.json").read_text())
    assert config["weights_sha256"] == sha256_of(models / "v0001" / "model.safetensors")
    store.write_metrics(models / "v0001", {}, outcome.predictor)
    load_drafter(models, outcome.predictor)


def test_weights_of_another_shape_are_refused(models: Path, outcome: TrainingOutcome) -> None:
    folder = drafts_folder(models, "v0001")
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["width"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    resign(folder)
    with pytest.raises(ModelError, match=r"decoder\.safetensors: expected the weights of this decoder"):
        load_drafter(models, outcome.predictor)


def test_a_version_without_a_decoder_says_what_to_do(tmp_path: Path, outcome: TrainingOutcome) -> None:
    with pytest.raises(ModelError, match=r"v0001: expected a decoder of drafts, found none; `telltale draft --train`"):
        load_drafter(tmp_path, outcome.predictor)


def test_training_again_takes_the_place_of_the_former(models: Path, training: DraftTraining) -> None:
    first = drafts_folder(models, "v0001") / FILES[0]
    before = first.read_bytes()
    with torch.no_grad():
        state = {name: tensor.clone() for name, tensor in training.drafter.decoder.state_dict().items()}
        training.drafter.decoder.bias.add_(1)
    try:
        kept = save_drafter(models, training, {})
    finally:
        training.drafter.decoder.load_state_dict(state)
    assert first.read_bytes() != before
    assert kept.digest == sha256_of(first)


def resign(folder: Path) -> None:
    manifest = {name: sha256_of(folder / name) for name in FILES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
