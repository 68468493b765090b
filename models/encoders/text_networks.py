"""Readers of word sequences that are trained here: word vectors, something that sees words together, pools."""

from collections.abc import Callable

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.self_attention import SelfAttention
from models.encoders.tokens import AttentionPool, SumPool, Tokens

TRANSFORMER_LAYERS = 2
LONGEST_PERIOD = 10_000.0  # in words


class WordEncoder(nn.Module):
    """Word vectors, a body that lets words see their neighbours, and a token from each way of pooling them.

    What is hidden or beyond a note's end is 0 for the body and is never pooled, so that a note reads the same in any
    company.
    """

    def __init__(self, config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        build, pools = TEXT_BODIES["words" if config.network == "default" else config.network]
        self.words = nn.Embedding(statistics.vocabulary_size, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.3)
        self.body = build(config, width, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.pools = nn.ModuleList(pools(width, statistics.elements))

    def forward(self, stream: Stream) -> Tokens:
        """values (B, T) token ids → tokens (B, K, D), one per pool."""
        longest = int(stream.observed.any(0).nonzero().max()) + 1 if bool(stream.observed.any()) else 1
        observed = stream.observed[:, :longest]
        words = self.dropout(self.words(stream.values[:, :longest]) * observed[..., None])
        elements = self.dropout(self.norm(self.body(words, observed)))
        values = torch.cat([pool(elements, observed) for pool in self.pools], 1)
        present = observed.any(1, keepdim=True).expand(-1, len(self.pools))
        return Tokens(values * present[..., None], present)


class Neighbours(nn.Module):
    """Two convolutions beside residual connections, so that "no rales" differs from "rales"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.second = nn.Conv1d(width, width, kernel_size=3, padding=1)

    def forward(self, words: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """words (B, T, D), 0 where observed (B, T) is False → (B, T, D)."""
        hidden = words.transpose(1, 2)
        hidden = (hidden + nn.functional.gelu(self.first(hidden))) * observed[:, None].to(words.dtype)
        hidden = hidden + nn.functional.gelu(self.second(hidden))
        return hidden.transpose(1, 2)


class Recurrent(nn.Module):
    """Gated recurrent units (Cho et al. 2014) in both directions; each begins at the note's own first or last word."""

    def __init__(self, width: int, layers: int, *, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(width, width, layers, batch_first=True, dropout=between, bidirectional=True)
        self.out = nn.Linear(2 * width, width)

    def forward(self, words: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """words (B, T, D), 0 where observed (B, T) is False → (B, T, D)."""
        count = torch.arange(1, observed.shape[1] + 1, device=observed.device)
        length = (observed * count).amax(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(words, length.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        out = words.new_zeros(words.shape)
        out[:, : states.shape[1]] = self.out(states).to(words.dtype)
        return out


class SmallTransformer(nn.Module):
    """Self-attention over words that know their place, by sines and cosines (Vaswani et al. 2017, sec. 3.5)."""

    def __init__(self, width: int, layers: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.loudness = nn.Parameter(torch.tensor(0.3))  # of a place, beside word vectors of about this size
        self.attention = SelfAttention(width, layers, heads, dropout=dropout)

    def forward(self, words: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """words (B, T, D), observed (B, T) → (B, T, D)."""
        places = sinusoids(words.shape[1], words.shape[2], words.device)
        elements: torch.Tensor = self.attention(words + self.loudness * places, observed)
        return elements


class MeanPool(nn.Module):
    """The mean of what is observed, as one token."""

    def forward(self, elements: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """elements (B, T, D), observed (B, T) → (B, 1, D)."""
        weight = observed[..., None].to(elements.dtype)
        return (elements * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)


def sinusoids(places: int, width: int, device: torch.device) -> torch.Tensor:
    """(places, width): the sines of each place in periods from 2π to 20,000π words, then the cosines."""
    half = (width + 1) // 2
    rate = LONGEST_PERIOD ** -(torch.arange(half, device=device) / half)
    angle = torch.arange(places, device=device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width]


def _transformer(config: EncoderConfig, width: int, dropout: float) -> SmallTransformer:
    return SmallTransformer(width, config.layers or TRANSFORMER_LAYERS, config.heads, dropout=dropout)


def _attend_and_count(width: int, elements: int) -> list[nn.Module]:
    return [AttentionPool(width, 1), SumPool(width, 1, typical_elements=elements)]


Body = Callable[[EncoderConfig, int, float], nn.Module]
Pools = Callable[[int, int], list[nn.Module]]

# name -> builders of (what lets words see each other, how they become tokens)
TEXT_BODIES: dict[str, tuple[Body, Pools]] = {
    "words": (lambda config, width, dropout: Neighbours(width), _attend_and_count),
    "rnn": (
        lambda config, width, dropout: Recurrent(width, config.layers or 1, dropout=dropout),
        _attend_and_count,
    ),
    "small-transformer": (_transformer, _attend_and_count),
    "mean-pooled-transformer": (_transformer, lambda width, elements: [MeanPool()]),
}
