"""Every stream is summed up as its columns say, and what is absent is NaN."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.flat.columns import StreamColumns, audio_columns, image_columns, series_columns, token_bag
from models.flat.features import _fit_features


def stream(values: object, observed: object, hours: object) -> Stream:
    return Stream(torch.tensor(values), torch.tensor(observed), torch.tensor(hours))


def test_series_are_summed_up_by_time_not_by_position() -> None:
    values, hours = [[[5.0], [1.0], [3.0], [99.0]]], [[-1.0, -3.0, -2.0, 0.0]]
    found = series_columns(stream(values, [[[True], [True], [True], [False]]], hours), 4.0)[0].tolist()
    assert found[:9] == pytest.approx([5, 3, 1, 5, 2, 3, 1, 1, 2])
    # last, mean, min, max, slope, count, hours since, first, standard deviation
    halves = [2, 1, 3, 5, 5, 5, 1, 3]  # means, min, max; -2 h is the end of the first half
    assert found[10:] == pytest.approx(halves)
    weights = np.exp([0, -2 / 8, -1 / 8])
    assert found[9] == pytest.approx(np.average([5, 1, 3], weights=weights))
    lone = series_columns(stream(values, [[[False], [True], [False], [False]]], hours), 4.0)[0]
    assert bool(lone[4].isnan())
    assert lone[[0, 5, 6]].tolist() == pytest.approx([1, 1, 3])


def test_the_slope_of_a_series_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    hours, values = np.sort(-rng.random(9) * 20), rng.normal(size=9)
    seen = rng.random(9) < 0.7
    found = series_columns(stream(values[None, :, None], seen[None, :, None], hours[None]), 24.0)[0, 4]
    assert float(found) == pytest.approx(np.polyfit(hours[seen], values[seen], 1)[0])


def test_an_image_is_pooled_by_blocks_and_the_latest_is_taken() -> None:
    old, new = np.zeros((1, 16, 24)), np.kron(np.arange(64.0).reshape(8, 8), np.ones((2, 3)))[None]
    found = image_columns(stream(np.stack([new, old])[None], [[True, True]], [[-1.0, -9.0]]), 24.0)[0]
    assert found[:64].tolist() == pytest.approx(np.arange(64))
    assert found[64:].tolist() == pytest.approx([31.5, np.arange(64).std()], rel=1e-5)


def test_a_volume_and_an_image_smaller_than_the_grid_are_pooled_too() -> None:
    assert image_columns(stream(np.ones((2, 1, 1, 5, 9, 12)), [[True]] * 2, np.zeros((2, 1))), 1.0).shape == (
        2,
        4 * 64 + 2,
    )
    assert image_columns(stream(np.ones((2, 1, 3, 6, 6)), [[True]] * 2, np.zeros((2, 1))), 1.0).shape == (2, 3 * 36 + 6)


def test_sound_is_averaged_over_the_observed_frames_only() -> None:
    values = [[[1.0, 10.0], [3.0, 30.0], [0.0, 0.0]]]
    found = audio_columns(stream(values, [[True, True, False]], [[-1.0, -1.0, -1.0]]), 24.0)[0]
    assert found.tolist() == pytest.approx([2, 20, 1, 10])


def test_a_bag_counts_tokens_and_neighbouring_pairs() -> None:
    tokens = torch.tensor([[7, 7, 9, 0], [0, 0, 0, 0]])
    bag = token_bag(tokens, tokens > 0)
    assert sorted(bag[0][bag[0] > 0].tolist()) == [1, 1, 1, 2]  # 9, 7-7, 7-9, and 7 twice
    assert not bool(bag[1].any())
    turned = token_bag(torch.tensor([[9, 7, 7, 0]]), torch.tensor([[True, True, True, False]]))
    assert bool((turned[0] != bag[0]).any())


def test_features_are_whitened_by_their_principal_components() -> None:
    rng = np.random.default_rng(1)
    mixed = (rng.normal(size=(80, 3)) @ rng.normal(size=(3, 6))).astype(np.float32)
    some = Stream(torch.from_numpy(mixed)[:, None], torch.ones(80, 1, dtype=torch.bool), torch.zeros(80, 1))
    columns = StreamColumns(StreamStatistics("image", (3, 8, 8), (0.0,) * 3, (1.0,) * 3, 1), plain=0)
    _fit_features(columns, [some], 0)
    found = columns(some).numpy()
    expected = PCA(3, whiten=True).fit_transform(mixed.astype(float) / mixed.std(0))
    assert np.abs(found[:, :3]) == pytest.approx(np.abs(expected), abs=1e-3)
    gone = Stream(some.values, torch.zeros(80, 1, dtype=torch.bool), some.hours)
    assert bool(columns(gone).isnan().all())
