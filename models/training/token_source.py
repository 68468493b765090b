"""Where the second phase gets its tokens: computed once in several draws of hidden elements, or anew where many."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ingest.batch import Batch
from models.encoders.tokens import Tokens, concatenate
from models.network import Network
from models.training.loader import Reader, placed, runs_of
from models.training.losses import hide_elements
from models.training.weights import seeded

DRAWS = 4  # with elements hidden at random, beside one with all of them
KEPT_AT_MOST = 20_000  # cases whose tokens are kept in memory
BATCH = 256

NamedTokens = dict[str, Tokens]


class TokenSource:
    """Tokens of the cases of a reader from encoders that no longer change."""

    def __init__(
        self, network: Network, reader: Reader, device: torch.device, *, element_mask: float, seed: int
    ) -> None:
        self.network, self.reader, self.device = network, reader, device
        self.element_mask, self.seed = element_mask, seed
        self.kept: dict[int, NamedTokens] = {}

    def tokens(self, places: Sequence[np.ndarray], epoch: int) -> Iterator[NamedTokens]:
        """The tokens of the cases at each of these places; every epoch sees another draw of hidden elements."""
        draw = epoch % (DRAWS + 1) if self.element_mask else 0
        names = self.network.stream_names
        if len(self.reader) > KEPT_AT_MOST:
            for at, batch in zip(places, self.reader.batches(places, names), strict=True):
                yield self._encode(batch, draw, seed=self.seed * 7919 + epoch * 104_729 + int(at[0]))
            return
        if draw not in self.kept:
            runs = runs_of(len(self.reader), BATCH)
            parts = [
                self._encode(batch, draw, seed=self.seed * 7919 + draw * 104_729 + int(run[0]))
                for run, batch in zip(runs, self.reader.batches(runs, names), strict=True)
            ]
            self.kept[draw] = joined(parts)
        # One copy to the device for all batches: each would wait for what it has still to compute.
        order = torch.from_numpy(np.concatenate(places).astype(np.int64)).to(self.device)
        for index in torch.split(order, [len(at) for at in places]):
            yield {name: tokens.rows(index) for name, tokens in self.kept[draw].items()}

    @torch.no_grad()
    def _encode(self, batch: Batch, draw: int, *, seed: int) -> NamedTokens:
        """Draw 0 hides nothing."""
        self.network.eval()
        streams = placed(batch, self.device).streams
        with seeded(seed):
            most = self.element_mask if draw else 0.0
            return self.network.encode({n: hide_elements(s, most) for n, s in streams.items()})


def joined(parts: Sequence[NamedTokens]) -> NamedTokens:
    """The cases of all parts, in order, stream by stream."""
    return {name: concatenate([part[name] for part in parts]) for name in parts[0]}
