"""Decoders on disk, beside the version that each belongs to: whole or not there, checked before anything is used.

models/<task>/.drafts/v0001/decoder.safetensors   the weights
                            config.json           the decoder's configuration, and the SHA-256 of the version's weights
                            vocabulary.json       the words that it writes
                            training.json         reports, seed, history
                            metrics.json          the evaluation
                            manifest.json         the SHA-256 of every file above
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ingest.errors import ModelError
from ingest.files import replacing_folder, sha256_of, write_json
from models.drafts.config import DraftConfig
from models.drafts.decoder import Decoder
from models.drafts.draft import Drafter
from models.drafts.train import DraftTraining
from models.drafts.vocabulary import Vocabulary
from models.prediction import Predictor

FORMAT = 1
WEIGHTS = "decoder.safetensors"
FILES = (WEIGHTS, "config.json", "vocabulary.json", "training.json", "metrics.json")


def drafts_folder(models: Path, version: str) -> Path:
    """Where the decoder of a version is kept."""
    return models / ".drafts" / version


def save_drafter(models: Path, training: DraftTraining, metrics: Mapping[str, Any]) -> Drafter:
    """Keep a trained decoder for its version, in place of an earlier one; return it as `load_drafter` would."""
    from safetensors.torch import save_file

    drafter, decoder = training.drafter, training.drafter.decoder
    config = {
        "format": FORMAT,
        "version": drafter.version,
        "weights_sha256": _weights_of(models, drafter.version),
        "decoder": drafter.config.model_dump(mode="json"),
        "max_tokens": decoder.max_tokens,
    }
    facts = {
        "cases": dict(training.cases),
        "cut": training.cut,
        "seed": training.seed,
        "history": [asdict(epoch) for epoch in training.history],
    }
    folder = drafts_folder(models, drafter.version)
    with replacing_folder(folder) as temporary:
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in decoder.state_dict().items()}, temporary / WEIGHTS
        )
        write_json(temporary / "config.json", config)
        write_json(temporary / "vocabulary.json", drafter.vocabulary.to_json())
        write_json(temporary / "training.json", facts)
        write_json(temporary / "metrics.json", metrics)
        write_json(temporary / "manifest.json", {name: sha256_of(temporary / name) for name in FILES})
    return replace(drafter, digest=sha256_of(folder / WEIGHTS))


def load_drafter(models: Path, predictor: Predictor) -> Drafter:
    """The decoder of a loaded version.

    Raises ModelError where there is none, where a file is missing, altered or extra, or where it was trained on other
    weights than the version's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = drafts_folder(models, predictor.version)
    _check(folder)
    config = _json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise ModelError(
            f"{folder / 'config.json'}: expected format {FORMAT}, got {config.get('format')}; train this decoder anew"
        )
    if config["weights_sha256"] != (now := _weights_of(models, predictor.version)):
        raise ModelError(
            f"{folder}: expected the decoder of {predictor.version} with weights {now[:12]}…, got one of "
            f"{str(config['weights_sha256'])[:12]}…; `telltale draft --train` makes one for it"
        )
    vocabulary = Vocabulary.from_json(_json(folder / "vocabulary.json"))
    settings = DraftConfig.model_validate(config["decoder"])
    decoder = Decoder(
        settings,
        words=len(vocabulary),
        memory_width=predictor.network.width,
        streams=len(predictor.stream_names),
        max_tokens=int(config["max_tokens"]),
    )
    try:
        decoder.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{folder / WEIGHTS}: expected the weights of this decoder: {error}") from None
    decoder = decoder.to(predictor.device).eval()
    streams = tuple(predictor.stream_names)
    return Drafter(predictor.version, streams, settings, vocabulary, decoder, sha256_of(folder / WEIGHTS))


def read_metrics(models: Path, version: str) -> dict[str, Any]:
    """The evaluation that was kept with a version's decoder."""
    folder = drafts_folder(models, version)
    _check(folder)
    return _json(folder / "metrics.json")


def _weights_of(models: Path, version: str) -> str:
    path = models / version / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"{path}: expected the weights of the version that the decoder belongs to, found none")
    return sha256_of(path)


def _check(folder: Path) -> None:
    if not (folder / "manifest.json").is_file():
        raise ModelError(f"{folder}: expected a decoder of drafts, found none; `telltale draft --train` makes one")
    manifest = _json(folder / "manifest.json")
    there = {path.name for path in folder.iterdir()} - {"manifest.json"}
    if extra := sorted(there - set(FILES)):
        raise ModelError(
            f"{folder}: expected only {', '.join(FILES)}, got also {', '.join(extra)}; "
            "nothing was loaded: files such as pickles run code when they are read"
        )
    for name in FILES:
        if name not in there:
            raise ModelError(f"{folder / name}: expected this file, found none; train the decoder anew")
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
