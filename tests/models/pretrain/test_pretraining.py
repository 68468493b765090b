"""Pretraining sees no outcome and no test case, can be killed and goes on, and makes its losses small."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort, open_cohort
from ingest.errors import TaskError
from models.config import ModelConfig
from models.pretrain.pretrain import METHODS, Pretrained, pretrain
from models.pretrain.run import PretrainingEpoch

SOME = {"masked": None, "contrastive": ["record", "vitals", "xray"], "adversarial": ["sound"]}
Config = Callable[..., ModelConfig]


class Killed(Exception):  # noqa: N818  # not an error: what a kill looks like from inside
    """Stands for a kill: nothing in pretraining knows it."""


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=120)


def same(one: Pretrained, other: Pretrained) -> bool:
    return one.encoders.keys() == other.encoders.keys() and all(
        state.keys() == other.encoders[name].keys()
        and all(torch.equal(tensor, other.encoders[name][key]) for key, tensor in state.items())
        for name, state in one.encoders.items()
    )


def run(cohort: Cohort, config: ModelConfig, method: str, **options: Any) -> Pretrained:
    given = {"seed": 3, "epochs": 2, "streams": SOME[method], **options}
    return pretrain(cohort, config, method, **given)


@pytest.mark.parametrize("method", METHODS)
def test_no_outcome_is_looked_at(cohort: Cohort, tiny_config: Config, method: str) -> None:
    shuffled = np.random.default_rng(0).permutation(cohort.target)
    assert not np.array_equal(shuffled, cohort.target)
    expected = run(cohort, tiny_config(cohort), method)
    for target in (shuffled, np.full(len(cohort), np.nan)):
        other = replace(cohort, index=cohort.index.assign(target=target))
        found = run(other, tiny_config(cohort), method)
        assert same(found, expected)
        assert found.history == expected.history


@pytest.mark.parametrize("method", METHODS)
def test_no_case_of_the_test_split_is_seen_and_those_of_validation_teach_nothing(
    cohort: Cohort, tiny_config: Config, copied: Callable[[Cohort], Cohort], method: str
) -> None:
    expected = run(cohort, tiny_config(cohort), method)
    unseen = without_values(copied(cohort), "test")
    found = run(unseen, tiny_config(cohort), method)
    assert same(found, expected)
    assert found.history == expected.history
    judged_otherwise = without_values(copied(cohort), "validation")
    other = run(judged_otherwise, tiny_config(cohort), method)
    assert [epoch.training_losses for epoch in other.history] == [epoch.training_losses for epoch in expected.history]
    assert [epoch.validation_losses for epoch in other.history] != [e.validation_losses for e in expected.history]


def without_values(cohort: Cohort, split: str) -> Cohort:
    """The cohort with all values of that split's cases replaced by others (words by word 1)."""
    rows = cohort.rows(split)
    for name in cohort.stream_names:
        at = cohort.index[f"{name}_row"].to_numpy()[rows]
        path = cohort.shard_folder(0) / f"{name}.values.npy"
        values = np.load(path)
        values[at[at >= 0]] = 1
        np.save(path, values)
    return open_cohort(cohort.folder)


def test_a_training_case_whose_subject_has_a_later_split_too_is_left_out(cohort: Cohort, tiny_config: Config) -> None:
    subject = cohort.index["subject_id"].to_numpy().copy()
    train, test = cohort.rows("train"), cohort.rows("test")
    subject[train[0]] = subject[test[0]]
    torn = replace(cohort, index=cohort.index.assign(subject_id=subject))
    assert run(torn, tiny_config(cohort), "masked", streams=["record"]).cases["train"] == len(train) - 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kills", [(1,), (2, 3)])
def test_a_killed_run_goes_on_to_the_result_of_one_never_interrupted(
    cohort: Cohort, tiny_config: Config, tmp_path: Path, method: str, kills: tuple[int, ...]
) -> None:
    expected = run(cohort, tiny_config(cohort), method, epochs=4)
    heard: list[PretrainingEpoch] = []
    for kill in kills:

        def until(epoch: PretrainingEpoch, last: int = kill) -> None:
            heard.append(epoch)
            if len(heard) == last:
                raise Killed

        with pytest.raises(Killed):
            run(cohort, tiny_config(cohort), method, epochs=4, run_folder=tmp_path / "run", on_epoch=until)
    found = run(cohort, tiny_config(cohort), method, epochs=4, run_folder=tmp_path / "run", on_epoch=heard.append)
    assert same(found, expected)
    assert heard == list(found.history) == list(expected.history)  # no epoch twice
    assert found.best == expected.best


@pytest.mark.parametrize("change", [{"seed": 4}, {"streams": ["record", "labs"]}, {"epochs": 5}])
def test_what_another_run_left_is_not_gone_on_with(
    cohort: Cohort, tiny_config: Config, tmp_path: Path, change: Mapping[str, Any]
) -> None:
    def stop(_: PretrainingEpoch) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(cohort, tiny_config(cohort), "masked", **{"streams": ["record"], **change}, run_folder=tmp_path,
            on_epoch=stop)  # fmt: skip
    again = run(cohort, tiny_config(cohort), "masked", streams=["record"], run_folder=tmp_path)
    assert same(again, run(cohort, tiny_config(cohort), "masked", streams=["record"]))


def test_the_global_generator_is_left_as_it_was(cohort: Cohort, tiny_config: Config) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    run(cohort, tiny_config(cohort), "adversarial")
    assert torch.equal(torch.get_rng_state(), state)


def test_reconstruction_of_every_stream_gets_better(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Config
) -> None:
    cohort = synthetic_cohort(n=240)
    found = pretrain(cohort, tiny_config(cohort), seed=0, epochs=8)
    assert list(found.encoders) == cohort.stream_names
    for name, best in found.best.items():
        assert best.loss < 0.9 * best.at_first, name
        assert best.loss == min(e.validation_losses[name] for e in found.history if name in e.validation_losses)


NETWORKS = [
    ("masked", "record", "ft-transformer-plr"),
    ("masked", "record", "mlp"),
    ("masked", "labs", "gru-d"),
    ("masked", "labs", "lstm"),
    ("masked", "labs", "tcn"),
    ("masked", "labs", "transformer"),
    ("masked", "xray", "vit"),
    ("adversarial", "xray", "cnn"),
    ("masked", "notes", "rnn"),
    ("masked", "notes", "mean-pooled-transformer"),
    ("masked", "sound", "recurrent"),
    ("adversarial", "sound", "log-mel-cnn"),
    ("adversarial", "sound", "recurrent"),
]


@pytest.mark.parametrize(("method", "stream", "network"), NETWORKS)
def test_every_kind_of_network_is_moved_by_it_and_stays_finite(
    cohort: Cohort, tiny_config: Config, method: str, stream: str, network: str
) -> None:
    config = tiny_config(cohort)
    chosen = config.encoders[stream].model_copy(update={"network": network, "heads": 2})
    config = config.model_copy(update={"encoders": {**config.encoders, stream: chosen}})
    first, later = (run(cohort, config, method, streams=[stream], epochs=epochs).encoders[stream] for epochs in (1, 3))
    assert all(bool(tensor.isfinite().all()) for tensor in later.values())
    assert any(not torch.equal(first[key], later[key]) for key in first)


def test_contrast_finds_what_streams_share_and_nothing_where_they_share_nothing(
    related: Cohort, synthetic_cohort: Callable[..., Cohort], tiny_config: Config
) -> None:
    streams = ["record", "vitals", "labs"]
    shared = pretrain(related, tiny_config(related), "contrastive", seed=0, streams=streams, epochs=40)
    apart = synthetic_cohort(n=300)
    unrelated = pretrain(apart, tiny_config(apart), "contrastive", seed=0, streams=streams, epochs=40)
    cases = len(apart.rows("validation"))
    assert shared.best["together"].loss < np.log(cases) - 0.25
    assert unrelated.best["together"].loss > np.log(cases) - 0.15


def test_a_stream_that_ran_out_of_patience_is_left_alone_and_keeps_its_best(
    cohort: Cohort, tiny_config: Config
) -> None:
    config = tiny_config(cohort, patience=1, learning_rate=0.5)  # far too fast: it soon gets worse
    found = run(cohort, config, "masked", epochs=30)
    last = {name: max(e.number for e in found.history if name in e.validation_losses) for name in found.encoders}
    assert min(last.values()) < 30
    for name, best in found.best.items():
        assert last[name] == min(best.epoch + 1, 30)


def test_a_stream_that_no_validation_case_has_keeps_its_last_epoch(
    cohort: Cohort, tiny_config: Config, copied: Callable[[Cohort], Cohort]
) -> None:
    rows = cohort.index["sound_row"].to_numpy().copy()
    rows[cohort.rows("validation")] = -1
    found = run(replace(cohort, index=cohort.index.assign(sound_row=rows)), tiny_config(cohort), "masked",
                streams=["sound"])  # fmt: skip
    assert found.best["sound"].epoch == 2
    assert found.history[-1].validation_losses == {}


def test_frozen_encoders_are_left_out_and_refused_by_name(cohort: Cohort, tiny_config: Config) -> None:
    config = tiny_config(cohort)
    frozen = config.encoders["xray"].model_copy(update={"frozen": True})
    config = config.model_copy(update={"encoders": {**config.encoders, "xray": frozen}})
    assert list(run(cohort, config, "masked", epochs=1).encoders) == [n for n in cohort.stream_names if n != "xray"]
    with pytest.raises(TaskError, match="stream xray: its encoder is frozen"):
        run(cohort, config, "masked", streams=["xray"])


@pytest.mark.parametrize(
    ("method", "streams", "words"),
    [
        ("guess", None, "expected one of masked, contrastive, adversarial, got 'guess'"),
        ("masked", ["chart"], r"streams \['chart'\]: expected some of record"),
        ("contrastive", ["record"], "at least two streams, got record"),
        ("adversarial", ["sound", "notes"], "stream notes: expected a stream of kind image or audio .* got kind text"),
    ],
)
def test_what_cannot_be_done_is_refused(
    cohort: Cohort, tiny_config: Config, method: str, streams: list[str] | None, words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        pretrain(cohort, tiny_config(cohort), method, seed=0, streams=streams)


def test_a_task_without_a_stream_for_the_method_is_told_so(cohort: Cohort, tiny_config: Config) -> None:
    streams = {name: spec for name, spec in cohort.task.streams.items() if name in ("record", "labs")}
    tables = replace(cohort, task=cohort.task.model_copy(update={"streams": streams}))
    with pytest.raises(
        TaskError, match=r"expected a stream for adversarial pretraining .* found none among record, labs"
    ):
        pretrain(tables, tiny_config(tables), "adversarial", seed=0)
