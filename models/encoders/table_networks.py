"""Whole table rows to one token: a transformer over features, and a multilayer perceptron."""

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.columns import Columns
from models.encoders.feature_tokens import FeatureTokens, Numbers
from models.encoders.self_attention import SelfAttention
from models.encoders.tokens import Tokens

MLP_FEATURE_WIDTH = 8  # of a feature's periodic embedding, of which the perceptron takes all at once


class FtTransformer(nn.Module):
    """FT-Transformer: a token per observed feature and one for the whole (CLS), which is read out.

    Gorishniy et al. 2021, "Revisiting deep learning models for tabular data", sec. 3.3; the attention over F features
    costs F².
    """

    def __init__(
        self, statistics: StreamStatistics, width: int, numbers: Numbers, layers: int, heads: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = FeatureTokens(statistics, width, numbers)
        self.whole = nn.Parameter(torch.empty(1, 1, width).uniform_(-(width**-0.5), width**-0.5))
        self.attention = SelfAttention(width, layers, heads, dropout=dropout)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, stream: Stream) -> Tokens:
        """values (B, F) → tokens (B, 1, D)."""
        present = stream.present[:, None]
        features = self.tokens(stream.values, stream.observed)
        elements = torch.cat([self.whole.expand(len(features), -1, -1).to(features.dtype), features], 1)
        keys = torch.cat([torch.ones_like(present), stream.observed], 1)
        values = self.out(self.attention(elements, keys)[:, :1])
        return Tokens(values * present[..., None], present)


class Mlp(nn.Module):
    """A multilayer perceptron over all features at once, each beside a flag for whether it is observed.

    numbers: z-scores, or with `periodic` an embedding of each feature first (MLP-PLR of Gorishniy et al. 2022).
    """

    def __init__(
        self, statistics: StreamStatistics, width: int, numbers: Numbers, layers: int, *, dropout: float
    ) -> None:
        super().__init__()
        features = statistics.elements
        self.enter: Columns | FeatureTokens
        if numbers == "linear":
            self.enter = Columns(statistics)
            size = self.enter.count + features
        else:
            self.enter = FeatureTokens(statistics, MLP_FEATURE_WIDTH, numbers)
            size = (MLP_FEATURE_WIDTH + 1) * features
        hidden: list[nn.Module] = []
        for _ in range(layers):
            hidden += [nn.Linear(size, 2 * width), nn.ReLU(), nn.Dropout(dropout)]
            size = 2 * width
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Linear(size, width)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, F) → tokens (B, 1, D)."""
        entered = self.enter(stream.values, stream.observed)
        numbers = entered[0] if isinstance(entered, tuple) else entered.flatten(1)
        present = stream.present[:, None]
        values = self.out(self.hidden(torch.cat([numbers, stream.observed.to(numbers.dtype)], 1)))[:, None]
        return Tokens(values * present[..., None], present)
