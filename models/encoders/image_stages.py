"""What all stages of a pretrained network see in a flat colour image, beside its colours: many numbers, kept once.

Early stages see texture, late ones things; a mean alone forgets how uneven an image is. Colour is what pretrained
networks are taught to overlook, and what dermatology looks at.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

CENTRE_SD = 0.45  # of the Gaussian that weighs the middle, where an image's half sides are 1
RINGS = (0.35, 0.7, 1.0)  # outer radii of three elliptic rings
PERCENTILES = (2, 10, 25, 50, 75, 90, 98)
COLOUR_CHANNELS = 9
COLOURS = COLOUR_CHANNELS * (2 + len(PERCENTILES) + 2 * len(RINGS) + 2)
POOLS = 4


class StagedNetwork(nn.Module):
    """Images (n, 3, H, W) → (n, F): each stage's channels pooled four ways, then COLOURS colour numbers.

    walk: gives the maps of the stages of `network`, one after another; channels: of each. mean, std: what the images
    were standardised by, so that their colours can be had back in [0, 1]. plain: how many numbers at the end stand for
    themselves, and need no projection before trees read them.
    """

    revision = "1"  # of what is computed: another one makes kept features be computed anew
    plain = COLOURS
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        walk: Callable[[nn.Module, torch.Tensor], Iterator[torch.Tensor]],
        channels: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.network, self.walk = network, walk
        self.blocks = (*(POOLS * each for each in channels), COLOURS)
        self.register_buffer("mean", torch.tensor(list(mean)).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).reshape(-1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, F); blocks: how many of the F belong together."""
        found = [pooled(maps) for maps in self.walk(self.network, images)]
        colours = colour_numbers((images * self.std + self.mean).clamp(0, 1))
        return torch.cat([*found, colours.to(found[0].dtype)], 1)


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """maps (n, C, h, w) → (n, 4 C): mean, mean of the middle, standard deviation, maximum."""
    height, width = maps.shape[2:]
    rows, columns = (_cell_centres(side, maps) for side in (height, width))
    weight = torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * CENTRE_SD**2))
    middle = (maps * (weight / weight.sum())).sum((2, 3))
    return torch.cat([maps.mean((2, 3)), middle, maps.std((2, 3), correction=0), maps.amax((2, 3))], 1)


def colour_numbers(images: torch.Tensor) -> torch.Tensor:
    """images (n, 3, H, W), red, green and blue in [0, 1] → (n, COLOURS), of nine channels of colour each.

    Over all pixels the mean, the standard deviation and PERCENTILES; in three rings around the middle mean and
    standard deviation; and by how much the inner two rings differ from the outermost.
    """
    halved = nn.functional.avg_pool2d(images.float(), 2) if min(images.shape[2:]) >= 2 else images.float()
    channels = torch.cat([halved, _lab(halved), _hue(halved)], 1).flatten(2)
    height, width = halved.shape[2:]
    rows, columns = (_cell_centres(side, halved) for side in (height, width))
    radius = (rows[:, None] ** 2 + columns**2).sqrt().flatten()
    inner = (0.0, *RINGS)
    rings = [(radius >= low) & (radius < high) for low, high in zip(inner, RINGS, strict=False)]
    means, spreads = [], []
    for ring in rings:
        there = channels[..., ring] if bool(ring.any()) else channels
        means.append(there.mean(-1))
        spreads.append(there.std(-1, correction=0))
    levels = torch.tensor(PERCENTILES, dtype=channels.dtype, device=channels.device) / 100
    percentiles = channels.quantile(levels, dim=-1).transpose(0, 1).flatten(1)
    against_skin = [mean - means[-1] for mean in means[:-1]]
    return torch.cat(
        [channels.mean(-1), channels.std(-1, correction=0), percentiles, *means, *spreads, *against_skin], 1
    )


def _cell_centres(side: int, like: torch.Tensor) -> torch.Tensor:
    return torch.linspace(-1, 1, 2 * side + 1, device=like.device, dtype=like.dtype)[1::2]


def _lab(rgb: torch.Tensor) -> torch.Tensor:
    """CIE L*a*b* / 100 of sRGB under D65 (IEC 61966-2-1; CIE 15)."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = rgb.new_tensor(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) / rgb.new_tensor([[0.9505], [1.0], [1.089]])
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], 1)


def _hue(rgb: torch.Tensor) -> torch.Tensor:
    """Chroma times the cosine and sine of the hue, and saturation."""
    high, low = rgb.amax(1), rgb.amin(1)
    chroma = high - low
    red, green, blue = rgb.unbind(1)
    safe = chroma.clamp(min=1e-6)
    second = torch.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    sixth = torch.where(high == red, (green - blue) / safe, second)
    angle = sixth * torch.pi / 3
    return torch.stack([chroma * angle.cos(), chroma * angle.sin(), chroma / high.clamp(min=1e-6)], 1)
