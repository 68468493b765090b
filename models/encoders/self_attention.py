"""A transformer over elements some of which are absent."""

import torch
from torch import nn

from ingest.errors import TaskError


class SelfAttention(nn.Module):
    """Pre-norm layers in which absent elements are no keys, so that they change nothing.

    After Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", sec. 3.3: ReGLU, and no
    normalisation before the first attention.
    """

    def __init__(self, width: int, layers: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise TaskError(f"encoder.heads {heads}: expected a divisor of model.width {width}")
        self.layers = nn.ModuleList(Layer(width, heads, first=i == 0, dropout=dropout) for i in range(layers))

    def forward(self, elements: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """elements (B, T, D), observed (B, T) → (B, T, D); of absent elements it means nothing."""
        keys = observed | ~observed.any(1, keepdim=True)  # a softmax over nothing is not a number
        for layer in self.layers:
            elements = layer(elements, keys)
        return elements


class Layer(nn.Module):
    """Multi-head attention and a gated feed-forward layer, each beside a residual connection."""

    def __init__(self, width: int, heads: int, *, first: bool, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        hidden = width * 4 // 3
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(width)
        self.to_heads = nn.Linear(width, 3 * width)
        self.from_heads = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 2 * hidden)
        self.leave = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, elements: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """elements (B, T, D), keys (B, T) bool: what may be looked at → (B, T, D)."""
        batch, times, width = elements.shape
        parts = self.to_heads(self.attention_norm(elements)).reshape(batch, times, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=keys[:, None, None], dropout_p=self.dropout.p if self.training else 0.0
        )
        elements = elements + self.dropout(self.from_heads(seen.transpose(1, 2).reshape(batch, times, width)))
        linear, gate = self.enter(self.feed_norm(elements)).chunk(2, -1)
        out: torch.Tensor = elements + self.dropout(self.leave(self.dropout(linear * gate.relu())))
        return out
