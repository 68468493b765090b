"""SpecAugment: stretches of time and bands of frequency hidden from a network while it learns."""

import torch

MASKS = 2  # of each kind
MOST_BANDS, MOST_FRAMES = 0.25, 0.2  # the widest mask, as a share of the bands and of the recording


def spec_augment(frames: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Log-mel frames with bands and stretches at 0, the training mean; of every case other ones.

    Park et al. 2019, "SpecAugment", sec. 2, without time warping, on the frames' device: a mask of width
    U(0, widest) begins at U(0, length - width). frames (B, T, mels) standardised, observed (B, T).
    """
    times, mels = frames.shape[1:]
    number = torch.arange(times, device=frames.device)
    length = torch.where(observed, number + 1, 0).amax(1) if times else observed.sum(1)
    bands = torch.full_like(length, mels)
    hidden = _masks(number, length, MOST_FRAMES)[:, :, None]
    hidden = hidden | _masks(torch.arange(mels, device=frames.device), bands, MOST_BANDS)[:, None]
    return frames.masked_fill(hidden, 0.0)


def _masks(number: torch.Tensor, length: torch.Tensor, most: float) -> torch.Tensor:
    """(B, N): the union of MASKS stretches of the first `length` (B,) of `number` (N,) places."""
    chance = torch.rand(2, len(length), MASKS, device=number.device)
    widest = (length[:, None] * most).floor()
    width = (chance[0] * (widest + 1)).floor()
    start = (chance[1] * (length[:, None] - width + 1)).floor()
    place = number[None, None]
    return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(1)
