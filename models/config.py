"""What a model is made of, as a frozen value: read from a task's `model` and `encoder` keys, saved with the weights."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingest.errors import TaskError
from ingest.task import Task


class Value(BaseModel):
    """Frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderConfig(Value):
    """How one stream becomes tokens.

    network: a name from the registry of the stream's kind (docs/encoders.md lists them). path: of weights to begin
    with: a safetensors file for images, the folder of a local transformers model for text. frozen: the network's
    weights stay as they are and its features are computed once and kept beside the cohort. lora_rank: with a value
    above 0 the pretrained weights stay as they are and low-rank updates of this rank are learnt beside them. layers,
    heads: of the small networks that are trained here; None is the network's own choice.
    """

    network: str = "default"
    path: str | None = None
    frozen: bool = False
    lora_rank: int = Field(default=0, ge=0)
    augment: bool = True
    layers: int | None = Field(default=None, ge=1, le=12)
    heads: int = Field(default=4, ge=1)


class FusionConfig(Value):
    """How the tokens of all present streams become one vector per member.

    kind: a name from the fusion registry (docs/fusions.md). layers: of attention, joint, cross-attention, bottleneck,
    dense and graph. heads: of attention, joint, cross-attention and bottleneck. bottlenecks: how many tokens all
    streams share, of bottleneck. rank: of the products of bilinear. growth: what each layer of dense adds.
    sinkhorn_steps: of correspondence; 0 is plain soft assignment. experts: how many networks experts routes to.
    """

    kind: str = "attention"
    layers: int = Field(default=1, ge=1, le=12)
    heads: int = Field(default=4, ge=1)
    bottlenecks: int = Field(default=4, ge=1, le=64)
    rank: int = Field(default=16, ge=1, le=512)
    growth: int = Field(default=32, ge=1, le=512)
    sinkhorn_steps: int = Field(default=5, ge=0, le=100)
    experts: int = Field(default=4, ge=2, le=64)


class TrainingConfig(Value):
    """How the weights are found. `patience` counts epochs without a better validation loss.

    First every stream's encoder alone for at most `alone_epochs`, then the fusion for at most `epochs`.
    """

    alone_epochs: int = Field(default=40, ge=0)
    epochs: int = Field(default=40, ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    fusion_learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_epochs: int = Field(default=2, ge=0)
    patience: int = Field(default=12, ge=1)
    average_decay: float = Field(default=0.97, ge=0, lt=1)  # of the exponential moving average, per step
    clip_norm: float = Field(default=1.0, gt=0)
    element_mask: float = Field(default=0.4, ge=0, lt=1)  # the largest share of a stream's elements masked at random
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"


class ModelConfig(Value):
    """A whole model: width, fusion, members, training, and one encoder per stream."""

    width: int = Field(default=48, ge=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    members: int = Field(default=8, ge=1)  # bagged heads, whose spread is the model's uncertainty
    evidence: Literal["weighed", "sum", "mean", "none"] = "weighed"  # of single streams, beside the fusion
    # Who reads flat columns beside the network, as far as it helps: boosted trees, and a network of their own.
    experts: tuple[Literal["trees", "columns"], ...] = ("trees", "columns")
    fusion: FusionConfig = FusionConfig()
    training: TrainingConfig = TrainingConfig()
    encoders: Mapping[str, EncoderConfig] = Field(default_factory=dict)


def model_config(task: Task, overrides: Mapping[str, Any] | None = None) -> ModelConfig:
    """The configuration that a task asks for. Raises TaskError naming the key that is wrong."""
    raw: dict[str, Any] = {**task.model, **(overrides or {})}
    raw["encoders"] = {name: dict(stream.encoder) for name, stream in task.streams.items()}
    try:
        return ModelConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise TaskError(f"task {task.name}, model.{key}: {first['msg']}") from None
