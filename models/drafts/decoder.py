"""The decoder: a small transformer that writes words from what a model's encoders and fusion made of a case.

Vaswani et al. 2017, "Attention is all you need", with the norms before each part (Xiong et al. 2020).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from models.drafts.config import DraftConfig
from models.drafts.vocabulary import BEGIN
from models.encoders.tokens import Tokens
from models.network import Network

KeyValues = list[tuple[torch.Tensor, torch.Tensor]]  # of each layer, (B, heads, K, width / heads)


@dataclass(frozen=True)
class Memory:
    """What is known of B cases: values (B, K, D), present (B, K) bool, stream (K,) which stream each token is of.

    The last token is the fused vector, as one more stream; it is always present, also where no stream is.
    """

    values: torch.Tensor
    present: torch.Tensor
    stream: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: torch.Tensor) -> "Memory":
        """The cases at `index` (long)."""
        return Memory(self.values[index], self.present[index], self.stream)


@torch.no_grad()
def memory_of(network: Network, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None) -> Memory:
    """The tokens of all streams that are present and that keep (B, M) bool allows, and the vector fused from them."""
    parts = [tokens[name] for name in network.stream_names]
    if keep is not None:
        parts = [part.keep(keep[:, place]) for place, part in enumerate(parts)]
    fused = network.fuse_and_embed(tokens, keep)[1].mean(1, keepdim=True)
    values = torch.cat([*(part.values * part.present[..., None] for part in parts), fused], 1)
    present = torch.cat([*(part.present for part in parts), torch.ones_like(fused[..., 0], dtype=torch.bool)], 1)
    sizes = [part.values.shape[1] for part in parts] + [1]
    stream = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(values.device)
    return Memory(values.float(), present, stream)


class Decoder(nn.Module):
    """The next word from the words before it and a memory. V words, S streams and the fused vector, L words at most."""

    def __init__(self, config: DraftConfig, *, words: int, memory_width: int, streams: int, max_tokens: int) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.words = nn.Embedding(words, config.width)
        self.places = nn.Embedding(max_tokens, config.width)
        self.streams = nn.Embedding(streams + 1, config.width)
        self.read = nn.Sequential(nn.LayerNorm(memory_width), nn.Linear(memory_width, config.width))
        self.layers = nn.ModuleList(Layer(config.width, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.bias = nn.Parameter(torch.zeros(words))
        self.dropout = nn.Dropout(config.dropout)
        for embedding in (self.words, self.places, self.streams):
            nn.init.normal_(embedding.weight, std=config.width**-0.5)

    def forward(self, words: torch.Tensor, memory: Memory) -> torch.Tensor:
        """words (B, T) that stand before → logits (B, T, V) of the word that follows each."""
        return self.next(words, self.recall(memory), memory.present)

    def recall(self, memory: Memory) -> KeyValues:
        """Each layer's keys and values of a memory, which stay the same for every word."""
        held = self.read(memory.values) + self.streams(memory.stream)
        return [cast(Layer, layer).across.keys_and_values(held) for layer in self.layers]

    def next(self, words: torch.Tensor, recalled: KeyValues, present: torch.Tensor) -> torch.Tensor:
        """The same from a memory that was recalled; present (B, K)."""
        # Section 3.4: shared with the output, the embedding is scaled up on its way in.
        state = self.words(words) * self.words.embedding_dim**0.5 + self.places.weight[: words.shape[1]]
        state = self.dropout(state)
        for layer, held in zip(self.layers, recalled, strict=True):
            state = layer(state, held, present)
        return F.linear(self.norm(state), self.words.weight, self.bias)


class Layer(nn.Module):
    """Attention to the words before, attention to the memory, and two linear maps, each added to what was there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.before, self.across = Attention(width, heads), Attention(width, heads)
        self.map = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, state: torch.Tensor, held: tuple[torch.Tensor, torch.Tensor], present: torch.Tensor
    ) -> torch.Tensor:
        """state (B, T, W), held: keys and values of the memory, present (B, K) → (B, T, W)."""
        steps = state.shape[1]
        earlier = torch.ones(steps, steps, dtype=torch.bool, device=state.device).tril()
        normed = self.norms[0](state)
        state = state + self.dropout(self.before(normed, self.before.keys_and_values(normed), earlier))
        state = state + self.dropout(self.across(self.norms[1](state), held, present[:, None, None, :]))
        changed: torch.Tensor = state + self.dropout(self.map(self.norms[2](state)))
        return changed


class Attention(nn.Module):
    """Scaled dot-product attention with several heads: Vaswani et al. 2017, eq. 1 and section 3.2.2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def keys_and_values(self, held: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """held (B, K, W) → each (B, heads, K, W / heads)."""
        return self._split(self.key(held)), self._split(self.value(held))

    def forward(
        self, asking: torch.Tensor, held: tuple[torch.Tensor, torch.Tensor], allowed: torch.Tensor
    ) -> torch.Tensor:
        """asking (B, T, W), held as `keys_and_values` gives it, allowed: bool, as wide as (B, heads, T, K) or 1."""
        found = F.scaled_dot_product_attention(self._split(self.query(asking)), *held, attn_mask=allowed)
        out: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def _split(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)


def before(words: torch.Tensor) -> torch.Tensor:
    """(B, T) words → (B, T) what stands before each: the beginning, then all but the last."""
    return torch.cat([torch.full_like(words[:, :1], BEGIN), words[:, :-1]], 1)
