"""Adversarial features: a discriminator that tells real from generated; its trunk becomes the encoder."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import TrainingConfig
from models.encoders.tokens import Tokens
from models.pretrain.generators import StreamGenerator
from models.pretrain.objective import Cases, Loss

KINDS = ("image", "audio")
GENERATOR_RATE = 0.5  # of the discriminator's rate: two time scales (Heusel et al. 2017, sec. 2)
BETAS = (0.5, 0.9)
NEARNESS = 0.1  # the weight of the regulariser
ANCHOR_DECAY = 0.95


class AdversarialFeatures(nn.Module):
    """One small generative adversarial network per image or sound; what is kept is the discriminator without its head.

    Radford et al. 2016, "Unsupervised representation learning with deep convolutional GANs", sec. 5. The discriminator
    is the stream's encoder, its mean token, and a linear head. Hinge loss (Lim & Ye 2017). For few cases its
    scores are held near the running means of the other side's (Tseng et al. 2021, "Regularizing GANs under limited
    data"), and whatever the encoder does to images and tokens in training is done to both sides alike (Zhao et
    al. 2020). Its losses measure a game, not a distance: a lower one is no sign of better features, so that the last
    epoch is what is kept.
    """

    turns = ("discriminator", "generator")
    alone = True
    stops_early = False
    anchors: torch.Tensor

    def __init__(
        self, encoders: Mapping[str, nn.Module], statistics: Mapping[str, StreamStatistics], width: int
    ) -> None:
        super().__init__()
        for name in encoders:
            if statistics[name].kind not in KINDS:
                raise TaskError(
                    f"adversarial pretraining of {name}: expected an image or audio stream, got a "
                    f"{statistics[name].kind}; take --method masked for it"
                )
        self.encoders = nn.ModuleDict(encoders)
        self.heads = nn.ModuleDict({name: nn.Linear(width, 1) for name in encoders})
        self.generators = nn.ModuleDict({name: StreamGenerator(statistics[name]) for name in encoders})
        self.places = {name: place for place, name in enumerate(encoders)}
        self.register_buffer("anchors", torch.zeros(len(encoders), 2))  # running means of the scores: real, generated

    def optimizer(self, turn: str, settings: TrainingConfig) -> torch.optim.Optimizer:
        """Adam for either side."""
        judge = turn == "discriminator"
        parts = (self.encoders, self.heads) if judge else (self.generators,)
        rate = settings.learning_rate * (1.0 if judge else GENERATOR_RATE)
        chosen = [p for part in parts for p in part.parameters() if p.requires_grad]
        return torch.optim.Adam([{"params": chosen, "base": rate}], lr=rate, betas=BETAS)

    def losses(self, turn: str, cases: Cases) -> dict[str, Loss]:
        """Stream by stream, over the cases that have it."""
        found = {}
        for name, stream in cases.streams.items():
            real = stream.rows(stream.present)
            count = torch.tensor(len(real.values), device=real.values.device)
            value = self._loss(turn, name, real) if len(real.values) else self.anchors.new_zeros(())
            found[name] = Loss(value * count, count)
        return found

    def scores(self, name: str, stream: Stream) -> torch.Tensor:
        """(B,) how real each case's stream looks; above 0 it is taken for real."""
        tokens = cast(Tokens, self.encoders[name](stream))
        said: torch.Tensor = self.heads[name](tokens.mean())
        score: torch.Tensor = said[:, 0].float()
        return score

    def generate(self, name: str, like: Stream) -> Stream:
        """Generated values, observed where and when `like` is."""
        return cast(Stream, self.generators[name](like))

    @torch.no_grad()
    def told_apart(self, name: str, stream: Stream) -> float:
        """The share of real cases and of as many generated ones that the discriminator tells for what they are."""
        real = stream.rows(stream.present)
        right = [self.scores(name, real) > 0, self.scores(name, self.generate(name, real)) <= 0]
        return float(torch.cat(right).double().mean())

    def _loss(self, turn: str, name: str, real: Stream) -> torch.Tensor:
        if turn == "generator":
            return -self.scores(name, self.generate(name, real)).mean()
        with torch.no_grad():
            made = self.generate(name, real)
        said, of_made = self.scores(name, real), self.scores(name, made)
        hinge = (1 - said).relu().mean() + (1 + of_made).relu().mean()
        if not self.training:
            return hinge
        place = self.places[name]
        real_level, made_level = self.anchors[place].clone()
        now = torch.stack([said.detach().mean(), of_made.detach().mean()])
        self.anchors[place].lerp_(now, 1 - ANCHOR_DECAY)
        near = (said - made_level).square().mean() + (of_made - real_level).square().mean()
        regularised: torch.Tensor = hinge + NEARNESS * near
        return regularised
