"""A version comes back as it was or not at all: nothing altered, foreign or able to run code is ever loaded."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.cohort import Cohort
from ingest.errors import ModelError
from ingest.files import sha256_of
from models import store
from models.prediction import Prediction
from models.score import predict_rows
from models.training.train import TrainingOutcome


@pytest.fixture
def folder(outcome: TrainingOutcome, tmp_path: Path) -> Path:
    return store.save(tmp_path / "models", outcome, note="A note.")


class Evil:
    """What a pickle may hold: a command that runs when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def test_what_was_saved_predicts_the_same(
    folder: Path, outcome: TrainingOutcome, synthetic_cohort: Callable[..., Cohort]
) -> None:
    cohort = synthetic_cohort(n=160)
    loaded = store.load(folder)
    one, two = (predict_rows(predictor, cohort, cohort.rows()) for predictor in (outcome.predictor, loaded))
    for field in Prediction.__dataclass_fields__:
        assert np.array_equal(getattr(one, field), getattr(two, field)), field
    assert loaded.task == outcome.predictor.task
    assert loaded.config == outcome.predictor.config
    assert loaded.statistics == outcome.predictor.statistics
    assert loaded.calibration == outcome.predictor.calibration
    assert loaded.trust.to_json() == outcome.predictor.trust.to_json()
    assert two.conformal_set.shape == (160, 1, 2)
    assert (two.unfamiliar > 0).any()
    assert not loaded.network.training


@pytest.mark.parametrize("name", [*store.FILES, "manifest.json"])
def test_one_altered_byte_is_found_and_the_file_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    at = content.index(b'": "') + 5 if name == "manifest.json" else len(content) // 2
    content[at] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"altered|JSON") as caught:
        store.load(folder)
    assert str(folder) in str(caught.value)
    if name != "manifest.json":
        assert name in str(caught.value)


@pytest.mark.parametrize("name", [*store.FILES, "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name}.*found none"):
        store.load(folder)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "training.pickle", ".hidden"])
def test_a_pickle_beside_the_weights_is_refused_and_never_read(folder: Path, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "it-ran"
    (folder / name).write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(ModelError, match=f"got also {name}; nothing was loaded"):
        store.load(folder)
    assert not trace.exists()


def test_a_pickle_in_the_weights_place_is_never_read_even_with_a_right_manifest(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    weights = folder / "model.safetensors"
    weights.write_bytes(pickle.dumps(Evil(trace)))
    resign(folder)
    with pytest.raises(ModelError, match=r"model.safetensors: expected the weights"):
        store.load(folder)
    assert not trace.exists()
    pickle.loads(weights.read_bytes())  # noqa: S301  # it would have run
    assert trace.exists()


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["width"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    resign(folder)
    with pytest.raises(ModelError, match=r"model.safetensors: expected the weights"):
        store.load(folder)


def test_a_folder_that_is_no_version_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="v0009: expected a model version"):
        store.load(tmp_path / "v0009")
    with pytest.raises(ModelError, match=r"v0009: expected a model version.*telltale models list"):
        store.read_facts(tmp_path / "v0009")


def test_versions_count_on_from_the_newest_and_other_folders_do_not_count(tmp_path: Path) -> None:
    assert store.versions(tmp_path / "none") == []
    assert store.next_version(tmp_path / "none") == "v0001"
    for name in ("v0002", "v0010", ".runs", ".v0011.abc", "v12", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "v0099").write_text("a file")
    assert store.versions(tmp_path) == ["v0002", "v0010"]
    assert store.next_version(tmp_path) == "v0011"


def test_a_version_is_never_overwritten(folder: Path, outcome: TrainingOutcome) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ModelError, match="v0001: this version exists; versions are never overwritten"):
        store.save(folder.parent, replace(outcome, seed=99))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_facts_tell_cases_events_seed_and_parent(outcome: TrainingOutcome, tmp_path: Path) -> None:
    folder = store.save(tmp_path, outcome, parent="v0000", note="Why.")
    facts = store.read_facts(folder)
    assert facts["cases"] == dict(outcome.cases)
    assert facts["events"] == dict(outcome.events)
    assert (facts["seed"], facts["parent"], facts["note"], facts["metrics"]) == (1, "v0000", "Why.", {})
    assert len(facts["history"]) == len(outcome.history)
    assert facts["alarms"] == []


def test_metrics_are_kept_and_the_version_still_loads(folder: Path, outcome: TrainingOutcome) -> None:
    store.write_metrics(folder, {"n": 40}, outcome.predictor)
    assert store.read_facts(folder)["metrics"] == {"n": 40}
    store.load(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["v0001"]


def test_a_kill_while_metrics_are_written_leaves_the_version_whole(
    folder: Path, outcome: TrainingOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write_metrics(folder, {"n": 40}, outcome.predictor)
    assert store.read_facts(folder)["metrics"] == {}
    store.load(folder)


def test_a_kill_while_a_version_is_saved_leaves_no_version(
    outcome: TrainingOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            store.save(tmp_path, outcome)
    assert store.versions(tmp_path) == []
    store.save(tmp_path, outcome)
    assert store.versions(tmp_path) == ["v0001"]


def test_a_version_moved_elsewhere_is_known_by_its_folders_name(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere" / "v0042")
    assert store.load(tmp_path / "elsewhere" / "v0042").version == "v0042"


def resign(folder: Path) -> None:
    """What an attacker who can write to the folder would do: a manifest that agrees."""
    manifest = {name: sha256_of(folder / name) for name in store.FILES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
