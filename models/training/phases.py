"""The phases of a training: what each changes, at which rate, for how long, and what it watches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.config import TrainingConfig
from models.network import Network

PhaseName = Literal["alone", "together", "joint", "fine-tune"]
ENCODING = ("encoders.", "alone.")
# Numbers that tell the random draws of the phases apart.
SEEDS: dict[PhaseName, int] = {"together": 0, "alone": 50_000, "joint": 25_000, "fine-tune": 75_000}
ORDERS: dict[PhaseName, int] = {"together": 0, "alone": 1, "joint": 2, "fine-tune": 3}


@dataclass(frozen=True)
class Phase:
    """watched: what is stopped early, each by itself: the streams in `alone`, else the whole."""

    name: PhaseName
    epochs: int
    watched: tuple[str, ...]

    @property
    def end_to_end(self) -> bool:
        """Whether all is trained at once."""
        return self.name in ("joint", "fine-tune")

    def changes(self, key: str) -> bool:
        """Whether a part of the network's state may change in it."""
        return self.end_to_end or key.startswith(ENCODING) == (self.name == "alone")

    def rate(self, key: str, settings: TrainingConfig) -> float:
        """The learning rate of a parameter."""
        encodes = key.startswith(ENCODING)
        rate = settings.learning_rate if encodes else settings.fusion_learning_rate
        if self.name == "fine-tune":
            rate = settings.fine_tune_learning_rate
        return rate * (settings.learning_rate_factors.get(key.split(".")[1], 1.0) if encodes else 1.0)


def plan(settings: TrainingConfig, network: Network) -> Sequence[Phase]:
    """The phases in their order.

    A network of one stream has nothing to fuse, whatever the scheme: it is done after the first. One whose streams are
    joined without anything to be learnt (`models.network.LATE`) has no second.
    """
    alone = Phase("alone", settings.alone_epochs, tuple(network.stream_names))
    if len(network.stream_names) == 1:
        return [alone]
    if settings.scheme == "joint":
        return [Phase("joint", settings.epochs, ("joint",))]
    phases = [alone]
    if network.fusion is not None or any(p.requires_grad for p in network.evidence.parameters()):
        phases.append(Phase("together", settings.epochs, ("together",)))
    if settings.scheme == "staged+joint":
        phases.append(Phase("fine-tune", settings.fine_tune_epochs, ("fine-tune",)))
    return phases
