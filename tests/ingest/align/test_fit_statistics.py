"""Statistics block by block equal those of everything at once."""

import numpy as np
import pytest

from ingest.align.fit_statistics import Moments
from ingest.statistics import Statistics, StreamStatistics


@pytest.mark.parametrize("blocks", [1, 3, 10])
def test_blocks_together_equal_the_whole(blocks: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(50, 7, (100, 5, 2)).astype(np.float32)
    observed = rng.random(values.shape) < 0.6
    moments = Moments(StreamStatistics("series", 5, (2,), names=("a", "b")))
    for part in np.array_split(np.arange(100), blocks):
        moments.add(values[part], observed[part])
    fitted = moments.statistics()
    for channel in range(2):
        seen = values[..., channel][observed[..., channel]].astype(np.float64)
        assert fitted.mean[channel] == pytest.approx(seen.mean())
        assert fitted.std[channel] == pytest.approx(seen.std())


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_pixels_count_per_channel_and_only_where_there_is_an_image(dtype: type[np.generic]) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (50, 2, 3, 8, 8))
    values = pixels.astype(np.uint8) if dtype is np.uint8 else (pixels / 255).astype(np.float16)
    observed = rng.random((50, 2)) < 0.5
    moments = Moments(StreamStatistics("image", 2, (3, 8, 8)))
    moments.add(values, observed)
    seen = pixels[observed] / 255
    assert moments.statistics().mean == pytest.approx(tuple(seen.mean((0, 2, 3))), abs=1e-3)
    assert moments.statistics().std == pytest.approx(tuple(seen.std((0, 2, 3))), abs=1e-3)


def test_what_never_varies_or_is_never_seen_is_not_scaled() -> None:
    moments = Moments(StreamStatistics("table", 3, (), names=("same", "never", "sex"), levels={"sex": ("f", "m")}))
    values = np.array([[5, 0, 1], [5, 0, 0]], np.float32)
    moments.add(values, np.array([[True, False, True]] * 2))
    assert moments.statistics().mean == (5.0, 0.0, 0.0)
    assert moments.statistics().std == (1.0, 1.0, 1.0)


def test_statistics_survive_a_round_trip() -> None:
    stream = StreamStatistics("table", 1, (), ("sex",), ("",), (0.0,), (1.0,), {"sex": ("f", "m")})
    statistics = Statistics({"record": stream}, 10, 0.25)
    assert Statistics.from_json(statistics.to_json()) == statistics
