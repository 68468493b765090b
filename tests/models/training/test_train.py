"""Training is repeatable, can be killed and goes on, learns what there is, and refuses what cannot be learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.config import ModelConfig
from models.score import predict_rows
from models.training.run import Epoch
from models.training.train import TrainingOutcome, train
from models.trust.calibrate import fit_calibration

SOME = ("record", "vitals", "notes")


class Killed(Exception):  # noqa: N818  # not an error: what a kill looks like from inside
    """Stands for a kill: nothing in training knows it."""


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=120)


def logits(outcome: TrainingOutcome, cohort: Cohort) -> np.ndarray:
    return predict_rows(outcome.predictor, cohort, cohort.rows()).logit


def test_the_same_seed_gives_the_same_logits_bit_for_bit(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    one, two, other = (train(cohort, tiny_config(cohort), seed=seed, version="v0001") for seed in (4, 4, 5))
    assert np.array_equal(logits(one, cohort), logits(two, cohort))
    assert one.history == two.history
    assert not np.allclose(logits(one, cohort), logits(other, cohort))


def test_training_leaves_the_global_generators_as_they_were(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    train(cohort, tiny_config(cohort), seed=4, version="v0001", streams=["record"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture(scope="module")
def whole(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> tuple[ModelConfig, TrainingOutcome]:
    """Three epochs of each phase, never interrupted."""
    config = tiny_config(cohort, alone_epochs=3, epochs=3)
    return config, train(cohort, config, seed=9, version="v0001", streams=SOME)


@pytest.mark.parametrize("kills", [(1,), (2,), (3,), (4,), (6,), (1, 2, 5)])
def test_a_killed_run_goes_on_to_the_result_of_one_never_interrupted(
    cohort: Cohort, whole: tuple[ModelConfig, TrainingOutcome], kills: tuple[int, ...], tmp_path: Path
) -> None:
    config, expected = whole
    folder = tmp_path / "run"
    heard: list[Epoch] = []
    for kill in kills:

        def until(epoch: Epoch, last: int = kill) -> None:
            heard.append(epoch)
            if len(heard) == last:
                raise Killed

        with pytest.raises(Killed):
            train(cohort, config, seed=9, version="v0001", streams=SOME, run_folder=folder, on_epoch=until)
    resumed = train(cohort, config, seed=9, version="v0001", streams=SOME, run_folder=folder, on_epoch=heard.append)
    assert np.array_equal(logits(resumed, cohort), logits(expected, cohort))
    assert heard == list(resumed.history) == list(expected.history)  # no epoch twice
    assert [(e.phase, e.number) for e in heard] == [(p, n) for p in ("alone", "together") for n in (1, 2, 3)]


def test_what_another_run_left_is_not_gone_on_with(
    cohort: Cohort, whole: tuple[ModelConfig, TrainingOutcome], tmp_path: Path
) -> None:
    config, expected = whole

    def stop(_: Epoch) -> None:
        raise Killed

    for other in ({"seed": 8, "streams": SOME}, {"seed": 9, "streams": SOME[:2]}):
        with pytest.raises(Killed):
            train(cohort, config, version="v0001", run_folder=tmp_path, on_epoch=stop, **other)  # type: ignore[arg-type]
    again = train(cohort, config, seed=9, version="v0001", streams=SOME, run_folder=tmp_path)
    assert np.array_equal(logits(again, cohort), logits(expected, cohort))


def test_a_run_from_a_former_model_is_not_gone_on_with_by_one_from_nothing(
    cohort: Cohort, whole: tuple[ModelConfig, TrainingOutcome], tmp_path: Path
) -> None:
    config, expected = whole

    def stop(epoch: Epoch) -> None:
        if epoch.phase == "together":
            raise Killed

    with pytest.raises(Killed):
        train(
            cohort, config, seed=9, version="v0001", streams=SOME, start=expected.predictor, run_folder=tmp_path,
            on_epoch=stop,
        )  # fmt: skip
    again = train(cohort, config, seed=9, version="v0001", streams=SOME, run_folder=tmp_path)
    assert np.array_equal(logits(again, cohort), logits(expected, cohort))


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_split_of_one_class_is_refused_with_the_counts(
    cohort: Cohort, with_targets: Callable[[Cohort, Any], Cohort], tiny_config: Callable[..., ModelConfig],
    split: str, label: float,
) -> None:  # fmt: skip
    rows = cohort.rows(split)
    target = cohort.target.copy()
    target[rows] = label
    with pytest.raises(TaskError, match=f"both classes in the {split} split, got {int(label * len(rows))} events in "
                                        f"{len(rows)} cases"):  # fmt: skip
        train(with_targets(cohort, target), tiny_config(cohort), seed=0, version="v0001")


def test_cases_without_an_outcome_are_left_out_and_the_rest_counted(
    cohort: Cohort, with_targets: Callable[[Cohort, Any], Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    target = cohort.target.copy()
    unknown = cohort.rows("train")[:7]
    target[unknown] = np.nan
    outcome = train(with_targets(cohort, target), tiny_config(cohort), seed=0, version="v0001", streams=["record"])
    known = np.setdiff1d(cohort.rows("train"), unknown)
    assert outcome.cases["train"] == len(known)
    assert outcome.events["train"] == int(target[known].sum())
    assert outcome.cases["validation"] == len(cohort.rows("validation"))


def test_the_calibration_is_affine_and_fitted_on_the_validation_split(
    cohort: Cohort, outcome: TrainingOutcome, synthetic_cohort: Callable[..., Cohort]
) -> None:
    cohort = synthetic_cohort(n=160)
    predictor = outcome.predictor
    rows = cohort.rows("validation")
    with torch.inference_mode():
        raw = predictor.network(cohort.batch(rows).streams)[..., 0].double().mean(1).numpy()
    expected = fit_calibration(raw, cohort.target[rows])
    part = predictor.calibration.parts[0]
    assert part.scale == pytest.approx(expected.scale, rel=1e-4)
    assert part.shift == pytest.approx(expected.shift, abs=1e-4)
    assert (part.cases, part.events) == (len(rows), int(cohort.target[rows].sum()))
    affine = part.scale * raw + part.shift
    assert predict_rows(predictor, cohort, rows).logit == pytest.approx(affine, abs=1e-6)


def test_only_the_chosen_streams_are_read(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> None:
    outcome = train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=["vitals", "record"])
    assert outcome.predictor.stream_names == ["record", "vitals"]
    batch = cohort.batch(np.arange(20))
    others = batch.without("labs", "xray", "notes", "sound")
    assert np.array_equal(outcome.predictor.predict(batch).logit, outcome.predictor.predict(others).logit)


def test_one_stream_alone_can_be_trained(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> None:
    outcome = train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=["labs"])
    assert np.isfinite(logits(outcome, cohort)).all()


def test_a_stream_that_nobody_has_does_not_stop_the_training(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    cohort = synthetic_cohort(n=80, absent={"sound": 1.0})
    outcome = train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=["record", "sound"])
    assert np.isfinite(logits(outcome, cohort)).all()
    assert not predict_rows(outcome.predictor, cohort, cohort.rows()).present[:, 1].any()


@pytest.mark.parametrize(
    ("streams", "named"), [(["record", "mri"], r"\['mri'\]"), ([], r"\[\]")], ids=["unknown", "none"]
)
def test_unknown_streams_are_an_error_that_names_the_known_ones(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig], streams: list[str], named: str
) -> None:
    with pytest.raises(TaskError, match=rf"streams {named}: expected some of record, vitals, labs, xray, notes, sound"):
        train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=streams)


def test_training_from_a_model_begins_with_its_weights(cohort: Cohort, tiny_config: Callable[..., ModelConfig]) -> None:
    config = tiny_config(cohort, alone_epochs=0, learning_rate=1e-12, fusion_learning_rate=1e-12)
    first = train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=SOME)
    second = train(cohort, config, seed=1, version="v0002", streams=SOME, start=first.predictor)
    assert logits(second, cohort) == pytest.approx(logits(first, cohort), abs=1e-4)
    assert second.predictor.statistics == first.predictor.statistics


def test_weights_that_only_got_worse_are_given_back_as_they_were(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    first = train(cohort, tiny_config(cohort), seed=0, version="v0001", streams=SOME)
    ruinous = tiny_config(cohort, alone_epochs=2, epochs=2, learning_rate=10.0, fusion_learning_rate=10.0)
    second = train(cohort, ruinous, seed=1, version="v0002", streams=SOME, start=first.predictor)
    assert not any(epoch.best for epoch in second.history)
    kept, given = second.predictor.network.state_dict(), first.predictor.network.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in given.items())


def test_the_loss_that_is_told_is_the_validation_splits(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig]
) -> None:
    """With no average over steps and one epoch of the fusion, its loss is the trained network's own."""
    config = tiny_config(cohort, average_decay=0.0)
    outcome = train(cohort, config, seed=2, version="v0001", streams=SOME)
    rows = cohort.rows("validation")
    with torch.inference_mode():
        raw = outcome.predictor.network(cohort.batch(rows, SOME).streams).double().mean(1).numpy()
    loss = float(np.mean(np.logaddexp(0, raw) - cohort.target[rows] * raw))
    last = outcome.history[-1]
    assert last.phase == "together"
    if last.best:
        assert last.validation_loss == pytest.approx(loss, rel=1e-5)
    else:
        assert last.validation_loss > loss


@pytest.mark.slow
def test_it_learns_more_than_the_priors_entropy(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    cohort = synthetic_cohort(n=600, strength=1.5)
    config = tiny_config(cohort, alone_epochs=20, epochs=8, warmup_epochs=2, learning_rate=5e-3)
    outcome = train(cohort, config, seed=0, version="v0001")
    rows = cohort.rows("validation")
    target = cohort.target[rows]
    p = target.mean()
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    best = min(epoch.validation_loss for epoch in outcome.history if epoch.phase == "together")
    assert best < 0.95 * entropy
    test = cohort.rows("test")
    risk = predict_rows(outcome.predictor, cohort, test).risk
    events, rest = risk[cohort.target[test] == 1], risk[cohort.target[test] == 0]
    assert (events[:, None] > rest).mean() > 0.65  # the AUROC, on cases that nothing was fitted on
