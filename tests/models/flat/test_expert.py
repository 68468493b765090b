"""Trees beside the network: how much they count, and that an absent stream is absent for them too."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from explain.explain import explain_cases
from ingest.cohort import Cohort
from models import store
from models.config import ModelConfig
from models.flat.column_network import ColumnNetwork
from models.flat.expert import ColumnExperts, fit_shares, with_streams_hidden
from models.flat.features import FlatFeatures
from models.flat.trees import BoostedTrees
from models.objectives.binary import BinaryObjective
from models.score import predict_rows
from models.training.train import TrainingOutcome, train


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=240, seed=4)


@pytest.fixture(scope="module")
def grown(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> TrainingOutcome:
    config = tiny_config(cohort).model_copy(update={"experts": ("trees", "columns")})
    outcome = train(cohort, config, seed=2, version="v0001")
    experts = outcome.predictor.network.experts
    assert experts is not None
    experts.share.copy_(torch.tensor([0.4, 0.3]))  # whatever so few cases said
    return outcome


def test_the_shares_are_those_of_the_better_one_as_far_as_many_cases_tell() -> None:
    rng = np.random.default_rng(0)
    risk = rng.normal(size=(4000, 1))
    outcome = torch.from_numpy((rng.random((4000, 1)) < 1 / (1 + np.exp(-risk))).astype(float))
    right, noise = torch.from_numpy(risk), torch.from_numpy(rng.normal(size=(4000, 1)))

    def shares(*spoken: torch.Tensor, cases: int = 4000) -> list[float]:
        experts = ColumnExperts(FlatFeatures.__new__(FlatFeatures), BoostedTrees(1, 1), ColumnNetwork(1, 1))
        fit_shares(experts, BinaryObjective(), [each[:cases] for each in spoken], outcome[:cases])
        return [float(each) for each in experts.share]

    assert shares(noise, right, noise)[0] > 0.8
    assert shares(noise, noise, right)[1] > 0.8
    assert max(shares(right, noise, noise)) < 0.1
    assert shares(right, noise, noise, cases=4) == pytest.approx([1 / 3] * 2, abs=0.2)


def test_a_stream_that_is_hidden_says_nothing_to_the_trees(cohort: Cohort, grown: TrainingOutcome) -> None:
    predictor, rows = grown.predictor, np.arange(30)
    batch = cohort.batch(rows)
    keep = np.array([name != "vitals" for name in predictor.stream_names])
    hidden, gone = predictor.predict(batch, keep), predictor.predict(batch.without("vitals"))
    assert hidden.logit == pytest.approx(gone.logit, abs=1e-5)
    assert (predictor.predict(batch).logit != gone.logit).any()


def test_attributions_add_up_with_trees_in_the_sum(cohort: Cohort, grown: TrainingOutcome) -> None:
    for explanation in explain_cases(grown.predictor, cohort, cohort.rows("test")[:3]):
        total = explanation.base_logit + sum(explanation.streams.values())
        assert total == pytest.approx(explanation.logit, abs=1e-6)
        for name, elements in explanation.elements.items():
            assert sum(e.value for e in elements) == pytest.approx(explanation.streams[name], abs=1e-5)


def test_trees_are_saved_without_a_pickle_and_load_again(
    cohort: Cohort, grown: TrainingOutcome, tmp_path: Path
) -> None:
    folder = store.save(tmp_path, grown)
    loaded = store.load(folder, device="cpu")
    rows = cohort.rows("test")
    assert (
        predict_rows(loaded, cohort, rows).logit.tolist() == predict_rows(grown.predictor, cohort, rows).logit.tolist()
    )


def test_single_streams_have_trees_of_their_own(grown: TrainingOutcome) -> None:
    for name, predictor in grown.alone.items():
        experts = predictor.network.experts
        assert experts is not None
        assert list(experts.flat.streams) == [name]


def test_some_streams_of_a_copy_are_hidden_whole() -> None:
    columns, owner = np.ones((2000, 5), np.float32), np.array([0, 0, 1, 2, 2])
    hidden = np.isnan(with_streams_hidden(columns, owner, 3, [0]))
    assert (hidden[:, 0] == hidden[:, 1]).all()
    assert (hidden[:, 3] == hidden[:, 4]).all()
    shares = hidden[:, [0, 2, 3]].sum(1)
    assert np.bincount(shares, minlength=4) / 2000 == pytest.approx([0.25] * 4, abs=0.05)  # every size as often
