"""From very many kept features to few: blocks that count the same, principal axes, a small network."""

from collections.abc import Sequence

import torch
from torch import nn

COMPONENTS = 512
HIDDEN = 256
FIT_ON = 2000  # cases: the axes are then had from their Gram matrix
CLIP = 6.0
INPUT_DROPOUT, DROPOUT = 0.1, 0.5


class BlockProjection(nn.Module):
    """features (B, K, F) → tokens (B, K, D).

    Features are standardised and clipped; each block is divided by the root mean square length of its rows, so that one
    of many numbers has no more say than one of few. Then the first principal axes, all divided by one number: what
    varies much stays large, since whitening would lift noise to the size of the signal. A hidden layer and a linear
    path read them. What is fitted is fitted on training cases (`fit`) and saved with the weights.
    """

    centre: torch.Tensor
    precision: torch.Tensor
    factor: torch.Tensor
    axes: torch.Tensor
    origin: torch.Tensor

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        size = sum(blocks)
        for name in ("centre", "precision", "factor"):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("axes", torch.zeros(size, COMPONENTS))
        self.register_buffer("origin", torch.zeros(COMPONENTS))
        self.dropout = nn.Dropout(INPUT_DROPOUT)
        self.hidden = nn.Sequential(
            nn.Linear(COMPONENTS, HIDDEN),
            nn.LayerNorm(HIDDEN),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, width),
        )
        self.straight = nn.Linear(COMPONENTS, width, bias=False)
        nn.init.zeros_(self.straight.weight)

    def forward(self, features: torch.Tensor, _hours: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """features (B, K, F), present (B, K) → (B, K, D); 0 where absent."""
        shown = self.dropout(self.project(features))
        values: torch.Tensor = self.hidden(shown) + self.straight(shown)
        return values * present[..., None]

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """features (..., F) → (..., COMPONENTS)."""
        standard = ((features.float() - self.centre) * self.precision).clamp(-CLIP, CLIP)
        return (standard * self.factor) @ self.axes - self.origin

    @torch.no_grad()
    def fit(self, features: torch.Tensor, generator: torch.Generator) -> None:
        """Fit on features (n, F) of training cases; of more than FIT_ON the axes are had from a sample."""
        if len(features) < 2:
            return
        known = features.to(self.centre.device).float()
        spread = known.std(0)
        self.centre.copy_(known.mean(0))
        # A number that hardly varies is not blown up; one that never does says nothing.
        self.precision.copy_(torch.where(spread > 0, 1 / (spread + 1e-3 * known.std() + 1e-6), 0.0))
        standard = ((known - self.centre) * self.precision).clamp(-CLIP, CLIP)
        lengths = [float(block.square().sum(1).mean().sqrt()) for block in torch.split(standard, list(self.blocks), 1)]
        factors = [
            known.new_full((size,), 1 / (max(length, 1e-6) * len(lengths) ** 0.5))
            for size, length in zip(self.blocks, lengths, strict=True)
        ]
        self.factor.copy_(torch.cat(factors))
        blocked = standard * self.factor
        sample = blocked[torch.randperm(len(blocked), generator=generator)[:FIT_ON].to(blocked.device)]
        _, _, axes = torch.linalg.svd(sample - sample.mean(0), full_matrices=False)
        axes = axes[:COMPONENTS].T
        projected = blocked @ axes
        overall = float((projected - projected.mean(0)).square().mean().sqrt()) or 1.0
        self.axes.zero_()
        self.axes[:, : axes.shape[1]] = axes / overall
        self.origin.copy_(blocked.mean(0) @ self.axes)
