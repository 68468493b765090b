"""The self-check: does a model still answer different inputs differently? One that does not has learnt nothing.

A wrong scale of the pixels, a wrong layout of an array, or weights that were not loaded show nowhere else
(torchxrayvision issue 89: the same output for every image).
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ingest.batch import Batch, Stream
from models.encoders.tokens import Tokens

CASES_AT_MOST = 512  # of each stream, enough to tell
LEAST_CASES = 8  # with fewer, equal outputs may be chance
SAME_TOKENS = 1e-4  # their standard deviation over cases, as a share of their size
SAME_LOGITS = 1e-6


class SelfCheck:
    """Shown batches as they are scored, it says at the end which streams, or whether the risk, do not depend on
    their input."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.tokens: dict[str, list[np.ndarray]] = defaultdict(list)
        self.inputs: dict[str, set[bytes]] = defaultdict(set)
        self.logits: list[float] = []
        self.cases: set[tuple[bytes, ...]] = set()

    def see(self, batch: Batch, tokens: Mapping[str, Tokens], logit: np.ndarray) -> None:
        """Take note of a batch, as long as more cases tell more. logit (B,): the log-odds of the risk."""
        wanted = [name for name in self.names if sum(map(len, self.tokens[name])) < CASES_AT_MOST]
        if len(self.logits) < CASES_AT_MOST:
            wanted = self.names
            self.logits += logit.tolist()
        digests = {name: _digests(batch.streams[name]) for name in wanted}
        for name in wanted:
            here = tokens[name].present.any(1).cpu().numpy()
            self.tokens[name].append(tokens[name].mean().detach().double().cpu().numpy()[here])
            self.inputs[name].update(digest for digest, there in zip(digests[name], here, strict=True) if there)
        if len(wanted) == len(self.names):
            self.cases.update(zip(*digests.values(), strict=True))

    def alarms(self) -> list[str]:
        """What is wrong, in words; empty where nothing is."""
        found = []
        for name in self.names:
            different = len(self.inputs[name])
            if different >= LEAST_CASES and _same(np.concatenate(self.tokens[name])):
                found.append(
                    f"{name}: the encoder gives the same output for {different} different inputs, so the stream says "
                    "nothing; check its weights and how its input is scaled"
                )
        if len(self.cases) >= LEAST_CASES and np.ptp(self.logits) < SAME_LOGITS:
            found.append(
                f"the risk is the same for {len(self.cases)} different cases; check the weights, or train anew"
            )
        return found


def _same(tokens: np.ndarray) -> bool:
    """tokens (n, D)."""
    size = float(np.sqrt((tokens**2).mean()))
    return float(tokens.std(0).max()) <= SAME_TOKENS * max(size, 1e-12)


def _digests(stream: Stream) -> list[bytes]:
    """What stands for each case's input: equal where inputs are."""
    shown = stream.observed.reshape(stream.observed.shape + (1,) * (stream.values.ndim - stream.observed.ndim))
    values = np.ascontiguousarray((stream.values * shown).cpu().numpy())
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in values]
