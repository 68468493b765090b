"""A loss or a gradient that is no number stops the training, says where, and leaves the last good checkpoint."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.errors import ModelError
from ingest.statistics import Statistics
from models.config import ModelConfig
from models.encoders.tokens import Tokens
from models.training.finite import EVERY, Seen, Watch, cases_named
from models.training.run import Run

SOME = ("record", "vitals", "notes")


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=120)


def started(cohort: Cohort, config: ModelConfig, folder: Path) -> Run:
    statistics = Statistics({n: cohort.statistics.streams[n] for n in SOME}, 1, 0.5)
    splits = {split: cohort.rows(split) for split in ("train", "validation")}
    return Run(cohort, config, statistics, splits, 3, folder)


def spoil(encoder: nn.Module, value: float, call: int, row: int) -> None:
    """From its so manieth pass in training mode, one case of the batch gets this value."""
    passes = [0]

    def hook(module: nn.Module, _: Any, tokens: Tokens) -> Tokens:
        passes[0] += module.training
        if not module.training or passes[0] != call:
            return tokens
        factor = torch.zeros_like(tokens.values)
        factor[row] = value
        return Tokens(tokens.values + factor, tokens.present | True)

    encoder.register_forward_hook(hook)


@pytest.mark.parametrize("scheme", ["staged", "joint"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_one_bad_value_stops_the_run_with_epoch_batch_case_and_stream(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig], value: float, scheme: str, tmp_path: Path
) -> None:
    config = tiny_config(cohort, scheme=scheme, alone_epochs=3, epochs=3, batch_size=16)
    folder = tmp_path / "run"
    run = started(cohort, config, folder)
    batches = round(len(cohort.rows("train")) / 16)
    kept: list[dict[str, bytes]] = []
    run.on_epoch = lambda _: kept.append({p.name: p.read_bytes() for p in folder.iterdir()})
    spoil(run.network.encoders["vitals"], value, batches + 2, row=5)  # the second batch of the second epoch
    phase = "alone" if scheme == "staged" else "joint"
    with pytest.raises(
        ModelError, match=rf"^phase {phase}, epoch 2, batch 2 \(case-.*vitals.* are not finite"
    ) as error:
        run.fit(None)
    said = str(error.value)
    assert f"The checkpoint of the last good epoch stays in {folder}." in said
    assert "record" not in said
    assert "notes" not in said
    named = re.findall(r"case-0-\d{5}", said)
    order = np.random.default_rng([3, 2, 1 if scheme == "staged" else 2]).permutation(len(cohort.rows("train")))
    batch = cohort.index["case_id"].to_numpy(str)[cohort.rows("train")[order[16:32]]]
    assert named == [batch[5]]
    assert len(kept) == 1
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == kept[0]
    assert all(bool(t.isfinite().all()) for t in run.network.state_dict().values() if t.is_floating_point())


def test_without_a_checkpoint_it_does_not_speak_of_one(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    run = started(cohort, tiny_config(cohort), tmp_path / "run")
    spoil(run.network.encoders["notes"], float("nan"), 1, row=0)
    with pytest.raises(ModelError, match=r"epoch 1, batch 1 .*notes.*No checkpoint was written yet"):
        run.fit(None)
    assert not (tmp_path / "run").exists()


def test_a_validation_case_without_a_loss_is_named(
    cohort: Cohort, tiny_config: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    run = started(cohort, tiny_config(cohort), tmp_path / "run")

    def hook(module: nn.Module, _: Any, tokens: Tokens) -> Tokens:
        third = (torch.arange(len(tokens.values)) == 2)[:, None, None]
        return Tokens(tokens.values.masked_fill(third, torch.nan), tokens.present | True)

    run.network.encoders["record"].register_forward_hook(hook)
    third = cohort.index["case_id"].to_numpy(str)[cohort.rows("validation")[2]]
    with pytest.raises(ModelError, match=f"validation: the loss of stream record is not finite for {third};"):
        run.fit(None)


def seen(batch: int, loss: float, norm: float) -> Seen:
    given = torch.tensor(norm)
    return Seen(batch, np.arange(4), torch.tensor(loss), given, {"fusion.weight": given}, {"a": (torch.ones(4, 2),)})


def test_on_a_device_of_its_own_the_watch_looks_now_and_then_and_names_the_first() -> None:
    watch = Watch(np.array(list("abcd")), torch.device("meta"), "phase x, epoch 1", "")
    for batch in range(1, EVERY):
        watch.see(seen(batch, 1.0 if batch < 4 else float("nan"), 1.0))
    assert watch.losses == []
    with pytest.raises(ModelError, match=r"phase x, epoch 1, batch 4 \(a, b, c and 1 more\): the loss is nan"):
        watch.see(seen(EVERY, 1.0, 1.0))
    assert watch.losses == [1.0, 1.0, 1.0]


def test_a_gradient_alone_is_enough_and_its_owner_is_named() -> None:
    watch = Watch(np.array(list("abcd")), torch.device("cpu"), "phase x, epoch 1", "")
    with pytest.raises(ModelError, match="the gradient is not finite; gradients of the fusion are not finite"):
        watch.see(seen(1, 1.0, float("inf")))


def test_the_end_of_an_epoch_looks_at_what_is_left() -> None:
    watch = Watch(np.array(list("abcd")), torch.device("meta"), "phase x, epoch 1", "")
    watch.see(seen(1, 0.5, 1.0))
    watch.look()
    assert watch.losses == [0.5]


def test_three_cases_are_named_at_most() -> None:
    assert cases_named(["a", "b", "c"]) == "a, b, c"
    assert cases_named(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
