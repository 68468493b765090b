"""Several outcomes learnt at once."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from models.objectives.objective import Objective, ObjectiveModule


class SeveralObjective(ObjectiveModule):
    """The logits of all outcomes side by side; the first outcome's risk is the risk.

    Their losses are weighed by what each leaves uncertain (Kendall et al. 2018, eq. 7, in the log-likelihood form
    sum_k exp(-s_k) L_k + s_k with s_k learnt, 0 at first). An outcome with a NaN is unknown and costs nothing.
    """

    def __init__(self, named: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(named.values())  # a dict of modules refuses names such as "values"
        parts = self._parts()
        self.log_variance = nn.Parameter(torch.zeros(len(parts)))
        self.outputs = sum(part.outputs for part in parts)
        self.columns = sum(part.columns for part in parts)
        first = next(iter(named))
        self.names = tuple(
            label if name == first else f"{name}: {label}"
            for name, part in zip(named, parts, strict=True)
            for label in part.names
        )
        starts = _starts([part.outputs for part in parts])
        self.groups = tuple(
            slice(start + group.start, start + group.stop)
            for start, part in zip(starts, parts, strict=True)
            for group in part.groups
        )

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """Each outcome's own, from the cases of which it is known."""
        priors = [
            part.prior(mine[self._known(part, mine)])
            for part, mine in zip(self._parts(), self._outcomes(outcome), strict=True)
        ]
        return torch.cat(priors)

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """The weighed sum over what is known of the case."""
        total = logits.new_zeros(())
        for part, mine, theirs, s in zip(
            self._parts(), self._logits(logits), self._outcomes(outcome), self.log_variance, strict=True
        ):
            known = self._known(part, theirs)
            filled = torch.where(known[..., None], theirs, 0.0)
            total = total + ((-s).exp() * part.loss(mine, filled) + s) * known
        return total

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Those of all outcomes side by side."""
        each = zip(self._parts(), self._logits(logits), strict=True)
        return torch.cat([part.probabilities(mine) for part, mine in each], -1)

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """That of the first outcome."""
        return self._parts()[0].risk_logit(self._logits(logits)[0])

    @staticmethod
    def _known(part: Objective, outcome: torch.Tensor) -> torch.Tensor:
        """(...) several labels count where any is known; all else where all of it is."""
        missing = outcome.isnan()
        return ~missing.all(-1) if len(part.groups) > 1 else ~missing.any(-1)

    def _parts(self) -> Sequence[Objective]:
        return [cast(Objective, part) for part in self.parts]

    def _logits(self, logits: torch.Tensor) -> Sequence[torch.Tensor]:
        return torch.split(logits, [part.outputs for part in self._parts()], -1)

    def _outcomes(self, outcome: torch.Tensor) -> Sequence[torch.Tensor]:
        return torch.split(outcome, [part.columns for part in self._parts()], -1)


def _starts(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]
