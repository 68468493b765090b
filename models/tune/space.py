"""What a trial may choose from: only what can be built together, and always also what the task says itself.

Numbers are few and round: a finer grid would be fitted to the noise of a validation split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig, ModelConfig, model_config
from models.encoders import build_encoder
from models.fusions import FUSIONS
from models.network import LATE
from models.tune.overlay import Overlay

Value = str | int | float

WIDTHS = (32, 48, 64)
HEADS = (2, 4, 8)
# What encoders are trained with; a change of these is a new training of every encoder.
OF_ENCODERS: dict[str, tuple[Value, ...]] = {
    "dropout": (0.1, 0.2, 0.4),
    "training.learning_rate": (5e-4, 2e-3, 5e-3),
    "training.weight_decay": (0.01, 0.05, 0.2),
    "training.element_mask": (0.2, 0.4, 0.6),
}
FUSION_RATES = (3e-4, 1e-3, 3e-3)
# setting of a fusion -> the kinds that have it, and its values
OF_FUSIONS: dict[str, tuple[frozenset[str], tuple[Value, ...]]] = {
    "layers": (frozenset({"attention", "joint", "cross-attention", "bottleneck", "dense", "graph"}), (1, 2, 3)),
    "heads": (frozenset({"attention", "joint", "cross-attention", "bottleneck"}), HEADS),
    "bottlenecks": (frozenset({"bottleneck"}), (2, 4, 8)),
    "rank": (frozenset({"bilinear"}), (8, 16, 32)),
    "growth": (frozenset({"dense"}), (16, 32, 64)),
    "sinkhorn_steps": (frozenset({"correspondence"}), (0, 5, 10)),
    "experts": (frozenset({"experts"}), (2, 4, 8)),
}
# kind of stream -> networks without weights from elsewhere, small enough for many trials; the first is the default
NETWORKS: dict[str, tuple[str, ...]] = {
    "table": ("features", "mlp", "mlp-plr", "ft-transformer", "ft-transformer-plr", "vector"),
    "series": ("set", "gru-d", "lstm", "tcn", "transformer"),
    "image": ("resnet10", "resnet18", "cnn", "strided", "vit"),
    "text": ("words", "rnn", "small-transformer", "mean-pooled-transformer"),
    "audio": ("convolution", "log-mel-cnn", "recurrent"),
}
# Why the rest of the registries is not tried; a task may still name them.
LEFT_OUT: dict[str, dict[str, str]] = {
    "image": {
        **dict.fromkeys(("efficientnet-lite0", "efficientnet-lite0-stages"), "weights from elsewhere"),
        **dict.fromkeys(("resnet34", "resnet50", "densenet121", "densenet169"), "too large for many trials"),
        **dict.fromkeys((f"efficientnet-b{size}" for size in range(5)), "too large for many trials"),
    },
    "text": {"transformer": "weights from elsewhere"},
}
FEATURES_AT_MOST = 100  # of tables whose features look at each other: that costs the square of their number
NEEDS_FEW = ("ft-transformer", "ft-transformer-plr")

# name -> value; names are keys under `model`, or `encoder.<stream>.network`
Parameters = Mapping[str, Value]
Suggest = Callable[[str, Sequence[Value]], Value]


@dataclass(frozen=True)
class Space:
    """choices: name → values, what the task says first. kinds: name → fusions, where only they have that setting.

    encoding: the names of what encoders are trained with. own: what the task says of each. layered: streams whose
    `layers` the task sets, which are not those of another network.
    """

    choices: Mapping[str, tuple[Value, ...]]
    kinds: Mapping[str, frozenset[str]]
    encoding: frozenset[str]
    own: Parameters
    layered: frozenset[str] = field(default_factory=frozenset)

    def choose(self, suggest: Suggest) -> dict[str, Value]:
        """Parameters that go together. suggest: (name, values) → one of them; asked only for what counts."""
        chosen: dict[str, Value] = {}
        for name, values in self.choices.items():
            if name not in self.kinds or chosen["fusion.kind"] in self.kinds[name]:
                chosen[name] = suggest(name, values)
        return chosen

    def own_choice(self) -> dict[str, Value]:
        """What the task says."""
        return self.choose(lambda name, _: self.own[name])

    def overlay(self, parameters: Parameters, found: Mapping[str, Any] | None = None) -> Overlay:
        """What these parameters say over the task."""
        model: dict[str, Any] = {}
        encoder: dict[str, dict[str, Any]] = {}
        for name, value in parameters.items():
            *path, key = name.split(".")
            if path[:1] == ["encoder"]:
                anew = {"layers": None} if path[1] in self.layered and value != self.own[name] else {}
                encoder[path[1]] = {key: value, **anew}
                continue
            inner = model
            for part in path:
                inner = inner.setdefault(part, {})
            inner[key] = value
        return Overlay(found=found or {}, model=model, encoder=encoder)


def build_space(cohort: Cohort, fusions: Sequence[str] | None = None, *, encoders: bool = True) -> Space:
    """What may be tried on this cohort. fusions: only these kinds and the task's own. encoders: whether they vary too.

    A stream whose task names weights from elsewhere (frozen, path, low-rank updates) keeps its network. Raises
    TaskError for a kind that there is not.
    """
    config = model_config(cohort.task)
    heads, widths = _sizes(config, encoders=encoders)
    choices: dict[str, tuple[Value, ...]] = {}
    kinds: dict[str, frozenset[str]] = {}
    own: dict[str, Value] = {}

    def offer(name: str, mine: Value, values: Sequence[Value]) -> None:
        own[name] = mine
        if others := tuple(value for value in values if value != mine):
            choices[name] = (mine, *others)

    if encoders:
        offer("width", config.width, widths)
        for name, values in OF_ENCODERS.items():
            part, _, key = name.rpartition(".")
            offer(name, getattr(getattr(config, part) if part else config, key), values)
        for name, statistics in cohort.statistics.streams.items():
            mine = config.encoders[name]
            offer(f"encoder.{name}.network", mine.network, _networks(mine, statistics, config, widths))
    encoding = frozenset(choices)
    if len(cohort.stream_names) > 1:
        tried = _kinds(fusions, config.fusion.kind)
        own["fusion.kind"], choices["fusion.kind"] = tried[0], tried
        for key, (having, values) in OF_FUSIONS.items():
            kinds[f"fusion.{key}"] = having
            if having & set(tried):
                offer(f"fusion.{key}", getattr(config.fusion, key), heads if key == "heads" else values)
        offer("training.fusion_learning_rate", config.training.fusion_learning_rate, FUSION_RATES)
    layered = frozenset(name for name, encoder in config.encoders.items() if encoder.layers is not None)
    return Space(choices, kinds, encoding, own, layered)


def _kinds(fusions: Sequence[str] | None, own: str) -> tuple[str, ...]:
    """The task's own kind first, which the others are compared with."""
    known = [*FUSIONS, *LATE]
    if fusions is not None and (not fusions or any(kind not in known for kind in fusions)):
        wrong = ", ".join(kind for kind in fusions if kind not in known) or "none"
        raise TaskError(f"--fusions: expected some of {', '.join(known)}, got {wrong}")
    wanted = known if fusions is None else list(dict.fromkeys(fusions))
    return (own, *(kind for kind in wanted if kind != own))


def _sizes(config: ModelConfig, *, encoders: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Heads and widths of which every head divides every width, the task's own among them."""
    own = {config.fusion.heads, *(encoder.heads for encoder in config.encoders.values() if encoder.heads)}
    heads = tuple(h for h in sorted({*HEADS, *own}) if config.width % h == 0)
    widths = tuple(w for w in WIDTHS if all(w % h == 0 for h in heads)) if encoders else ()
    return heads, (config.width, *(w for w in widths if w != config.width))


def _networks(
    config: EncoderConfig, statistics: StreamStatistics, model: ModelConfig, widths: Sequence[int]
) -> tuple[str, ...]:
    """Networks that can be built for this stream; "default" stands for the first of its kind."""
    if config.frozen or config.path is not None or config.lora_rank or statistics.kind not in NETWORKS:
        return ()
    first, *others = NETWORKS[statistics.kind]
    offered = ["default" if config.network == "default" else first, *others]
    return tuple(name for name in offered if _builds(name, config, statistics, model, widths))


def _builds(
    name: str, config: EncoderConfig, statistics: StreamStatistics, model: ModelConfig, widths: Sequence[int]
) -> bool:
    if name in NEEDS_FEW and statistics.elements > FEATURES_AT_MOST:
        return False
    tried = config if name == config.network else config.model_copy(update={"network": name, "layers": None})
    try:
        for width in widths:
            build_encoder(tried, statistics, width, model.dropout)
    except TaskError:  # this network does not take such a stream
        return False
    return True
