"""Very many features become few: every block counts the same, nothing is whitened, and what is odd is cut."""

import pytest
import torch

from models.encoders.block_projection import CLIP, COMPONENTS, BlockProjection


@pytest.fixture(scope="module")
def fitted() -> tuple[BlockProjection, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(400, 5, generator=generator)
    first = shared @ torch.randn(5, 60, generator=generator) * 30 + 7
    second = torch.randn(400, 4, generator=generator)
    features = torch.cat([first, second, torch.full((400, 1), 3.0)], 1)
    projection = BlockProjection((60, 5), 8)
    projection.fit(features, generator)
    return projection, features


def test_what_is_projected_is_centred_and_has_unit_variance_over_all_axes(
    fitted: tuple[BlockProjection, torch.Tensor],
) -> None:
    projection, features = fitted
    found = projection.project(features)
    assert found.shape == (400, COMPONENTS)
    assert float(found.mean(0).abs().max()) < 1e-4
    spread = found.var(0, correction=0)
    assert float(spread[:65].mean()) == pytest.approx(1, rel=1e-3)
    assert float(spread[0] / spread[8]) > 2  # what varies much stays large
    assert float(spread[9:].max()) < 1e-6  # nine numbers made all of it


def test_blocks_of_many_and_of_few_numbers_have_the_same_say(fitted: tuple[BlockProjection, torch.Tensor]) -> None:
    projection, features = fitted
    standard = (features - projection.centre) * projection.precision * projection.factor
    lengths = [float(block.square().sum(1).mean()) for block in torch.split(standard, [60, 5], 1)]
    assert lengths == pytest.approx([0.5, 0.5], rel=1e-3)


def test_a_number_that_never_varies_says_nothing_and_a_wild_one_is_cut(
    fitted: tuple[BlockProjection, torch.Tensor],
) -> None:
    projection, features = fitted
    other = features[:1].clone()
    other[0, -1] = 1e6
    torch.testing.assert_close(projection.project(other), projection.project(features[:1]))
    wild, wilder = features[:1].clone(), features[:1].clone()
    wild[0, 60], wilder[0, 60] = 2 * CLIP, 1e9
    torch.testing.assert_close(projection.project(wild), projection.project(wilder))


def test_tokens_of_absent_images_are_0_and_before_a_fit_nothing_breaks() -> None:
    projection = BlockProjection((3, 2), 4).eval()
    present = torch.tensor([[True, False]])
    tokens = projection(torch.randn(1, 2, 5), torch.zeros(1, 2), present)
    assert tokens.shape == (1, 2, 4)
    assert bool(torch.isfinite(tokens).all())
    assert not bool(tokens[0, 1].any())
