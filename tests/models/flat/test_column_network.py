"""The column network codes columns as it says, learns, and keeps what is missing apart."""

import numpy as np
import pytest
import torch

from models.flat.column_network import BINS, ColumnNetwork, train_column_network
from models.objectives.binary import BinaryObjective


def drawn(cases: int = 800) -> tuple[np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(cases, 12)).astype(np.float32)
    risk = 1 / (1 + np.exp(-2 * np.abs(columns[:, 0]) + 1.5 - columns[:, 1]))
    outcome = torch.from_numpy(((rng.random(cases) < risk)[:, None]).astype(np.float32))
    columns[rng.random(columns.shape) < 0.1] = np.nan
    return columns, outcome


def test_a_code_says_how_far_a_value_has_come_through_each_interval() -> None:
    network = ColumnNetwork(1, 1)
    network.edges = torch.tensor([[0.0, 1.0, 3.0, 4.0, 4.0, 4.0, 4.0]])
    code = network._code(torch.tensor([[2.0], [-5.0], [9.0], [torch.nan]], dtype=torch.float64))
    assert code[0, :3].tolist() == [1, 0.5, 0]
    assert code[1, :3].tolist() == [0, 0, 0]
    assert code[2, :3].tolist() == [1, 1, 1]
    assert bool(code[:, 3:BINS].isnan().all())  # intervals of no width
    assert code[:, BINS].tolist() == [0, 0, 0, 1]
    assert bool(code[3, :BINS].isnan().all())


def trained(seed: int = 0) -> tuple[ColumnNetwork, np.ndarray, torch.Tensor]:
    columns, outcome = drawn()
    torch.manual_seed(seed)
    network = ColumnNetwork(3, 1)
    network.fit_projection(columns, seed)
    weight = torch.ones(len(columns), 3)
    prior = BinaryObjective().prior(outcome)
    generator = torch.Generator().manual_seed(seed)
    train_column_network(network, [columns], outcome, weight, BinaryObjective(), prior, generator)
    return network, columns, outcome


def test_it_learns_and_goes_to_a_state_and_back() -> None:
    network, columns, outcome = trained()
    with torch.no_grad():
        logits = network(torch.from_numpy(columns).double())
    assert logits.shape == (800, 3, 1)
    ranks = logits.mean(1)[:, 0].argsort().argsort().double()
    y = outcome[:, 0].bool()
    auroc = float((ranks[y].mean() - ranks[~y].mean()) / 800 + 0.5)
    assert auroc > 0.75
    loaded = ColumnNetwork(3, 1)
    loaded.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(loaded.eval()(torch.from_numpy(columns).double()), logits)


def test_the_same_seed_gives_the_same_network_and_members_differ() -> None:
    one, other = trained()[0].state_dict(), trained()[0].state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["straight"][0], one["straight"][1])


def test_columns_that_nobody_has_and_those_that_never_vary_say_nothing() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(60, 4)).astype(np.float32)
    columns[:, 1], columns[:, 2] = np.nan, 7.0
    network = ColumnNetwork(1, 1)
    network.fit_projection(columns, 0)
    other = columns.copy()
    other[:, 2] = -3.0
    projected = network.project(torch.from_numpy(columns))
    assert bool(torch.isfinite(projected).all())
    assert projected.numpy() == pytest.approx(network.project(torch.from_numpy(other)).numpy(), abs=1e-5)
