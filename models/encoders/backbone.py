"""What encoders with a pretrained network share: how much of it is learnt, and the projection behind it."""

import math
from typing import Any

import torch
from torch import nn

from ingest.errors import TaskError
from models.config import EncoderConfig
from models.encoders.lora import add_low_rank

PERIODS = (1.5, 3.0, 6.0, 12.0, 24.0)  # of ln(1 + age in seconds): from a second to decades, each to the same precision


class Backbone(nn.Module):
    """A network that is learnt whole, stays as it is (`frozen`), or has low-rank updates beside its weights.

    One that is not learnt whole is never in training mode: its dropout and its running statistics belong to what stays.
    targets: which layers low-rank updates are for (see `add_low_rank`).
    """

    def __init__(self, network: nn.Module, config: EncoderConfig, targets: str = "") -> None:
        super().__init__()
        if config.frozen and config.lora_rank:
            raise TaskError(
                f"encoder: expected frozen or lora_rank, got frozen: true and lora_rank: {config.lora_rank}; frozen "
                "leaves a network as it is, lora_rank learns beside it"
            )
        self.network = network
        self.frozen = config.frozen
        self.whole = not config.frozen and config.lora_rank == 0
        network.requires_grad_(self.whole)
        if config.lora_rank:
            add_low_rank(network, config.lora_rank, targets)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the network gives; without gradients where it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.network(*arguments, **named)

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode, for a network that is learnt whole."""
        super().train(mode and self.whole)
        return self

    def fixed(self) -> set[str]:
        """The keys of its state that training does not change."""
        if self.whole:
            return set()
        return set(self.state_dict()) - {name for name, parameter in self.named_parameters() if parameter.requires_grad}


def fixed_keys(module: nn.Module) -> set[str]:
    """The keys of a module's state that training does not change: those of every backbone in it."""
    return {
        f"{at}.{key}".lstrip(".")
        for at, part in module.named_modules()
        if isinstance(part, Backbone)
        for key in part.fixed()
    }


class Projection(nn.Module):
    """Features to tokens of a width. Where there are several places, a token also says which is its own.

    With `ages` it says how old it is too: sines and cosines of the logarithm of its age, so that frames some seconds
    apart and studies some years apart are told apart by the same network.
    """

    frequency: torch.Tensor

    def __init__(self, size: int, width: int, places: int, *, dropout: float, ages: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(size, width)
        self.place = nn.Parameter(torch.randn(places, width) * 0.1) if places > 1 else None
        self.age = nn.Linear(2 * len(PERIODS) + 1, width) if places > 1 and ages else None
        self.register_buffer("frequency", 2 * math.pi / torch.tensor(PERIODS), persistent=False)

    def forward(self, features: torch.Tensor, hours: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """features (B, K, F), hours (B, K) at most 0, present (B, K) → (B, K, width); 0 where absent."""
        values: torch.Tensor = self.linear(self.dropout(self.norm(features)))
        if self.place is not None:
            values = values + self.place
        if self.age is not None:
            age = (-3600 * hours).clamp(min=0).log1p()[..., None]
            values = values + self.age(
                torch.cat([(age * self.frequency).sin(), (age * self.frequency).cos(), age / 10], -1)
            )
        return values * present[..., None]
