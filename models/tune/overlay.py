"""What tuning found, as a YAML file that is laid over a task: its `model` key, and the `encoder` key of its streams."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingest.errors import TaskError
from ingest.files import write_text
from ingest.task import Task

HEADER = """\
# Found by `telltale tune`, by the validation split alone; `telltale train --tuned` lays it over the task.
# The best of many trials looks better than it is: its validation loss is what it was chosen by.
"""


class Overlay(BaseModel):
    """model: keys under `model`, nested as there. encoder: stream → keys of its encoder. found: how it was come by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: Mapping[str, Any] = Field(default_factory=dict)
    model: Mapping[str, Any] = Field(default_factory=dict)
    encoder: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)

    @property
    def note(self) -> str:
        """What is said of a model that was trained by it."""
        said = ", ".join(f"{key} {self.found[key]}" for key in ("study", "trial", "trials") if key in self.found)
        return f"Tuned ({said or 'by hand'}): its validation loss is what it was chosen by, and flatters it."


def laid_over(task: Task, overlay: Overlay) -> Task:
    """The task with what the overlay says in place of its own; what it does not name stays."""
    if unknown := [name for name in overlay.encoder if name not in task.streams]:
        raise TaskError(
            f"tuned encoders: expected streams of task {task.name} ({', '.join(task.streams)}), got "
            f"{', '.join(unknown)}; tune the task as it is now"
        )
    streams = {
        name: spec.model_copy(update={"encoder": {**spec.encoder, **overlay.encoder.get(name, {})}})
        for name, spec in task.streams.items()
    }
    return task.model_copy(update={"model": _merged(task.model, overlay.model), "streams": streams})


def write_overlay(path: Path, overlay: Overlay) -> None:
    """Replace the file as a whole."""
    write_text(path, HEADER + yaml.safe_dump(overlay.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def read_overlay(path: Path) -> Overlay:
    """The inverse of `write_overlay`. Raises TaskError where there is none, or it is something else."""
    if not path.is_file():
        raise TaskError(f"{path}: expected what tuning found, got no such file; run `telltale tune` first")
    try:
        return Overlay.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: expected YAML, got something that does not parse: {_one_line(error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise TaskError(f"{path}, {key}: {first['msg']}") from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        merged[key] = _merged(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
    return merged


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
