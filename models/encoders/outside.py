"""Features that were computed elsewhere, as one vector: the embedding of an image, a note, a patient."""

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.tokens import Standardise, Tokens


class VectorEncoder(nn.Module):
    """All features of a table as one vector and one token, however many there are.

    z-scores, dropout, a linear layer: a linear probe, which few cases suffice for. More `layers` put hidden ones in
    between. What is not observed of a vector is the training mean, and the share that is observed is an input.
    """

    def __init__(self, config: EncoderConfig, statistics: StreamStatistics, width: int, *, dropout: float) -> None:
        super().__init__()
        if statistics.levels:
            some = ", ".join(sorted(statistics.levels)[:3])
            raise TaskError(
                f"table encoder vector: expected numbers alone, got features with levels ({some}); "
                "put those in a table stream of their own"
            )
        self.standardise = Standardise(statistics.mean, statistics.std)
        hidden: list[nn.Module] = []
        size = statistics.elements + 1
        for _ in range((config.layers or 1) - 1):
            hidden += [nn.Linear(size, 2 * width), nn.GELU(), nn.Dropout(dropout)]
            size = 2 * width
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Linear(size, width)

    def forward(self, stream: Stream) -> Tokens:
        """values (B, F) → tokens (B, 1, D)."""
        there = stream.observed
        vector = self.dropout(self.standardise(stream.values.masked_fill(~there, 0.0)) * there)
        share = there.to(vector.dtype).mean(1, keepdim=True)
        present = stream.present[:, None]
        values = self.out(self.hidden(torch.cat([vector, share], 1)))[:, None]
        return Tokens(values * present[..., None], present)
