"""Trees as tensors say what scikit-learn's own trees say."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from models.flat.trees import BoostedTrees


def drawn(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    columns = rng.normal(size=(400, 6)).astype(np.float32)
    columns[rng.random(columns.shape) < 0.2] = np.nan
    signal = np.nan_to_num(columns[:, 0]) + np.nan_to_num(columns[:, 1]) ** 2 + rng.normal(size=400)
    return columns, np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes))


@pytest.mark.parametrize("classes", [2, 3])
def test_they_give_the_same_log_odds_with_values_missing_too(classes: int) -> None:
    columns, target = drawn(classes)
    shown = np.array([0, 1, 3, 5])  # the others are left out, as columns without any value are
    models = [
        HistGradientBoostingClassifier(max_iter=trees, random_state=trees).fit(columns[:, shown], target)
        for trees in (7, 12)
    ]
    trees = BoostedTrees(2, 1 if classes == 2 else classes)
    trees.take(models, shown)
    found = trees(torch.from_numpy(columns).double())
    for member, model in enumerate(models):
        expected = model.decision_function(columns[:, shown]).reshape(400, -1)
        assert found[:, member].numpy() == pytest.approx(expected, abs=1e-12)


def test_they_are_kept_with_the_weights_and_load_into_empty_ones() -> None:
    columns, target = drawn(2)
    trees = BoostedTrees(1, 1)
    trees.take([HistGradientBoostingClassifier(max_iter=5).fit(columns, target)], np.arange(6))
    loaded = BoostedTrees(1, 1)
    loaded.load_state_dict(trees.state_dict())
    cases = torch.from_numpy(columns).double()
    assert torch.equal(loaded(cases), trees(cases))


def test_without_a_fit_they_say_nothing() -> None:
    assert not bool(BoostedTrees(3, 2)(torch.randn(4, 5, dtype=torch.float64)).any())
