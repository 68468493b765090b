"""A number, with how uncertain it is."""

import math

import torch

from models.objectives.objective import ObjectiveModule


class RegressionObjective(ObjectiveModule):
    """Two logits: the mean and the log standard deviation of a normal distribution (Nix & Weigend 1994, eq. 4).

    Both on a scale on which the training outcomes have mean 0 and standard deviation 1; `prior` fits that scale.
    outcome (..., 1): the number. The risk is the probability of a value above `above`.
    """

    outputs = 2
    columns = 1
    names: tuple[str, ...] = ("mean", "standard deviation")
    groups = (slice(0, 2),)
    location: torch.Tensor
    scale: torch.Tensor

    def __init__(self, above: float) -> None:
        super().__init__()
        self.above = above
        self.register_buffer("location", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """0 and 0, once the scale is fitted."""
        values = outcome[:, 0].double()
        spread = float(values.std()) if len(values) > 1 else 0.0
        self.location.fill_(float(values.mean()))
        self.scale.fill_(spread if spread > 0 else 1.0)
        return torch.zeros(2)

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """Minus the log-density, in standard units."""
        mean, log_sd = self._parts(logits)
        z = (outcome[..., 0] - self.location) / self.scale
        return 0.5 * ((z - mean) * (-log_sd).exp()) ** 2 + log_sd + 0.5 * math.log(2 * math.pi)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., 2) mean and standard deviation in the outcome's unit."""
        mean, log_sd = self._parts(logits)
        return torch.stack([self.location + self.scale * mean, self.scale * log_sd.exp()], -1)

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """The log-odds of a value above the limit."""
        mean, log_sd = self._parts(logits)
        z = (mean - (self.above - self.location) / self.scale) * (-log_sd).exp()
        odds: torch.Tensor = torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)
        return odds

    @staticmethod
    def _parts(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return logits[..., 0], logits[..., 1].clamp(-5, 5)
