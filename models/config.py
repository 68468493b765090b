"""What a model is made of, as a frozen value: read from a task's `model` and `encoder` keys, saved with the weights."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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
    """How the weights are found; docs/training.md says of each key what it does and when to change it.

    Epochs are at most; `patience` counts those without a better validation loss. learning_rate is of the encoders,
    fusion_learning_rate of all else. learning_rate_factors: stream -> factor on its encoder's rate.
    """

    scheme: Literal["staged", "joint", "staged+joint"] = "staged"
    alone_epochs: int = Field(default=40, ge=0)
    epochs: int = Field(default=40, ge=1)
    fine_tune_epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=32, ge=2)
    accumulate: int = Field(default=1, ge=1)  # batches to one step of the optimiser
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    learning_rate: float = Field(default=2e-3, gt=0)
    fusion_learning_rate: float = Field(default=1e-3, gt=0)
    fine_tune_learning_rate: float = Field(default=1e-4, gt=0)
    learning_rate_factors: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    weight_decay: float = Field(default=0.05, ge=0)
    decay: Literal["all", "weights"] = "all"  # "weights" leaves out biases and norms
    schedule: Literal["cosine", "linear", "constant", "step", "one-cycle"] = "cosine"
    warmup_epochs: int = Field(default=2, ge=0)
    step_epochs: int = Field(default=10, ge=1)
    step_factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=12, ge=1)
    average_decay: float = Field(default=0.97, ge=0, lt=1)  # of the exponential moving average, per step
    clip_norm: float = Field(default=1.0, gt=0)
    element_mask: float = Field(default=0.4, ge=0, lt=1)  # the largest share of a stream's elements masked at random
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: float = Field(default=2.0, ge=0)
    class_weights: Literal["none", "balanced"] = "none"
    triplet: float = Field(default=0.0, ge=0)  # the weights of three auxiliary losses
    supervised_contrastive: float = Field(default=0.0, ge=0)
    cross_modal_contrastive: float = Field(default=0.0, ge=0)
    triplet_margin: float = Field(default=0.2, gt=0)
    triplet_mining: Literal["batch-hard", "all"] = "batch-hard"
    temperature: float = Field(default=0.1, gt=0)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    compile: bool = False
    deterministic: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> "TrainingConfig":
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError(
                f"nesterov: expected optimizer sgd with a momentum above 0, got {self.optimizer} with {self.momentum:g}"
            )
        return self


class CalibrationConfig(Value):
    """How log-odds become calibrated ones, from the validation split.

    method: platt, scale and shift; temperature, scale alone; isotonic, for one binary target, any rising curve;
    none. per_pattern: a map of its own for every pattern of present streams that has enough cases, drawn towards the
    common one (`models.trust.patterns`).
    """

    method: Literal["platt", "temperature", "isotonic", "none"] = "platt"
    per_pattern: bool = False


class ConformalConfig(Value):
    """Sets and intervals with a stated coverage (`models.trust.conformal`).

    levels: the shares of cases whose outcome they hold. score: label, what a class lacks to certainty; adaptive, the
    probability of the classes above it. group: coverage also in each group of a table's feature, "record.sex", or in
    each pattern of streams, "pattern". edges: where a feature that is a number is cut into groups.
    """

    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.9,), min_length=1)
    score: Literal["label", "adaptive"] = "label"
    group: str | None = None
    edges: tuple[float, ...] = ()


class AbstainConfig(Value):
    """When no risk is given (`models.trust.trust`).

    least_streams: fewer streams than that. least_observed: a smaller share than that of the elements that a case
    usually has. unfamiliar: a stream unlike those of training. conflict: streams contradict each other (else they only
    raise a warning). quantile: the share of cases like those of validation that none of the limits stops.
    """

    least_streams: int = Field(default=1, ge=0)
    least_observed: float = Field(default=0.0, ge=0, le=1)
    unfamiliar: bool = True
    conflict: bool = False
    quantile: float = Field(default=0.995, gt=0.5, lt=1)


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
    calibration: CalibrationConfig = CalibrationConfig()
    conformal: ConformalConfig = ConformalConfig()
    abstain: AbstainConfig = AbstainConfig()
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
