"""The contrast between streams is InfoNCE, over cases that have both, never against the same subject."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ingest.cohort import Cohort
from models.config import ModelConfig
from models.encoders import build_encoder
from models.pretrain.contrastive import CrossModalContrast, info_nce
from models.pretrain.objective import Cases
from models.training.weights import seeded


def by_numpy(first: np.ndarray, second: np.ndarray, scale: float, subject: np.ndarray) -> float:
    """Case by case: -log of its own pair's share, among the pairs that count, in both directions."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    total = 0.0
    for one, other in (unit, unit[::-1]):
        for i in range(len(one)):
            counts = [j for j in range(len(other)) if j == i or subject[j] != subject[i]]
            terms = np.array([np.exp(scale * one[i] @ other[j]) for j in counts])
            total -= np.log(np.exp(scale * one[i] @ other[i]) / terms.sum())
    return total / (2 * len(first))


@given(n=st.integers(1, 9), scale=st.floats(0.1, 30), seed=st.integers(0, 99))
def test_info_nce_is_that_of_numpy(n: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, subject = rng.normal(size=(n, 5)), rng.normal(size=(n, 5)), rng.integers(0, 4, n)
    tensors = [torch.tensor(x, dtype=torch.float32) for x in (first, second)]
    same = torch.tensor(subject[:, None] == subject)
    found = info_nce(*tensors, torch.tensor(scale), same)
    assert float(found) == pytest.approx(by_numpy(first, second, scale, subject), rel=1e-3, abs=1e-4)
    alone = info_nce(*tensors, torch.tensor(scale))
    assert float(alone) == pytest.approx(by_numpy(first, second, scale, np.arange(n)), rel=1e-3, abs=1e-4)


def test_knowing_nothing_costs_the_logarithm_of_the_number_of_cases() -> None:
    assert float(info_nce(torch.ones(7, 3), torch.ones(7, 3), torch.tensor(14.0))) == pytest.approx(np.log(7), rel=1e-6)


@pytest.fixture
def contrast(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> tuple[CrossModalContrast, Cohort]:
    cohort = synthetic_cohort(n=160)
    config = tiny_config(cohort)
    streams = {name: cohort.statistics.streams[name] for name in ("record", "xray", "sound")}
    with seeded(0):
        encoders = {n: build_encoder(config.encoders[n], s, 16, 0.0) for n, s in streams.items()}
        return CrossModalContrast(encoders, streams, 16, element_mask=0.0).eval(), cohort


def test_each_pair_is_over_the_cases_that_have_both(contrast: tuple[CrossModalContrast, Cohort]) -> None:
    objective, cohort = contrast
    rows = np.arange(60)
    cases = Cases.of(cohort.batch(rows, ["record", "xray", "sound"]), torch.device("cpu"))
    with torch.no_grad():
        objective.log_scale.copy_(torch.tensor([0.5, 1.0, 1.5]))
        found = objective.losses("contrast", cases)["together"]
        said = {
            name: objective.projections[name](objective.encoders[name](stream).mean()).double().numpy()
            for name, stream in cases.streams.items()
        }
    present = {name: stream.present.numpy() for name, stream in cases.streams.items()}
    subject = cases.subject_ids.numpy()
    expected = 0.0
    for (one, other), log_scale in zip(
        [("record", "xray"), ("record", "sound"), ("xray", "sound")], (0.5, 1.0, 1.5), strict=True
    ):
        both = present[one] & present[other]
        assert 2 < both.sum() < 60
        expected += by_numpy(said[one][both], said[other][both], np.exp(log_scale), subject[both])
    assert float(found.total) == pytest.approx(expected, rel=1e-4)
    assert int(found.count) == 3


def test_a_case_without_one_of_two_streams_changes_nothing(contrast: tuple[CrossModalContrast, Cohort]) -> None:
    objective, cohort = contrast
    present = dict(zip(cohort.stream_names, cohort.present.T, strict=True))
    some = np.flatnonzero(present["xray"] & present["sound"])[:12]
    lacking = np.flatnonzero(~present["xray"] | ~present["sound"])[:9]
    objective.pairs = [("xray", "sound")]
    objective.log_scale = torch.nn.Parameter(objective.log_scale[:1].detach())
    with torch.no_grad():
        found = [
            float(objective.losses("contrast", Cases.of(cohort.batch(rows, ["xray", "sound"]), torch.device("cpu")))
                  ["together"].total)
            for rows in (some, np.concatenate([lacking, some]))
        ]  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_fewer_than_two_cases_with_both_are_no_loss(contrast: tuple[CrossModalContrast, Cohort]) -> None:
    objective, cohort = contrast
    one = Cases.of(cohort.batch(np.array([0]), ["record", "xray", "sound"]), torch.device("cpu"))
    found = objective.losses("contrast", one)["together"]
    assert (float(found.total), int(found.count)) == (0, 0)


def test_the_temperature_is_learnt_and_stays_above_a_hundredth(contrast: tuple[CrossModalContrast, Cohort]) -> None:
    objective, cohort = contrast
    cases = Cases.of(cohort.batch(np.arange(60), ["record", "xray", "sound"]), torch.device("cpu"))
    objective.losses("contrast", cases)["together"].mean.backward()  # type: ignore[no-untyped-call]
    assert bool((objective.log_scale.grad != 0).all())
    with torch.no_grad():
        objective.log_scale.fill_(50.0)
        beyond = objective.losses("contrast", cases)["together"].mean
        objective.log_scale.fill_(float(np.log(100)))
        at_most = objective.losses("contrast", cases)["together"].mean
    assert float(beyond) == pytest.approx(float(at_most))
