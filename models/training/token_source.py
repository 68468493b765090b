"""Where the second phase gets its tokens: computed once in several draws of hidden elements, or anew where many."""

from collections.abc import Sequence

import numpy as np
import torch

from ingest.cohort import Cohort
from models.encoders.tokens import Tokens, concatenate
from models.network import Network
from models.training.losses import hide_elements
from models.training.weights import seeded

DRAWS = 4  # with elements hidden at random, beside one with all of them
KEPT_AT_MOST = 20_000  # cases whose tokens are kept in memory
BATCH = 256

NamedTokens = dict[str, Tokens]


class TokenSource:
    """Tokens of some cases from encoders that no longer change."""

    def __init__(
        self,
        network: Network,
        cohort: Cohort,
        rows: np.ndarray,
        device: torch.device,
        *,
        element_mask: float,
        seed: int,
    ) -> None:
        self.network, self.cohort, self.rows, self.device = network, cohort, rows, device
        self.element_mask, self.seed = element_mask, seed
        self.kept: dict[int, NamedTokens] = {}

    def tokens(self, at: np.ndarray, epoch: int) -> NamedTokens:
        """The tokens of the cases at these positions in rows; every epoch sees another draw of hidden elements."""
        draw = epoch % (DRAWS + 1) if self.element_mask else 0
        if len(self.rows) > KEPT_AT_MOST:
            return self._encode(self.rows[at], draw, seed=self.seed * 7919 + epoch * 104_729 + int(at[0]))
        if draw not in self.kept:
            parts = [
                self._encode(self.rows[start : start + BATCH], draw, seed=self.seed * 7919 + draw * 104_729 + start)
                for start in range(0, len(self.rows), BATCH)
            ]
            self.kept[draw] = joined(parts)
        index = torch.from_numpy(np.asarray(at, np.int64)).to(self.device)
        return {name: tokens.rows(index) for name, tokens in self.kept[draw].items()}

    @torch.no_grad()
    def _encode(self, rows: np.ndarray, draw: int, *, seed: int) -> NamedTokens:
        """Draw 0 hides nothing."""
        self.network.eval()
        batch = self.cohort.batch(rows, self.network.stream_names).to(self.device)
        with seeded(seed):
            most = self.element_mask if draw else 0.0
            return self.network.encode({n: hide_elements(s, most) for n, s in batch.streams.items()})


def joined(parts: Sequence[NamedTokens]) -> NamedTokens:
    """The cases of all parts, in order, stream by stream."""
    return {name: concatenate([part[name] for part in parts]) for name in parts[0]}
