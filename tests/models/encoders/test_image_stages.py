"""What all stages of a network see, and the colours of an image, are the numbers that they are said to be."""

import colorsys
from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from models.encoders.image_stages import CENTRE_SD, COLOURS, PERCENTILES, StagedNetwork, colour_numbers, pooled


def test_maps_are_pooled_by_mean_middle_deviation_and_maximum() -> None:
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4, 6)))
    mean, middle, deviation, most = pooled(maps).reshape(2, 4, 3).unbind(1)
    array = maps.numpy()
    assert mean.numpy() == pytest.approx(array.mean((2, 3)))
    assert deviation.numpy() == pytest.approx(array.std((2, 3)))
    assert most.numpy() == pytest.approx(array.max((2, 3)))
    rows, columns = (2 * np.arange(4) + 1) / 4 - 1, (2 * np.arange(6) + 1) / 6 - 1
    weight = np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * CENTRE_SD**2))
    assert middle.numpy() == pytest.approx((array * weight).sum((2, 3)) / weight.sum())


def test_the_colours_of_an_even_image_are_its_colour_everywhere() -> None:
    red, green, blue = 0.8, 0.4, 0.3
    numbers = colour_numbers(torch.tensor([red, green, blue])[None, :, None, None].expand(1, 3, 20, 30))[0].reshape(
        -1, 9
    )
    assert numbers.numel() == COLOURS
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    mean = numbers[0].tolist()
    assert mean[:3] == pytest.approx([red, green, blue])
    # CIE L*a*b* / 100, written out: linear light, then the cube roots of its shares of white.
    linear = [((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    x, y, z = (
        (np.dot(row, linear) / white) ** (1 / 3)
        for row, white in zip(
            ([0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]),
            (0.9505, 1, 1.089),
            strict=True,
        )
    )
    assert mean[3:6] == pytest.approx([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], abs=1e-5)
    angle = 2 * np.pi * hue
    assert mean[6:] == pytest.approx([0.5 * np.cos(angle), 0.5 * np.sin(angle), saturation], abs=1e-5)
    assert numbers[1].abs().max() < 1e-6  # no deviation
    percentiles, rings = numbers[2 : 2 + len(PERCENTILES)], numbers[2 + len(PERCENTILES) :]
    assert percentiles.numpy() == pytest.approx(np.tile(mean, (len(PERCENTILES), 1)), abs=1e-6)
    assert rings[:3].numpy() == pytest.approx(np.tile(mean, (3, 1)), abs=1e-6)
    assert rings[3:].abs().max() < 1e-6  # no deviation, and no difference between the rings


def test_a_dark_spot_in_the_middle_is_told_from_what_surrounds_it() -> None:
    image = torch.ones(1, 3, 40, 40)
    image[..., 16:24, 16:24] = 0.2
    numbers = colour_numbers(image)[0].reshape(-1, 9)
    against_skin = numbers[-2:, 0]
    assert float(against_skin[0]) < -0.1
    assert float(against_skin[1]) == pytest.approx(0.0, abs=1e-6)


def test_a_staged_network_gives_each_stage_and_then_the_colours_that_the_image_had() -> None:
    def walk(network: nn.Module, images: torch.Tensor) -> Iterator[torch.Tensor]:
        for layer in cast(nn.Sequential, network):
            images = layer(images)
            yield images

    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 2, 3))
    staged = StagedNetwork(layers, walk, [5, 2], (0.5,) * 3, (0.25,) * 3)
    images = torch.rand(2, 3, 16, 16)
    found = staged((images - 0.5) / 0.25)
    assert staged.blocks == (20, 8, COLOURS)
    assert found.shape == (2, sum(staged.blocks))
    torch.testing.assert_close(found[:, -COLOURS:], colour_numbers(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, :20], pooled(layers[0]((images - 0.5) / 0.25)))
