"""The validation loss of what is being trained: plain negative log-likelihood, whatever the training makes small."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ingest.errors import ModelError
from models.network import Network
from models.training.finite import cases_named
from models.training.loader import Reader, placed, runs_of
from models.training.phases import Phase
from models.training.token_source import TokenSource

BATCH = 256


class Validation:
    """The validation split, read through the network as it is: in evaluation mode, without gradients."""

    def __init__(self, network: Network, reader: Reader, device: torch.device) -> None:
        self.network, self.reader, self.device = network, reader, device
        self.outcome = reader.outcome
        self.places = runs_of(len(reader), BATCH)

    @torch.no_grad()
    def losses(self, phase: Phase, active: Sequence[str], tokens: TokenSource | None) -> dict[str, float]:
        """The mean loss of each of what is watched; in the phase `alone` over the cases that have the stream.

        tokens: of the phase `together`. Raises ModelError where a case's loss is not finite.
        """
        self.network.eval()
        if phase.name == "alone":
            return self._alone(active)
        logits = torch.cat([logits.double().mean(1).cpu() for logits in self._whole(phase, tokens)])
        return {phase.watched[0]: self._mean("the whole", logits, np.arange(len(self.reader)))}

    def _whole(self, phase: Phase, tokens: TokenSource | None) -> Iterator[torch.Tensor]:
        if phase.name == "together":
            assert tokens is not None
            for part in tokens.tokens(self.places, 0):
                yield self.network.fuse(part)
        else:
            for batch in self.reader.batches(self.places, self.network.stream_names):
                yield self.network(placed(batch, self.device).streams)

    def _alone(self, active: Sequence[str]) -> dict[str, float]:
        logits: dict[str, list[torch.Tensor]] = {name: [] for name in active}
        present: dict[str, list[torch.Tensor]] = {name: [] for name in active}
        for batch in self.reader.batches(self.places, active):
            for name, stream in placed(batch, self.device).streams.items():
                tokens = self.network.encoders[name](stream)
                logits[name].append(self.network.read_alone(name, tokens).double().cpu())
                present[name].append(tokens.present.any(1).cpu())
        here = {name: torch.cat(parts).numpy() for name, parts in present.items()}
        return {
            name: self._mean(f"stream {name}", torch.cat(logits[name])[here[name]], np.flatnonzero(here[name]))
            for name in active
        }

    def _mean(self, what: str, logits: torch.Tensor, places: np.ndarray) -> float:
        """logits (n, O) of the cases at these places."""
        if len(places) == 0:
            return math.log(2)  # nobody in the validation split has the stream: any epoch is as good
        outcome = self.outcome[torch.from_numpy(places)].to(self.device)
        losses = self.network.meaning.loss(logits.to(self.device, torch.float32), outcome).double().cpu()
        if not bool(losses.isfinite().all()):
            wrong = self.reader.case_ids[places[~losses.isfinite().numpy()]]
            raise ModelError(
                f"validation: the loss of {what} is not finite for {cases_named(wrong)}; the checkpoint of the last "
                "epoch, where there is one, stays as it is. Look at the values of these cases"
            )
        return float(losses.mean())
