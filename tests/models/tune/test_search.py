"""A search is repeatable, can be killed anywhere and goes on, gives up what is hopeless, and never sees test cases."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.metrics import roc_auc_score

from ingest.cohort import Cohort
from ingest.errors import ModelError, TaskError
from models.config import model_config
from models.training.run import Epoch
from models.training.train import train
from models.tune.encoders import AloneEncoders
from models.tune.overlay import laid_over, read_overlay
from models.tune.search import Found, Listener, Search, Tried, tune
from models.tune.space import Space, build_space
from models.tune.study import opened_study
from models.tune.trials import splits_of, train_and_judge

pytestmark = pytest.mark.slow  # searches train many small models

RATE = "training.fusion_learning_rate"
TRIALS = 5


class Killed(Exception):  # noqa: N818  # not an error: what a kill looks like from inside
    """Stands for a kill: nothing in the search knows it."""


def told(tried: Tried) -> tuple[Any, ...]:
    """All but how long it took."""
    return tried.number, tried.state, dict(tried.parameters), tried.judged, tried.why


def space_of(name: str, *values: Any) -> Space:
    return Space({name: values}, {}, frozenset(), {name: values[0]})


@pytest.fixture(scope="module")
def cohort(brief_cohort: Callable[..., Cohort]) -> Cohort:
    return brief_cohort()


@pytest.fixture(scope="module")
def whole(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path, list[tuple[str, str]]]:
    """Five trials, never interrupted; where, and what was heard: (stream or "", phase) of every epoch."""
    folder, heard = tmp_path_factory.mktemp("whole") / ".tuning", []
    listener = Listener(on_epoch=lambda stream, epoch: heard.append((stream, epoch.phase)))
    return tune(cohort, folder, trials=TRIALS, seed=3, listener=listener), folder, heard


def test_the_first_trial_is_the_task_as_it_is_and_the_best_is_no_worse(
    cohort: Cohort, whole: tuple[Found, Path, Any]
) -> None:
    found, folder, _ = whole
    assert [tried.number for tried in found.trials] == list(range(TRIALS))
    own = found.trials[0]
    assert own.parameters == build_space(cohort).own_choice()
    assert own.judged is not None
    losses = [tried.judged.loss for tried in found.trials if tried.judged is not None]
    assert found.best.judged is not None
    assert found.best.judged.loss == min(losses)
    overlay = read_overlay(folder / "best.yaml")
    assert overlay == found.overlay
    assert overlay.found["trial"] == found.best.number
    assert overlay.found["log_loss_of_the_task"] == pytest.approx(own.judged.loss, abs=1e-6)


@pytest.mark.parametrize(
    "kills",
    [(("trial", 0),), (("trial", 2),), (("epoch", 3),), (("epoch", 8),), (("epoch", 1), ("trial", 3), ("epoch", 2))],
    ids=str,
)
def test_a_killed_search_goes_on_to_the_trials_of_one_never_interrupted(
    cohort: Cohort, whole: tuple[Found, Path, Any], kills: tuple[tuple[str, int], ...], tmp_path: Path
) -> None:
    """A kill before trial n, or after the nth epoch that was heard since the last one."""
    for what, number in kills:
        heard: list[Epoch] = []

        def on_trial(done: int, of: int, what: str = what, number: int = number) -> None:
            if what == "trial" and done == number:
                raise Killed

        def on_epoch(_: str, epoch: Epoch, what: str = what, number: int = number, heard: Any = heard) -> None:
            heard.append(epoch)
            if what == "epoch" and len(heard) == number:
                raise Killed

        with pytest.raises(Killed):
            tune(cohort, tmp_path, trials=TRIALS, seed=3, listener=Listener(on_trial, on_epoch))
    found = tune(cohort, tmp_path, trials=TRIALS, seed=3)
    assert [told(tried) for tried in found.trials] == [told(tried) for tried in whole[0].trials]
    assert found.overlay == whole[0].overlay


def test_a_trial_found_dead_is_marked_failed_and_tried_again(
    cohort: Cohort, whole: tuple[Found, Path, Any], tmp_path: Path
) -> None:
    def stop(stream: str, epoch: Epoch) -> None:
        raise Killed

    with pytest.raises(Killed):
        tune(cohort, tmp_path, trials=1, seed=3, listener=Listener(on_epoch=stop))
    found = tune(cohort, tmp_path, trials=1, seed=3)
    with opened_study(tmp_path, found.study) as study:
        assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
        assert study.trials[0].user_attrs["parameters"] == study.trials[1].user_attrs["parameters"]
    assert told(found.trials[0]) == told(whole[0].trials[0])


def test_an_epoch_of_an_encoder_that_was_killed_is_not_trained_twice(
    cohort: Cohort, whole: tuple[Found, Path, list[tuple[str, str]]], tmp_path: Path
) -> None:
    heard: list[str] = []

    def stop(stream: str, epoch: Epoch) -> None:
        heard.append(stream)
        if len(heard) == 3:
            raise Killed

    with pytest.raises(Killed):
        tune(cohort, tmp_path, trials=1, seed=3, listener=Listener(on_epoch=stop))
    tune(cohort, tmp_path, trials=1, seed=3, listener=Listener(on_epoch=lambda stream, _: heard.append(stream)))
    assert [stream for stream in heard if stream] == ["record", "record", "labs", "labs", "notes", "notes"]


def test_more_trials_are_those_that_there_were_and_then_others(
    cohort: Cohort, whole: tuple[Found, Path, Any], tmp_path: Path
) -> None:
    few = tune(cohort, tmp_path, trials=2, seed=3)
    assert [told(tried) for tried in few.trials] == [told(tried) for tried in whole[0].trials[:2]]
    more = tune(cohort, tmp_path, trials=TRIALS, seed=3)
    assert [told(tried) for tried in more.trials] == [told(tried) for tried in whole[0].trials]
    heard: list[Any] = []
    again = tune(cohort, tmp_path, trials=TRIALS, seed=3, listener=Listener(on_epoch=lambda *_: heard.append(1)))
    assert again == more
    assert heard == []


def test_another_seed_is_another_study(cohort: Cohort, whole: tuple[Found, Path, Any], tmp_path: Path) -> None:
    other = tune(cohort, tmp_path, trials=3, seed=4)
    assert other.study != whole[0].study
    assert other.trials[0].parameters == whole[0].trials[0].parameters
    assert [t.parameters for t in other.trials[1:]] != [t.parameters for t in whole[0].trials[1:3]]


def test_cases_of_the_test_split_change_nothing(cohort: Cohort, whole: tuple[Found, Path, Any], tmp_path: Path) -> None:
    without = replace(cohort, index=cohort.index[cohort.index["split"] != "test"].reset_index(drop=True), _mapped={})
    found = tune(without, tmp_path, trials=TRIALS, seed=3)
    assert [told(tried) for tried in found.trials] == [told(tried) for tried in whole[0].trials]


def test_fusions_are_tried_on_encoders_that_are_trained_once(cohort: Cohort, tmp_path: Path) -> None:
    heard: list[str] = []
    listener = Listener(on_epoch=lambda stream, _: heard.append(stream))
    found = tune(cohort, tmp_path, trials=4, encoders=False, fusions=["sum", "gated", "concat"], listener=listener)
    assert len({tuple(sorted(tried.parameters.items())) for tried in found.trials}) == 4
    alone = [stream for stream in heard if stream]
    assert alone == ["record", "record", "labs", "labs", "notes", "notes"]
    assert heard[: len(alone)] == alone  # all of them before any fusion


def test_between_new_encoders_the_best_ones_are_kept(whole: tuple[Found, Path, Any], cohort: Cohort) -> None:
    encoding = build_space(cohort).encoding
    found = whole[0]
    for number in (1, 2, 4):
        before = [tried for tried in found.trials[:number] if tried.judged is not None]
        best = min(before, key=lambda tried: tried.value("log-loss"))
        mine = found.trials[number].parameters
        assert {name: mine[name] for name in encoding} == {name: best.parameters[name] for name in encoding}
    third = found.trials[3].parameters
    assert any(third[name] != found.trials[0].parameters[name] for name in encoding)


def test_the_best_is_a_configuration_that_trains(cohort: Cohort, whole: tuple[Found, Path, Any]) -> None:
    found, folder, _ = whole
    config = model_config(laid_over(cohort.task, read_overlay(folder / "best.yaml")))
    assert config.members == 3  # the task's own
    for name, value in found.best.parameters.items():
        at: Any = config
        *path, key = name.replace("encoder.", "encoders.", 1).split(".")
        for part in path:
            at = at[part] if isinstance(at, Mapping) else getattr(at, part)
        assert getattr(at, key) == value
    outcome = train(cohort, config, seed=3, version="v0001")
    assert outcome.predictor.config == config


def test_a_hopeless_fusion_is_given_up_early(brief_cohort: Callable[..., Cohort], tmp_path: Path) -> None:
    cohort = brief_cohort(epochs=9, patience=9)
    rates = (1e-3, 1.1e-3, 1.2e-3, 1.3e-3, 30.0)
    epochs: list[int] = []
    with opened_study(tmp_path, "mine") as study:
        for rate in rates:
            study.enqueue_trial({RATE: rate})
        listener = Listener(on_epoch=lambda stream, epoch: None if stream else epochs.append(epoch.number))
        alone = AloneEncoders(cohort, splits_of(cohort), tmp_path / "encoders", 0)
        search = Search(study, cohort, space_of(RATE, *rates), alone, "log-loss", listener)
        search.go_on(5, None)
        tried = search.tried()
        assert study.trials[4].state == optuna.trial.TrialState.PRUNED
    assert [one.state for one in tried] == [*["complete"] * 4, "given up"]
    assert tried[4].judged is None
    assert tried[4].why.startswith("the fusion, epoch 4: ")
    assert epochs == [*range(1, 10)] * 4 + [1, 2, 3, 4]


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(cohort: Cohort, tmp_path: Path) -> None:
    found = tune(cohort, tmp_path, trials=3, space=space_of(RATE, 1e30, 1e-3, 2e-3))
    assert found.trials[0].state == "failed"
    assert "not finite" in found.trials[0].why or "nan" in found.trials[0].why
    assert [tried.state for tried in found.trials[1:]] == ["complete", "complete"]
    assert found.best.number in (1, 2)
    assert found.overlay.found["log_loss_of_the_task"] is None
    again = tune(cohort, tmp_path, trials=3, space=space_of(RATE, 1e30, 1e-3, 2e-3))
    assert again == found  # a failure is not tried anew


def test_where_every_trial_fails_the_reason_is_told(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a trial that can be trained, got 1 that failed; TaskError: fusion"):
        tune(cohort, tmp_path, trials=1, space=space_of("fusion.kind", "no-such-fusion"))
    assert not (tmp_path / "best.yaml").exists()


def test_what_was_tried_is_not_tried_again_and_a_small_space_comes_to_an_end(cohort: Cohort, tmp_path: Path) -> None:
    heard: list[Epoch] = []
    found = tune(
        cohort, tmp_path, trials=20, space=space_of(RATE, 1e-3, 2e-3, 4e-3),
        listener=Listener(on_epoch=lambda stream, epoch: None if stream else heard.append(epoch)),
    )  # fmt: skip
    assert sorted(tried.parameters[RATE] for tried in found.trials) == [1e-3, 2e-3, 4e-3]
    assert len(heard) == 3 * 2


def test_after_the_time_is_over_no_trial_begins(cohort: Cohort, tmp_path: Path) -> None:
    assert len(tune(cohort, tmp_path, trials=9, encoders=False, timeout_s=0.0).trials) == 1


def test_the_objective_is_what_the_best_is_chosen_by(cohort: Cohort, tmp_path: Path) -> None:
    found = tune(cohort, tmp_path, trials=4, seed=3, objective="auroc")
    best = max(tried.judged.auroc for tried in found.trials if tried.judged is not None)
    assert found.best.judged is not None
    assert found.best.judged.auroc == best
    assert found.study.startswith("auroc-")


def test_one_process_at_a_time(cohort: Cohort, tmp_path: Path) -> None:
    with (
        opened_study(tmp_path, "mine"),
        pytest.raises(ModelError, match="another process tunes here"),
    ):
        tune(cohort, tmp_path, trials=1)


def test_a_study_that_cannot_be_read_is_told_in_one_line(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ModelError, match=r"study\.db: expected a study, got file is not a database") as told_error:
        tune(cohort, tmp_path, trials=1)
    assert "\n" not in str(told_error.value)


def test_a_place_whose_name_means_something_in_an_address_is_a_place(cohort: Cohort, tmp_path: Path) -> None:
    folder = tmp_path / "a b%20?x=1#y"
    tune(cohort, folder, trials=1, encoders=False)
    assert (folder / "study.db").is_file()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_of_one_class_is_refused_with_the_counts(cohort: Cohort, tmp_path: Path, split: str) -> None:
    target = cohort.target.copy()
    target[cohort.rows(split)] = 0
    changed = replace(cohort, index=cohort.index.assign(target=target))
    with pytest.raises(
        TaskError, match=f"both classes in the {split} split, got 0 events in {len(cohort.rows(split))}"
    ):
        tune(changed, tmp_path, trials=1)


def test_a_trial_is_judged_by_the_log_loss_and_auroc_of_the_validation_split(cohort: Cohort, tmp_path: Path) -> None:
    """A product of experts has nothing more to learn: its logits follow from the kept encoders."""
    import torch

    from models.network import build_network

    config = model_config(cohort.task, {**cohort.task.model, "fusion": {"kind": "product-of-experts", "heads": 2}})
    splits = splits_of(cohort)
    alone = AloneEncoders(cohort, splits, tmp_path, 0)
    judged = train_and_judge(cohort, config, alone, rivals={}, on_together=lambda *_: None)
    network = build_network(config, cohort.statistics, cohort.task).eval()
    network.load_state_dict({**network.state_dict(), **alone.state(config, {})})
    share = float(cohort.target[splits["train"]].mean())
    logit = np.log(share / (1 - share))
    with torch.inference_mode():
        for name, tokens in network.encode(cohort.batch(splits["validation"]).streams).items():
            here = tokens.present.any(1).numpy()
            logit = logit + here * network.alone[name](tokens.mean())[:, 0].numpy()
    target = cohort.target[splits["validation"]]
    losses = np.where(target == 1, np.log1p(np.exp(-logit)), np.log1p(np.exp(logit)))
    assert judged.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert judged.standard_error == pytest.approx(losses.std(ddof=1) / np.sqrt(len(losses)), rel=1e-5)
    assert judged.auroc == pytest.approx(roc_auc_score(target, logit))


@pytest.mark.parametrize("scheme", ["joint", "staged+joint"])
def test_other_schemes_of_training_are_tuned_as_they_are(
    brief_cohort: Callable[..., Cohort], tmp_path: Path, scheme: str
) -> None:
    heard: list[tuple[str, str]] = []
    listener = Listener(on_epoch=lambda stream, epoch: heard.append((stream, epoch.phase)))
    cohort = brief_cohort(scheme=scheme, fine_tune_epochs=1)
    found = tune(cohort, tmp_path, trials=1, encoders=False, listener=listener)
    assert found.best.judged is not None
    alone = [(name, "alone") for name in cohort.stream_names for _ in range(2)]
    end = [("", "joint")] * 2 if scheme == "joint" else [*alone, *[("", "together")] * 2, ("", "fine-tune")]
    assert heard == end
