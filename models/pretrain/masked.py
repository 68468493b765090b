"""Masked reconstruction: elements are hidden, and a light decoder says from the tokens what they were."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from ingest.statistics import StreamStatistics
from models.config import TrainingConfig
from models.pretrain.decoders import DECODERS, Decoder
from models.pretrain.hiding import hidden_elements, hide
from models.pretrain.objective import Cases, Loss, adamw


class MaskedReconstruction(nn.Module):
    """Each stream by itself: what is hidden of it is told from what is not. The decoders are thrown away afterwards.

    Denoising of sets with absent elements (Vincent et al. 2010), of words (Devlin et al. 2019, BERT) and of
    patches (He et al. 2022, masked autoencoders). What is hidden is absent for the encoder, as in training.
    """

    turns = ("reconstruct",)
    alone = True
    stops_early = True

    def __init__(
        self, encoders: Mapping[str, nn.Module], statistics: Mapping[str, StreamStatistics], width: int
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.kinds = {name: statistics[name].kind for name in encoders}
        self.decoders = nn.ModuleDict({n: DECODERS[self.kinds[n]](statistics[n], width) for n in encoders})

    def optimizer(self, turn: str, settings: TrainingConfig) -> torch.optim.Optimizer:
        """One for all streams: they share no weight."""
        return adamw(list(self.parameters()), settings)

    def losses(self, turn: str, cases: Cases) -> dict[str, Loss]:
        """Stream by stream, over hidden elements that were observed."""
        found = {}
        for name, stream in cases.streams.items():
            shown = hide(stream, self.kinds[name])
            encoder = self.encoders[name]
            decoder = cast(Decoder, self.decoders[name])
            found[name] = decoder.losses(stream, hidden_elements(stream, shown), encoder(shown), encoder)
        return found
