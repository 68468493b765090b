"""Every scheme trains what it says, goes on after a kill, and is repeatable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import Statistics
from models.config import ModelConfig, model_config
from models.network import build_network
from models.score import predict_rows
from models.training.costs import ClassCost
from models.training.losses import AloneLoss, JointLoss, TogetherLoss
from models.training.phases import plan
from models.training.run import Epoch, Run
from models.training.train import TrainingOutcome, train
from models.training.weights import seeded

SOME = ("record", "vitals", "notes")


class Killed(Exception):  # noqa: N818  # not an error: what a kill looks like from inside
    """Stands for a kill: nothing in training knows it."""


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=120)


def logits(outcome: TrainingOutcome, cohort: Cohort) -> np.ndarray:
    return predict_rows(outcome.predictor, cohort, cohort.rows()).logit


def made(cohort: Cohort, config: ModelConfig, seed: int = 3, **given: Any) -> Run:
    statistics = Statistics({n: cohort.statistics.streams[n] for n in SOME}, 1, 0.5)
    return Run(cohort, config, statistics, {s: cohort.rows(s) for s in ("train", "validation")}, seed, **given)


CONFIGURATIONS = {
    "joint": {"scheme": "joint", "epochs": 3},
    "staged+joint": {"scheme": "staged+joint", "alone_epochs": 2, "epochs": 2, "fine_tune_epochs": 2},
    "sgd": {"scheme": "joint", "epochs": 3, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.05},
    "momentum": {"alone_epochs": 2, "epochs": 2, "optimizer": "sgd", "nesterov": True, "accumulate": 2},
    "auxiliary": {
        "scheme": "joint", "epochs": 3, "triplet": 0.1, "supervised_contrastive": 0.1, "cross_modal_contrastive": 0.1,
        "loss": "focal", "class_weights": "balanced", "optimizer": "adam", "schedule": "one-cycle",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def wholes(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> Callable[[str], TrainingOutcome]:
    """By the name of a configuration, a run of it that nothing interrupted."""
    found: dict[str, TrainingOutcome] = {}

    def make(name: str) -> TrainingOutcome:
        if name not in found:
            config = tiny_config(cohort, **CONFIGURATIONS[name])
            found[name] = train(cohort, config, seed=9, version="v0001", streams=SOME)
        return found[name]

    return make


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
@pytest.mark.parametrize("kills", [(1,), (3,), (2, 1)], ids=str)
def test_a_killed_run_of_any_kind_goes_on_to_the_same_result(
    name: str, kills: tuple[int, ...], cohort: Cohort, tiny_config: Callable[..., ModelConfig],
    wholes: Callable[[str], TrainingOutcome], tmp_path: Path,
) -> None:  # fmt: skip
    expected, config = wholes(name), tiny_config(cohort, **CONFIGURATIONS[name])
    heard: list[Epoch] = []
    for kill in kills:
        last = len(heard) + kill

        def until(epoch: Epoch, last: int = last) -> None:
            heard.append(epoch)
            if len(heard) == last:
                raise Killed

        with pytest.raises(Killed):
            train(cohort, config, seed=9, version="v0001", streams=SOME, run_folder=tmp_path / "run", on_epoch=until)
    resumed = train(
        cohort, config, seed=9, version="v0001", streams=SOME, run_folder=tmp_path / "run", on_epoch=heard.append
    )
    assert np.array_equal(logits(resumed, cohort), logits(expected, cohort))
    assert heard == list(resumed.history) == list(expected.history)
    for stream in SOME:
        one, two = (found.alone[stream].network.state_dict() for found in (resumed, expected))
        mine = [key for key in one if key.startswith(("encoders.", "alone."))]
        assert all(torch.equal(one[key], two[key]) for key in mine), stream


def test_each_scheme_has_its_phases(
    cohort: Cohort, wholes: Callable[[str], TrainingOutcome], tiny_config: Callable[..., ModelConfig]
) -> None:
    phases = {name: list(dict.fromkeys(e.phase for e in wholes(name).history)) for name in ("joint", "staged+joint")}
    assert phases == {"joint": ["joint"], "staged+joint": ["alone", "together", "fine-tune"]}
    assert all(e.of == 2 for e in wholes("staged+joint").history)
    one = train(
        cohort, tiny_config(cohort, scheme="joint"), seed=1, version="v0001", streams=["record"]
    )  # nothing to fuse
    assert [e.phase for e in one.history] == ["alone"]


@pytest.mark.parametrize("scheme", ["staged", "staged+joint"])
@pytest.mark.parametrize("kind", ["late-average", "product-of-experts"])
def test_late_fusions_have_no_second_phase(
    kind: str, scheme: str, cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    config = tiny_config(cohort, fusion=kind, scheme=scheme, fine_tune_epochs=1)
    outcome = train(cohort, config, seed=1, version="v0001", streams=SOME)
    assert [e.phase for e in outcome.history] == (["alone"] if scheme == "staged" else ["alone", "fine-tune"])
    assert np.isfinite(logits(outcome, cohort)).all()


@pytest.mark.parametrize("evidence", ["weighed", "none"])
def test_jointly_all_weights_move_and_each_stream_can_speak_alone(
    evidence: str, cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    config = tiny_config(cohort, scheme="joint", epochs=2).model_copy(update={"evidence": evidence})
    run = made(cohort, config)
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    with seeded(0):
        for _ in range(2):  # the fusion begins at nothing: its inner weights have a gradient from the second step on
            phase = plan(config.training, run.network)[0]
            run.epoch(run.steps(phase, run.begin(phase)), 1, phase.watched)
    still = [name for name, p in run.network.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_fine_tuning_leaves_the_single_streams_as_their_own_phase_left_them(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    given = {"alone_epochs": 2, "epochs": 1}
    staged = made(cohort, tiny_config(cohort, **given))
    staged.fit(None)
    tuned = made(cohort, tiny_config(cohort, **given, scheme="staged+joint", fine_tune_epochs=1))
    tuned.fit(None)
    assert staged.alone_state.keys() == tuned.alone_state.keys()
    assert all(torch.equal(tuned.alone_state[key], value) for key, value in staged.alone_state.items())


def test_fine_tuning_begins_with_what_the_phases_found_and_keeps_it_where_nothing_is_better(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    given = {"alone_epochs": 2, "epochs": 2}
    staged = made(cohort, tiny_config(cohort, **given))
    staged.fit(None)
    ruinous = tiny_config(cohort, **given, scheme="staged+joint", fine_tune_epochs=1, fine_tune_learning_rate=5.0)
    tuned = made(cohort, ruinous)
    tuned.fit(None)
    assert not tuned.history[-1].best
    one, two = staged.network.state_dict(), tuned.network.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one if one[key].is_floating_point())


def test_the_joint_loss_is_the_fusions_on_what_the_encoders_give(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    network = build_network(tiny_config(cohort), cohort.statistics, cohort.task).eval()
    batch, weight = cohort.batch(np.arange(12)), torch.ones(12, 2)
    with seeded(1), torch.no_grad():
        joint = JointLoss(network, 0.0)(batch, weight)
    with seeded(1), torch.no_grad():
        together = TogetherLoss(network)(network.encode(batch.streams), batch.outcome, weight)
    assert torch.equal(joint, together)


def test_accumulated_batches_make_the_step_of_their_mean(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    """Of a stream that all cases have, without anything random: two halves are the whole."""
    rows = cohort.rows("train")[:48]
    after = []
    for size, together in ((16, 1), (8, 2)):
        config = tiny_config(
            cohort, batch_size=size, accumulate=together, element_mask=0.0, optimizer="sgd", momentum=0.0,
            learning_rate=0.5,
        ).model_copy(update={"dropout": 0.0})  # fmt: skip
        statistics = Statistics({"record": cohort.statistics.streams["record"]}, 1, 0.5)
        run = Run(cohort, config, statistics, {"train": rows, "validation": cohort.rows("validation")}, 3)
        phase = plan(config.training, run.network)[0]
        run.epoch(run.steps(phase, run.begin(phase)), 1, phase.watched)
        after.append(run.network.state_dict())
    assert not torch.equal(after[0]["alone.record.weight"], made(cohort, config).network.alone["record"].weight)  # type: ignore[arg-type]
    for key, tensor in after[0].items():
        assert torch.allclose(tensor, after[1][key], atol=1e-6), key


def test_a_factor_changes_the_rate_of_one_encoder(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> None:
    run = made(cohort, tiny_config(cohort, learning_rate=0.01, learning_rate_factors={"vitals": 0.1}))
    rates: dict[str, float] = {}
    optimizer = run.begin(plan(run.config.training, run.network)[0])
    named = {id(p): name for name, p in run.network.named_parameters()}
    for group in optimizer.param_groups:
        rates |= {named[id(p)]: group["base"] for p in group["params"]}
    assert {rate for name, rate in rates.items() if ".vitals." in name} == {0.001}
    assert {rate for name, rate in rates.items() if ".vitals." not in name} == {0.01}
    with pytest.raises(TaskError, match=r"learning_rate_factors: expected some of record, .* got mri"):
        made(cohort, tiny_config(cohort, learning_rate_factors={"mri": 0.1}))


def test_the_costs_and_contrasts_that_are_asked_for_are_those_of_every_phase(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    config = tiny_config(cohort, scheme="staged+joint", class_weights="balanced", supervised_contrastive=0.3)
    run = made(cohort, config)
    for phase in plan(config.training, run.network):
        loss = run.steps(phase, run.begin(phase)).loss
        cost = loss.together.cost if isinstance(loss, JointLoss) else loss.cost
        assert isinstance(cost, ClassCost), phase
        assert loss.contrasts is not None
        assert loss.contrasts.of_vectors


def test_an_auxiliary_loss_adds_its_weight_times_itself(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    network = build_network(tiny_config(cohort), cohort.statistics, cohort.task).eval()
    batch = cohort.batch(np.arange(24))
    losses = []
    for weight in (0.0, 1.0, 3.0):
        from models.training.contrast import Contrasts

        contrasts = Contrasts(tiny_config(cohort, cross_modal_contrastive=weight).training)
        with torch.no_grad():
            losses.append(float(AloneLoss(network, 0.0, None, contrasts)(batch)))
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)


def test_low_rank_updates_are_trained_end_to_end_and_what_is_below_them_stays(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    """A new network given as a file is learnt beside, through the fusion."""
    from tempfile import TemporaryDirectory

    from safetensors.torch import save_file

    raw: dict[str, Any] = {"width": 16, "members": 2, "fusion": {"heads": 2}, "experts": (),
                           "training": {"scheme": "joint", "epochs": 1, "warmup_epochs": 0}}  # fmt: skip
    task = cohort.task
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.safetensors")
        plain = build_network(model_config(task, raw), cohort.statistics, task).encoders["xray"]
        backbone = plain.backbone.network.state_dict()  # type: ignore[union-attr]
        save_file({key: tensor.contiguous() for key, tensor in backbone.items()}, path)
        spec = task.streams["xray"].model_copy(update={"encoder": {"lora_rank": 2, "path": path}})
        other = task.model_copy(update={"streams": {**task.streams, "xray": spec}})
        statistics = Statistics({n: cohort.statistics.streams[n] for n in ("record", "xray")}, 1, 0.5)
        splits = {s: cohort.rows(s) for s in ("train", "validation")}
        run = Run(cohort, model_config(other, raw), statistics, splits, 3)
    before = {k: v.detach().clone() for k, v in run.network.encoders["xray"].state_dict().items()}
    phase = plan(run.config.training, run.network)[0]
    for _ in range(2):
        run.epoch(run.steps(phase, run.begin(phase)), 1, phase.watched)
    changed = {k for k, v in run.network.encoders["xray"].state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.endswith(".up") for k in changed)
    assert not any(k.startswith("backbone.") and not k.endswith((".up", ".down")) for k in changed)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_trains_in_each_precision(precision: str, cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> None:
    config = tiny_config(cohort, precision=precision, scheme="staged+joint", fine_tune_epochs=1, triplet=0.1)
    outcome = train(cohort, config, seed=1, version="v0001", streams=SOME)
    assert np.isfinite(logits(outcome, cohort)).all()
    assert all(p.dtype == torch.float32 for p in outcome.predictor.network.parameters())
