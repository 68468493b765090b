"""Fusions: the tokens of all present streams to one vector per member. Absent tokens change nothing."""

from collections.abc import Callable

from torch import nn

from models.config import FusionConfig
from models.fusions.attention import AttentionFusion
from models.fusions.concat import ConcatFusion

# (configuration, width D, streams M, members, dropout) -> module: list of M Tokens (B, K, D) -> (B, members, D)
Fusion = Callable[[FusionConfig, int, int, int, float], nn.Module]

FUSIONS: dict[str, Fusion] = {"attention": AttentionFusion, "concat": ConcatFusion}

__all__ = ["FUSIONS", "Fusion"]
