"""The model store: a version is a folder, whole or not there, checked by SHA-256 before anything of it is used.

models/<task>/v0001/model.safetensors   the weights, and under `trust.` what training cases are like
                    config.json         the task and the model's configuration
                    statistics.json     what was fitted on the training split
                    calibration.json    logit -> risk, how much an absent stream widens the interval, what cannot be
                                        ruled out, and when no risk is given
                    training.json       cases, events, seed, history, parent, alarms of the self-check
                    metrics.json        the evaluation, once there is one
                    card.md             what the model is for and how good it is
                    manifest.json       the SHA-256 of every file above
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.errors import ModelError
from ingest.files import replacing_folder, sha256_of, write_json
from ingest.statistics import Statistics
from ingest.task import parse_task
from models.config import ModelConfig
from models.evaluate.card import model_card
from models.prediction import Predictor
from models.training.train import TrainingOutcome
from models.trust.logits import LogitCalibration
from models.trust.trust import Trust

FORMAT = 2
TRUST = "trust."  # before the names of tensors that are not the network's
FILES = (
    "model.safetensors", "config.json", "statistics.json", "calibration.json", "training.json", "metrics.json",
    "card.md",
)  # fmt: skip


def next_version(models: Path) -> str:
    """The name of the version after the newest one: v0001, v0002, ..."""
    return f"v{max((int(v[1:]) for v in versions(models)), default=0) + 1:04d}"


def versions(models: Path) -> list[str]:
    """The versions of a task, oldest first."""
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if re.fullmatch(r"v\d{4,}", p.name) and p.is_dir())


def save(models: Path, outcome: TrainingOutcome, *, parent: str | None = None, note: str = "") -> Path:
    """Write a trained model as a new version. Raises ModelError where that version exists."""
    from safetensors.torch import save_file

    predictor = outcome.predictor
    folder = models / predictor.version
    if folder.exists():
        raise ModelError(f"{folder}: this version exists; versions are never overwritten")
    training = {
        "version": predictor.version,
        "parent": parent,
        "note": note,
        "seed": outcome.seed,
        "cases": dict(outcome.cases),
        "events": dict(outcome.events),
        "history": [vars(epoch) for epoch in outcome.history],
        "alarms": list(outcome.alarms),
    }
    config = {
        "format": FORMAT,
        "task": predictor.task.model_dump(mode="json"),
        "model": predictor.config.model_dump(mode="json"),
        "streams": predictor.stream_names,
    }
    with replacing_folder(folder) as temporary:
        weights = {k: v.detach().cpu().contiguous().clone() for k, v in predictor.network.state_dict().items()}
        weights |= {f"{TRUST}{name}": tensor for name, tensor in predictor.trust.state().items()}
        save_file(weights, temporary / "model.safetensors")
        for name, value in {
            "config": config,
            "statistics": predictor.statistics.to_json(),
            "calibration": {
                **predictor.calibration.to_json(),
                "absence_variance": dict(predictor.absence_variance),
                "trust": predictor.trust.to_json(),
            },
            "training": training,
            "metrics": {},
        }.items():
            write_json(temporary / f"{name}.json", value)
        (temporary / "card.md").write_text(model_card(predictor, training, {}), encoding="utf-8")
        _write_manifest(temporary)
    return folder


def save_alone(models: Path, outcome: TrainingOutcome) -> None:
    """Keep the networks of single streams beside the version, where `models.assess` looks for them."""
    for name, predictor in outcome.alone.items():
        folder = alone_folder(models, outcome.predictor.version) / name
        if not (folder / predictor.version).exists():
            note = f"Trained on {name} alone, to compare {outcome.predictor.version} with."
            save(folder, replace(outcome, predictor=predictor, alone={}), note=note)


def alone_folder(models: Path, version: str) -> Path:
    """Where the networks of single streams of a version are kept."""
    return models / ".alone" / version


def load(folder: Path, device: str | None = None) -> Predictor:
    """Load a version. Raises ModelError where a file is missing, altered, extra, or could run code when read."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models.network import build_network

    _check(folder)
    config = _json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise ModelError(
            f"{folder / 'config.json'}: expected format {FORMAT}, got {config.get('format')}; train this version anew"
        )
    task = parse_task(config["task"], str(folder / "config.json"))
    model = ModelConfig.model_validate(config["model"])
    statistics = Statistics.from_json(_json(folder / "statistics.json"))
    calibration = _json(folder / "calibration.json")
    absence = calibration.pop("absence_variance", None)
    if absence is None:
        raise ModelError(f"{folder / 'calibration.json'}: expected absence_variance, got none; train this version anew")
    trust = calibration.pop("trust", None)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = build_network(model, statistics, task)
    try:
        tensors = load_file(folder / "model.safetensors")
        network.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(TRUST)})
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{folder / 'model.safetensors'}: expected the weights of {model.fusion.kind}: {error}"
        ) from None
    return Predictor(
        version=folder.name,
        task=task,
        config=model,
        statistics=statistics,
        network=network.to(chosen).eval(),
        calibration=LogitCalibration.from_json(calibration, network.meaning),
        device=chosen,
        absence_variance=absence,
        trust=Trust() if trust is None else Trust.from_state(trust, _under(TRUST, tensors)),
    )


def write_metrics(folder: Path, metrics: Mapping[str, Any], predictor: Predictor) -> None:
    """Keep a version's evaluation beside it, in metrics.json and its card."""
    _check(folder)
    training = _json(folder / "training.json")
    with replacing_folder(folder) as temporary:  # as a whole: a manifest of other files would lock the version
        for name in FILES:
            shutil.copyfile(folder / name, temporary / name)
        write_json(temporary / "metrics.json", metrics)
        (temporary / "card.md").write_text(model_card(predictor, training, metrics), encoding="utf-8")
        _write_manifest(temporary)


def read_facts(folder: Path) -> dict[str, Any]:
    """A version's training facts and metrics, without loading its weights."""
    if not (folder / "training.json").is_file():
        raise ModelError(f"{folder}: expected a model version, found none; `telltale models list` shows what there is")
    return {**_json(folder / "training.json"), "metrics": _json(folder / "metrics.json")}


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _write_manifest(folder: Path) -> None:
    write_json(folder / "manifest.json", {name: sha256_of(folder / name) for name in FILES})


def _check(folder: Path) -> None:
    if not (folder / "manifest.json").is_file():
        raise ModelError(f"{folder}: expected a model version with manifest.json, found none")
    manifest = _json(folder / "manifest.json")
    there = {path.name for path in folder.iterdir()} - {"manifest.json"}
    if extra := sorted(there - set(FILES)):
        raise ModelError(
            f"{folder}: expected only {', '.join(FILES)}, got also {', '.join(extra)}; "
            "nothing was loaded: files such as pickles run code when they are read"
        )
    for name in FILES:
        if name not in there:
            raise ModelError(f"{folder / name}: expected this file, found none; restore the version from a copy")
        if manifest.get(name) != sha256_of(folder / name):
            raise ModelError(
                f"{folder / name}: expected SHA-256 {str(manifest.get(name))[:12]}…, got another; the file was altered"
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
