"""Images that were scaled, brightened or compressed are still the same; others are not."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from models.leakage.near_images import SIDE, _shrunk, near_image_findings, near_pairs, small_pictures
from models.leakage.scope import scope_of


def textures(n: int, side: int, seed: int = 0) -> np.ndarray:
    """(n, side, side) float32 in [0, 1]: soft shapes with fine structure, under one light that all share."""
    rng = np.random.default_rng(seed)
    coarse, fine = (
        gaussian_filter(rng.normal(size=(n, side, side)), (0, width, width)) for width in (side / 8, side / 48)
    )
    y, x = np.mgrid[0:side, 0:side] / side
    light = np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.1)
    mixed = 0.5 * light + 0.1 * coarse / coarse.std() + 0.05 * fine / fine.std() + 0.2
    return np.clip(mixed, 0, 1).astype(np.float32)


def brighter(image: np.ndarray) -> np.ndarray:
    return 0.8 * image + 0.1


def compressed(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray((255 * image).astype(np.uint8)).save(file, "jpeg", quality=60)
    return np.asarray(Image.open(file), np.float32) / 255


def scaled(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray((255 * image).astype(np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((128, 128), Image.Resampling.BICUBIC), np.float32) / 255


@pytest.mark.parametrize("altered", [brighter, compressed, scaled])
def test_an_altered_copy_across_splits_is_an_alarm(garden: Any, altered: Any) -> None:
    planted = garden(image_size=128)
    planted.change("xray.values", lambda images: textures(len(images), 128)[:, None, None])
    (before,) = near_image_findings(scope_of(planted.cohort, 0))
    assert before.verdict == "fine"
    source, copy = planted.two_apart("xray")

    def plant(images: np.ndarray) -> np.ndarray:
        images[copy, 0, 0] = altered(images[source, 0, 0])
        return images

    planted.change("xray.values", plant)
    (found,) = near_image_findings(scope_of(planted.cohort, 0))
    assert (found.check, found.where, found.verdict) == ("duplicates", "xray", "alarm")
    assert "1 groups of nearly the same images" in found.figure


def test_every_pair_of_copies_is_found_and_no_other() -> None:
    """Also where all share the greater part of what is to be seen."""
    pictures = textures(1_500, SIDE)
    copies = 0.7 * pictures[:40] + 0.01 * np.random.default_rng(1).normal(size=(40, SIDE, SIDE))
    found = near_pairs(np.concatenate([pictures, copies]).astype(np.float32))
    assert {tuple(pair) for pair in found.tolist()} == {(i, 1_500 + i) for i in range(40)}


def test_what_all_images_share_makes_none_a_copy() -> None:
    """Ribs with sharp edges, the same in all, stand out more than what is each one's own."""
    ribs = (np.arange(SIDE)[:, None] // 6 % 2).astype(np.float32)
    pictures = 0.2 * textures(400, SIDE) + ribs
    assert len(near_pairs(pictures)) == 0
    assert near_pairs(np.concatenate([pictures, pictures[:1]])).tolist() == [[0, 400]]


def test_a_picture_holds_the_means_of_its_parts(garden: Any) -> None:
    planted = garden(image_size=128)
    case, pictures = small_pictures(scope_of(planted.cohort, 0), "xray")
    image = planted.cohort.arrays(0, "xray").values[0, 0, 0]
    assert case[0] == np.flatnonzero(planted.cohort.index["xray_row"] == 0)[0]
    np.testing.assert_allclose(pictures[0], image.reshape(SIDE, 2, SIDE, 2).mean((1, 3)), atol=1e-3)


def test_volumes_are_compared_by_their_middle_slice_and_small_images_by_repeating() -> None:
    volume = np.random.default_rng(0).random((2, 1, 5, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(_shrunk(volume), volume[:, 0, 2])
    tiny = np.random.default_rng(0).random((2, 1, SIDE // 2, SIDE // 4)).astype(np.float32)
    np.testing.assert_allclose(_shrunk(tiny), np.kron(tiny[:, 0], np.ones((2, 4))))
