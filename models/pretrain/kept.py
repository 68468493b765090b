"""Where pretrained encoders are kept: one safetensors file per stream, JSON, a SHA-256 manifest; never pickle."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ingest.cohort import Cohort
from ingest.errors import ModelError, TelltaleError
from ingest.files import replacing_folder, sha256_of, write_json
from ingest.statistics import Statistics
from models.config import EncoderConfig, ModelConfig
from models.pretrain.pretrain import Pretrained, State

FORMAT = 1
FACTS = "pretrained.json"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class KeptEncoders:
    """Encoders read back: their states by stream, and what they are for."""

    name: str
    encoders: Mapping[str, State]
    statistics: Statistics
    configs: Mapping[str, EncoderConfig]
    width: int
    facts: Mapping[str, Any]


def pretrained_folder(models: Path, name: str) -> Path:
    """Where the encoders of that name are kept, beside a task's model versions."""
    if not NAME.fullmatch(name):
        raise TelltaleError(f"name {name!r}: expected small letters, digits, - and _, such as masked-0001")
    return models / ".pretrained" / name


def pretrained_names(models: Path) -> list[str]:
    """All that are kept for a task."""
    folder = models / ".pretrained"
    return sorted(p.parent.name for p in folder.glob(f"*/{FACTS}") if NAME.fullmatch(p.parent.name))


def next_name(models: Path, method: str) -> str:
    """masked-0001, masked-0002, ..."""
    numbers = [int(n[-4:]) for n in pretrained_names(models) if re.fullmatch(rf"{method}-\d{{4}}", n)]
    return f"{method}-{max(numbers, default=0) + 1:04d}"


def save_pretrained(folder: Path, pretrained: Pretrained, task: str) -> None:
    """Write encoders to a new folder. Raises ModelError where it exists."""
    from safetensors.torch import save_file

    if folder.exists():
        raise ModelError(f"{folder}: this name is taken, and pretrained encoders are never overwritten; choose another")
    facts = {
        "format": FORMAT,
        "task": task,
        "method": pretrained.method,
        "seed": pretrained.seed,
        "cases": dict(pretrained.cases),
        "width": pretrained.config.width,
        "encoders": {name: pretrained.config.encoders[name].model_dump() for name in pretrained.encoders},
        "statistics": pretrained.statistics.to_json(),
        "best": {
            name: {key: value if math.isfinite(value) else None for key, value in asdict(best).items()}
            for name, best in pretrained.best.items()
        },
        "history": [asdict(epoch) for epoch in pretrained.history],
    }
    with replacing_folder(folder) as temporary:
        for name, state in pretrained.encoders.items():
            save_file({key: tensor.contiguous() for key, tensor in state.items()}, temporary / f"{name}.safetensors")
        write_json(temporary / FACTS, facts)
        manifest = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        write_json(temporary / "manifest.json", manifest)


def load_pretrained(models: Path, name: str) -> KeptEncoders:
    """Read encoders back. Raises ModelError where there are none, or where a file is missing, altered or extra."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = pretrained_folder(models, name)
    if not (folder / "manifest.json").is_file():
        there = ", ".join(pretrained_names(models)) or "none"
        raise ModelError(
            f"pretrained {name!r}: expected one of those kept for this task ({there}); `telltale pretrain` makes one"
        )
    _check(folder)
    facts = _json(folder / FACTS)
    if facts.get("format") != FORMAT:
        raise ModelError(f"{folder / FACTS}: expected format {FORMAT}, got {facts.get('format')}; pretrain anew")
    encoders: dict[str, State] = {}
    for stream in facts["encoders"]:
        try:
            encoders[stream] = load_file(folder / f"{stream}.safetensors")
        except SafetensorError as error:
            raise ModelError(f"{folder / stream}.safetensors: expected safetensors, got {error}") from None
    configs = {stream: EncoderConfig.model_validate(each) for stream, each in facts["encoders"].items()}
    return KeptEncoders(name, encoders, Statistics.from_json(facts["statistics"]), configs, facts["width"], facts)


def encoders_for(kept: KeptEncoders, cohort: Cohort, config: ModelConfig) -> dict[str, dict[str, torch.Tensor]]:
    """The kept states of the streams that the cohort has.

    Raises ModelError where none is, or where an encoder is for values of another shape or meaning: its weights might
    fit and yet read one feature for another.
    """
    shared = [name for name in kept.encoders if name in cohort.statistics.streams]
    if not shared:
        raise ModelError(
            f"pretrained {kept.name}: expected encoders for some of {', '.join(cohort.stream_names)}, "
            f"got {', '.join(kept.encoders)}"
        )
    for name in shared:
        for what, expected, got in _facts(kept, cohort, config, name):
            if expected != got:
                raise ModelError(
                    f"pretrained {kept.name}, stream {name}, {what}: expected {expected}, as the task has it, "
                    f"got {got}; run `telltale pretrain` again with the task as it is now"
                )
    return {name: dict(kept.encoders[name]) for name in shared}


def _facts(kept: KeptEncoders, cohort: Cohort, config: ModelConfig, name: str) -> list[tuple[str, object, object]]:
    """(what, what the task has, what was pretrained)."""
    mine, other = cohort.statistics.streams[name], kept.statistics.streams[name]
    plain = ("kind", "names", "units", "feature_shape", "elements", "vocabulary_size")
    return [
        ("width", config.width, kept.width),
        ("encoder", config.encoders[name].model_dump(), kept.configs[name].model_dump()),
        *((what, getattr(mine, what), getattr(other, what)) for what in plain),
        ("levels", dict(mine.levels), dict(other.levels)),
    ]


def _check(folder: Path) -> None:
    manifest = _json(folder / "manifest.json")
    there = {path.name for path in folder.iterdir()} - {"manifest.json"}
    if extra := sorted(there - set(manifest)):
        raise ModelError(
            f"{folder}: expected only {', '.join(manifest)}, got also {', '.join(extra)}; nothing was loaded"
        )
    for name, expected in manifest.items():
        if name not in there:
            raise ModelError(f"{folder / name}: expected this file, found none; restore it from a copy")
        if sha256_of(folder / name) != expected:
            raise ModelError(
                f"{folder / name}: expected SHA-256 {str(expected)[:12]}…, got another; the file was altered"
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
