"""Streams that contradict each other: how far apart the log-odds are that each gives by itself."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from models.encoders.tokens import Tokens
from models.network import Network


def alone_log_odds(network: Network, tokens: Mapping[str, Tokens]) -> np.ndarray:
    """(B, M) float64: the risk's log-odds by each stream alone, not calibrated; NaN where the case lacks it."""
    each = []
    for name in network.stream_names:
        said = network.meaning.risk_logit(network.read_alone(name, tokens[name]).double())
        each.append(torch.where(tokens[name].present.any(1), said, torch.nan))
    return np.asarray(torch.stack(each, 1).cpu().numpy())


def spread(alone: np.ndarray) -> np.ndarray:
    """(B,) the highest less the lowest of the log-odds that there are; 0 where fewer than two. alone (B, M)."""
    high = np.where(np.isnan(alone), -np.inf, alone).max(1, initial=-np.inf)
    low = np.where(np.isnan(alone), np.inf, alone).min(1, initial=np.inf)
    return np.where((~np.isnan(alone)).sum(1) > 1, np.maximum(high - low, 0), 0.0)


def conflict_words(alone: np.ndarray, names: Sequence[str]) -> str:
    """The two streams that are farthest apart, and the risk that each alone gives. alone (M,)."""
    high, low = int(np.nanargmax(alone)), int(np.nanargmin(alone))
    risks = [100 / (1 + np.exp(-alone[at])) for at in (high, low)]
    return (
        f"{names[high]} and {names[low]} contradict each other: alone, {names[high]} says {risks[0]:.0f} % and "
        f"{names[low]} {risks[1]:.0f} %"
    )
