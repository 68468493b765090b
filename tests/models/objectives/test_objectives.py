"""Objectives: likelihoods against formulas written out, probabilities that add up, and the risk they give."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import norm

from ingest.task import parse_task
from models.objectives import Objective, build_objective
from models.objectives.binary import BinaryObjective, LabelsObjective
from models.objectives.classes import ClassesObjective, OrdinalObjective
from models.objectives.regression import RegressionObjective
from models.objectives.several import SeveralObjective
from models.objectives.survival import SurvivalObjective

RNG = np.random.default_rng(8)
CLASSES = ("low", "middle", "high")


def several() -> SeveralObjective:
    return SeveralObjective({"target": BinaryObjective(), "grade": OrdinalObjective(CLASSES, ("high",))})


# kind -> (objective, outcomes (N, K) that it may meet)
KINDS: dict[str, tuple[Callable[[], object], np.ndarray]] = {
    "binary": (BinaryObjective, RNG.integers(0, 2, (60, 1))),
    "multilabel": (lambda: LabelsObjective(("a", "b"), "b"), RNG.integers(0, 2, (60, 2))),
    "multiclass": (lambda: ClassesObjective(CLASSES, ("low", "high")), RNG.integers(0, 3, (60, 1))),
    "ordinal": (lambda: OrdinalObjective(CLASSES, ("high",)), RNG.integers(0, 3, (60, 1))),
    "regression": (lambda: RegressionObjective(12.0), RNG.normal(10, 3, (60, 1))),
    "survival": (
        lambda: SurvivalObjective(("death", "discharge"), "death", 48.0, 6),
        np.stack([RNG.uniform(0.1, 60, 60), RNG.integers(0, 3, 60)], 1),
    ),
    "several": (several, np.stack([RNG.integers(0, 2, 60), RNG.integers(0, 3, 60)], 1)),
}


def given_kind(kind: str) -> tuple[Objective, torch.Tensor]:
    build, outcome = KINDS[kind]
    return cast(Objective, build()), torch.tensor(outcome, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_prior_fits_better_than_any_other_constant(kind: str) -> None:
    objective, outcome = given_kind(kind)
    prior = objective.prior(outcome).double()
    assert prior.shape == (objective.outputs,)

    def mean_loss(logits: torch.Tensor) -> float:
        return objective.loss(logits.expand(len(outcome), -1), outcome).mean().item()

    least = mean_loss(prior)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert (
            mean_loss(prior + torch.randn(objective.outputs, generator=generator, dtype=torch.float64)) > least - 0.02
        )


@pytest.mark.parametrize("kind", KINDS)
def test_members_and_cases_are_broadcast_against_each_other(kind: str) -> None:
    objective, outcome = given_kind(kind)
    logits = torch.randn(60, 3, objective.outputs, dtype=torch.float64)
    together = objective.loss(logits, outcome[:, None])
    assert together.shape == (60, 3)
    for member in range(3):
        torch.testing.assert_close(together[:, member], objective.loss(logits[:, member], outcome))
    assert objective.probabilities(logits).shape == (60, 3, len(objective.names))
    assert objective.risk_logit(logits).shape == (60, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_cover_every_output_once(kind: str) -> None:
    objective, outcome = given_kind(kind)
    covered = [place for group in objective.groups for place in range(group.start, group.stop)]
    assert covered == list(range(objective.outputs))
    assert outcome.shape[1] == objective.columns


@given(st.floats(-60, 60), st.integers(0, 1))
def test_binary_is_the_logarithm_of_the_chance_of_what_happened(x: float, y: int) -> None:
    loss = float(BinaryObjective().loss(torch.tensor([x], dtype=torch.float64), torch.tensor([float(y)])))
    assert loss == pytest.approx(np.logaddexp(0, -x if y else x), rel=1e-9, abs=1e-8)


def test_an_unknown_label_costs_nothing() -> None:
    objective = LabelsObjective(("a", "b"), "a")
    logits = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    known = float(objective.loss(logits, torch.tensor([[1.0, torch.nan]], dtype=torch.float64)))
    assert known == pytest.approx(-np.log(expit(0.3)))
    both = float(objective.loss(logits, torch.tensor([[1.0, 1.0]], dtype=torch.float64)))
    assert both == pytest.approx(-np.log(expit(0.3)) - np.log(expit(-2.0)))
    prior = objective.prior(torch.tensor([[1.0, torch.nan], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))
    assert prior.tolist() == pytest.approx([0.0, logit(1 / 3)], abs=1e-5)


def test_several_classes_are_a_softmax_and_the_risk_is_that_of_some_of_them() -> None:
    objective = ClassesObjective(CLASSES, ("low", "high"))
    logits, classes = RNG.normal(size=(9, 3)), RNG.integers(0, 3, (9, 1))
    loss = objective.loss(torch.from_numpy(logits), torch.from_numpy(classes).double()).numpy()
    assert loss == pytest.approx(-log_softmax(logits, 1)[np.arange(9), classes[:, 0]])
    chances = softmax(logits, 1)
    assert objective.probabilities(torch.from_numpy(logits)).numpy() == pytest.approx(chances)
    assert objective.risk_logit(torch.from_numpy(logits)).numpy() == pytest.approx(logit(chances[:, 0] + chances[:, 2]))


def test_ordered_classes_are_a_chain_of_chances_to_go_further() -> None:
    objective = OrdinalObjective(CLASSES, ("high",))
    logits = np.array([[0.4, -1.2], [3.0, 2.0]])
    first, second = expit(logits).T
    chances = np.stack([1 - first, first * (1 - second), first * second], 1)
    assert objective.probabilities(torch.from_numpy(logits)).numpy() == pytest.approx(chances)
    for place in range(3):
        loss = objective.loss(torch.from_numpy(logits), torch.full((2, 1), float(place), dtype=torch.float64))
        assert loss.numpy() == pytest.approx(-np.log(chances[:, place]))
    assert objective.risk_logit(torch.from_numpy(logits)).numpy() == pytest.approx(logit(chances[:, 2]))


def test_a_number_has_a_normal_density_in_standard_units_and_the_risk_is_its_tail() -> None:
    objective = RegressionObjective(12.0)
    values = RNG.normal(10, 3, (500, 1))
    objective.prior(torch.from_numpy(values))
    mean, sd = values.mean(), values.std(ddof=1)
    logits = torch.tensor([[0.5, -0.7]], dtype=torch.float64)
    density = norm(mean + sd * 0.5, sd * np.exp(-0.7))
    loss = float(objective.loss(logits, torch.tensor([[11.0]], dtype=torch.float64)))
    assert loss == pytest.approx(-density.logpdf(11.0) - np.log(sd), rel=1e-5)
    assert objective.probabilities(logits)[0].tolist() == pytest.approx([density.mean(), density.std()], rel=1e-5)
    assert float(objective.risk_logit(logits)) == pytest.approx(density.logsf(12.0) - density.logcdf(12.0), rel=1e-4)


def survival_by_hand(logits: np.ndarray, hours: float, cause: int, horizon: float) -> tuple[float, np.ndarray]:
    """(log-likelihood, cumulative incidence (J, R)), interval by interval."""
    intervals, causes = logits.shape
    width, alive, likelihood = horizon / intervals, 1.0, 0.0
    incidence, told = np.zeros((intervals, causes)), False
    for j in range(intervals):
        chances = softmax(np.append(0.0, logits[j]))
        incidence[j] = (incidence[j - 1] if j else 0) + alive * chances[1:]
        alive *= chances[0]
        end = width * (j + 1)
        if told:
            continue
        if cause and hours <= end:
            likelihood, told = likelihood + np.log(chances[cause]), True
        elif not cause and hours < end:
            told = True
        else:
            likelihood += np.log(chances[0])
    return likelihood, incidence


@pytest.mark.parametrize(("hours", "cause"), [(3.0, 1), (8.0, 2), (20.0, 0), (24.0, 0), (0.0, 1), (48.0, 2), (99.0, 1)])
def test_survival_is_lived_interval_by_interval(hours: float, cause: int) -> None:
    objective = SurvivalObjective(("death", "discharge"), "death", 48.0, 6)
    logits = RNG.normal(-1, 1, (6, 2))
    flat = torch.from_numpy(logits.reshape(1, -1))
    likelihood, incidence = survival_by_hand(logits, hours, cause if hours <= 48 else 0, 48.0)
    loss = float(objective.loss(flat, torch.tensor([[hours, float(cause)]], dtype=torch.float64)))
    assert loss == pytest.approx(-likelihood, abs=1e-9)
    assert objective.probabilities(flat)[0].numpy() == pytest.approx(incidence.T.reshape(-1))
    assert float(objective.risk_logit(flat)) == pytest.approx(logit(incidence[-1, 0]))


def test_the_prior_of_survival_is_the_life_table() -> None:
    objective = SurvivalObjective(("death",), "death", 10.0, 2)
    hours = [1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 10.0, 10.0]
    cause = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    prior = objective.prior(torch.tensor([hours, cause]).T)
    # Of the first interval six count whole (two were censored in it), two of them died; of the second four, one died.
    first, second = (2 + 0.5) / (4 + 0.5), (1 + 0.5) / (2 + 0.5)
    assert prior.exp().tolist() == pytest.approx([first, second], rel=1e-5)


def aalen_johansen(hours: np.ndarray, cause: np.ndarray, at: np.ndarray, causes: int) -> np.ndarray:
    """(R, len(at)) cumulative incidences, moment by moment; of one cause they are 1 less the Kaplan-Meier curve."""
    alive, found, total = 1.0, np.zeros((causes, len(at))), np.zeros(causes)
    steps = []
    for moment in np.unique(hours[cause > 0]):
        exposed = (hours >= moment).sum()
        deaths = np.array([((hours == moment) & (cause == r + 1)).sum() for r in range(causes)])
        total = total + alive * deaths / exposed
        alive *= 1 - deaths.sum() / exposed
        steps.append((moment, total))
    for place, when in enumerate(at):
        found[:, place] = next((total for moment, total in reversed(steps) if moment <= when), np.zeros(causes))
    return found


@pytest.mark.parametrize("causes", [1, 2, 3])
def test_without_any_stream_survival_is_the_kaplan_meier_curve(causes: int) -> None:
    """Where everything happens at the ends of intervals, as a curve of one cause or of competing ones."""
    rng = np.random.default_rng(causes)
    hours, cause = rng.integers(1, 9, 40) * 6.0, rng.integers(0, causes + 1, 40).astype(float)
    objective = SurvivalObjective(("a", "b", "c")[:causes], "a", 36.0, 6)
    many = np.repeat(np.stack([hours, cause], 1), 5000, 0)  # so that the half event of the prior does not count
    said = objective.probabilities(objective.prior(torch.from_numpy(many))[None])[0].numpy()
    right = aalen_johansen(hours, cause, np.arange(1, 7) * 6.0, causes)
    assert said == pytest.approx(right.reshape(-1), abs=1e-4)


@given(st.floats(0.01, 9000), st.integers(2, 200), st.data())
def test_hours_kept_as_float32_fall_into_the_interval_that_they_end(
    horizon: float, intervals: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(1, intervals))
    kept = np.float32(horizon * place / intervals)
    objective = SurvivalObjective(("death",), "death", horizon, intervals)
    for number in (torch.tensor(kept), torch.tensor(kept).double()):
        dead = objective.loss(torch.full((1, intervals), 30.0), torch.stack([number, torch.tensor(1.0)])[None])
        # Dead at once, with certainty: every interval lived through before costs 30, that of the death nothing.
        assert float(dead) == pytest.approx(30.0 * (place - 1), rel=1e-5, abs=1e-3)
        lost = objective.loss(torch.full((1, intervals), 30.0), torch.stack([number, torch.tensor(0.0)])[None])
        assert float(lost) == pytest.approx(30.0 * place, rel=1e-5)


def test_outcomes_may_have_any_name_that_a_task_may_give_them() -> None:
    named = {"target": BinaryObjective(), "values": BinaryObjective(), "type": BinaryObjective()}
    assert SeveralObjective(named).names == ("risk", "values: risk", "type: risk")


def test_several_outcomes_are_weighed_by_what_each_leaves_uncertain() -> None:
    objective = several()
    logits = torch.randn(5, 3, dtype=torch.float64)
    outcome = torch.tensor([[1, 0], [0, 2], [1, 1], [0, torch.nan], [1, 2]], dtype=torch.float64)
    with torch.no_grad():
        objective.log_variance.copy_(torch.tensor([0.7, -0.4]))
    one = BinaryObjective().loss(logits[:, :1], outcome[:, :1])
    two = OrdinalObjective(CLASSES, ("high",)).loss(logits[:, 1:], outcome[:, 1:].nan_to_num())
    expected = np.exp(-0.7) * one + 0.7 + (np.exp(0.4) * two - 0.4) * torch.tensor([1, 1, 1, 0, 1])
    torch.testing.assert_close(objective.loss(logits, outcome).detach(), expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(objective.risk_logit(logits), logits[:, 0])
    assert objective.names == ("risk", "grade: low", "grade: middle", "grade: high")


def test_a_task_says_which_objective_it_has() -> None:
    task = {
        "name": "stay",
        "title": "Stay",
        "index": {"event": "ADMISSION"},
        "target": {"kind": "survival", "causes": {"death": ["DEATH"]}, "follow_up": ["VITAL"], "horizon_hours": 48},
        "also": {
            "stay": {"kind": "regression", "value": "LOS", "horizon_hours": 1000, "above": 72},
            "unit": {"kind": "multiclass", "label": "UNIT", "classes": {"a": ["A"], "b": ["B"]}, "risk": ["a"]},
        },
        "streams": {"record": {"kind": "table", "features": [{"name": "age", "derive": "age"}]}},
    }
    objective = build_objective(parse_task(task, "test"))
    assert isinstance(objective, SeveralObjective)
    assert objective.outputs == 10 + 2 + 2
    assert objective.columns == 2 + 1 + 1
