"""States over time to tokens."""

import torch
from torch import nn

from models.encoders.tokens import AttentionPool, Tokens


class Readout(nn.Module):
    """Two tokens: the state at the last event, and all states pooled by attention, each through a layer of its own."""

    def __init__(self, size: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.pool = AttentionPool(size, 1)
        self.last = nn.Linear(size, width)
        self.over_time = nn.Linear(size, width)

    def forward(self, states: torch.Tensor, there: torch.Tensor) -> Tokens:
        """states (B, S, size), there (B, S) bool with the events in front → tokens (B, 2, width)."""
        states = self.dropout(self.norm(states))
        place = (there.sum(1) - 1).clamp(min=0)
        last = states[torch.arange(len(states), device=states.device), place]
        values = torch.stack([self.last(last), self.over_time(self.pool(states, there)[:, 0])], 1)
        present = there.any(1, keepdim=True).expand(-1, 2)
        return Tokens(values * present[..., None], present)
