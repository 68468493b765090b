"""How drafts are learnt and written, as a frozen value: read from a task's `report.decoder`, saved with the weights."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator

from ingest.errors import TaskError
from ingest.task import Task
from models.config import Value


class DraftConfig(Value):
    """The decoder, its training, and the search for a text.

    vocabulary: at most so many words, each in at least `least_reports` of the training reports. hide_streams: the share
    of the training cases that show a random part of their streams only. length_penalty: alpha of Wu et al. 2016,
    eq. 14. no_repeat: no run of so many words comes twice in a text; 0 allows all. unsure_below: words that are less
    probable than this are marked.
    """

    width: int = Field(default=96, ge=8)
    layers: int = Field(default=2, ge=1, le=12)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    vocabulary: int = Field(default=4000, ge=8)
    least_reports: int = Field(default=2, ge=1)
    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=8, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_epochs: int = Field(default=2, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    hide_streams: float = Field(default=0.3, ge=0, le=1)
    beams: int = Field(default=4, ge=1, le=32)
    length_penalty: float = Field(default=0.6, ge=0)
    no_repeat: int = Field(default=4, ge=0)
    unsure_below: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _divides(self) -> "DraftConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width}: expected a multiple of heads {self.heads}")
        return self


def draft_config(task: Task, overrides: Mapping[str, Any] | None = None) -> DraftConfig:
    """The configuration that a task asks for. Raises TaskError where it asks for no report, or names the wrong key."""
    if task.report is None:
        raise TaskError(f"task {task.name}: expected a report that is to be drafted, got none; see docs/drafts.md")
    try:
        return DraftConfig.model_validate({**task.report.decoder, **(overrides or {})})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("report", "decoder", *(str(part) for part in first["loc"])))
        raise TaskError(f"task {task.name}, {key}: {first['msg']}") from None
