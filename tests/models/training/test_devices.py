"""Several processes train the model that one would, and compiled or deterministic parts leave nothing behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ingest.cohort import Cohort
from ingest.errors import ModelError
from models.config import EncoderConfig, ModelConfig, TrainingConfig
from models.encoders.backbone import Backbone
from models.training.devices import SharedDraw, build_fabric, is_writer, prepared

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


def test_processes_that_were_not_started_are_asked_for_by_their_command() -> None:
    with pytest.raises(ModelError, match=r"devices: expected 2 processes, got 1; .*`torchrun --nproc-per-node 2 "):
        build_fabric(TrainingConfig(devices=2))
    assert build_fabric(TrainingConfig(devices=1)).world_size == 1
    assert is_writer()


def test_each_process_draws_its_own_cases_part_of_the_same_numbers() -> None:
    torch.manual_seed(5)
    whole = [torch.rand(7, 3), torch.rand(7, 1, 2)]
    parts: list[list[torch.Tensor]] = []
    for rank in range(3):
        draw = SharedDraw(rank, 3, CPU)
        draw.seed(5)
        draw.cases = 7
        mine = len(range(rank, 7, 3))
        parts.append([draw(mine, 3, device=CPU), draw(mine, 1, 2, device=CPU)])
    for place, expected in enumerate(whole):
        for rank in range(3):
            assert torch.equal(parts[rank][place], expected[rank::3])


class Small(nn.Module):
    """A backbone in a network."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.backbone = Backbone(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), EncoderConfig(frozen=frozen))


@pytest.mark.parametrize("frozen", [False, True])
def test_backbones_that_are_trained_are_compiled_in_place_and_only_meanwhile(frozen: bool) -> None:
    network = Small(frozen=frozen)
    keys = list(network.state_dict())
    inner = network.backbone.network
    with prepared(network, TrainingConfig(compile=True)):
        assert (inner._compiled_call_impl is not None) is not frozen
        assert list(network.state_dict()) == keys
    assert inner._compiled_call_impl is None
    with prepared(network, TrainingConfig()):
        assert inner._compiled_call_impl is None


@pytest.mark.parametrize("asked", [False, True])
def test_deterministic_algorithms_are_on_while_training_alone(asked: bool) -> None:
    with prepared(nn.Linear(1, 1), TrainingConfig(deterministic=asked)):
        assert torch.are_deterministic_algorithms_enabled() is asked
    assert not torch.are_deterministic_algorithms_enabled()


def test_they_are_off_again_where_training_fails() -> None:
    with pytest.raises(ZeroDivisionError), prepared(nn.Linear(1, 1), TrainingConfig(deterministic=True)):
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()


PROGRAM = """
import json, sys
from pathlib import Path
import torch
from ingest.cohort import open_cohort
from models.config import ModelConfig
from models.training.devices import is_writer
from models.training.run import Run

cohort = open_cohort(Path(sys.argv[1]))
config = ModelConfig.model_validate_json(Path(sys.argv[2]).read_text())
out = Path(sys.argv[3])
splits = {split: cohort.rows(split) for split in ("train", "validation")}
run = Run(cohort, config, cohort.statistics, splits, 4, out / f"run-{is_writer()}")
run.fit(None)
if is_writer():
    torch.save(run.network.state_dict(), out / "state.pt")
    (out / "history.json").write_text(json.dumps([vars(epoch) for epoch in run.history]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["staged", "joint"])
def test_two_processes_train_the_model_that_one_does_and_one_of_them_writes(
    scheme: str, synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    """Without dropout and augmentation, which each process draws for itself; element masks and coalitions are shared.

    Adam turns gradients of nearly nothing into steps of one sign or the other: plain descent shows what is the same.
    Batch normalisation is of each process's own cases, so that images are left out.
    """
    cohort = synthetic_cohort(n=120, absent={"xray": 1.0})
    config = tiny_config(
        cohort, alone_epochs=2, epochs=2, scheme=scheme, batch_size=16, optimizer="sgd", learning_rate=0.05,
        fusion_learning_rate=0.05,
    ).model_copy(update={"dropout": 0.0})  # fmt: skip
    encoders = {n: c.model_copy(update={"augment": False}) for n, c in config.encoders.items()}
    (tmp_path / "config.json").write_text(config.model_copy(update={"encoders": encoders}).model_dump_json())
    (tmp_path / "program.py").write_text(PROGRAM)
    found: list[tuple[dict[str, torch.Tensor], list[dict[str, Any]]]] = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        start = [sys.executable] if processes == 1 else [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"
        ]  # fmt: skip
        given = [str(tmp_path / "program.py"), str(cohort.folder), str(tmp_path / "config.json"), str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run([*start, *given], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert not (out / "run-False").exists()
        found.append((torch.load(out / "state.pt"), json.loads((out / "history.json").read_text())))
    (one, history), (two, other) = found
    assert [(e["phase"], e["number"]) for e in history] == [(e["phase"], e["number"]) for e in other]
    for name in ("training_loss", "validation_loss"):
        assert [e[name] for e in history] == pytest.approx([e[name] for e in other], rel=1e-3), name
    for key, tensor in one.items():
        assert torch.allclose(tensor, two[key], atol=2e-4), (key, float((tensor - two[key]).abs().max()))


@pytest.mark.slow
def test_a_compiled_backbone_learns_what_a_plain_one_does(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    from ingest.statistics import Statistics
    from models.training.run import Run

    cohort = synthetic_cohort(n=60, image_size=32)
    statistics = Statistics({"xray": cohort.statistics.streams["xray"]}, 1, 0.5)
    splits = {split: cohort.rows(split) for split in ("train", "validation")}
    runs = []
    for asked in (False, True):
        config = tiny_config(cohort, compile=asked)
        encoders = {n: c.model_copy(update={"augment": False}) for n, c in config.encoders.items()}
        runs.append(Run(cohort, config.model_copy(update={"encoders": encoders}), statistics, splits, 1))
        runs[-1].fit(None)
    plain, compiled = (run.network.state_dict() for run in runs)
    assert plain.keys() == compiled.keys()
    assert runs[0].history[0].training_loss == pytest.approx(runs[1].history[0].training_loss, rel=1e-2)
    assert np.isfinite([epoch.validation_loss for epoch in runs[1].history]).all()
