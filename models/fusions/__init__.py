"""Fusions: the tokens of all present streams to one vector per member. Absent tokens change nothing."""

from collections.abc import Callable

from torch import nn

from models.config import FusionConfig
from models.fusions.attention import AttentionFusion
from models.fusions.bilinear import BilinearFusion
from models.fusions.bottleneck import BottleneckFusion
from models.fusions.concat import ConcatFusion
from models.fusions.correspondence import CorrespondenceFusion
from models.fusions.cross_attention import CrossAttentionFusion
from models.fusions.dense import DenseFusion
from models.fusions.experts import ExpertsFusion
from models.fusions.gated import GatedFusion
from models.fusions.graph import GraphFusion
from models.fusions.joint import JointFusion
from models.fusions.sum import SumFusion
from models.fusions.weighted import WeightedFusion

# (configuration, width D, streams M, members, dropout) -> module: list of M Tokens (B, K, D) -> (B, members, D)
Fusion = Callable[[FusionConfig, int, int, int, float], nn.Module]

# docs/fusions.md says of each what it computes, what it costs and when to take it
FUSIONS: dict[str, Fusion] = {
    "attention": AttentionFusion,
    "concat": ConcatFusion,
    "joint": JointFusion,
    "sum": SumFusion,
    "weighted": WeightedFusion,
    "gated": GatedFusion,
    "cross-attention": CrossAttentionFusion,
    "bottleneck": BottleneckFusion,
    "bilinear": BilinearFusion,
    "dense": DenseFusion,
    "graph": GraphFusion,
    "correspondence": CorrespondenceFusion,
    "experts": ExpertsFusion,
}

__all__ = ["FUSIONS", "Fusion"]
