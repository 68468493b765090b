"""A checkpoint comes back as it was, is replaced as a whole, and says so where it cannot be read."""

from pathlib import Path

import pytest
import torch

from ingest.errors import ModelError
from models.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    parts = {"network": {"a.weight": torch.randn(3, 2)}, "average": {"a.weight": torch.randn(3, 2)}}
    save_checkpoint(tmp_path / "run", parts, {"epoch": 3, "loss": 0.25})
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.state == {"epoch": 3, "loss": 0.25}
    for part, tensors in parts.items():
        assert checkpoint.part(part).keys() == tensors.keys()
        assert torch.equal(checkpoint.part(part)["a.weight"], tensors["a.weight"])
    assert checkpoint.part("optimizer") == {}


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "run") is None


def test_a_later_one_replaces_the_whole_of_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", {"network": {"old": torch.ones(1)}}, {"epoch": 1})
    save_checkpoint(tmp_path / "run", {"network": {"new": torch.ones(1)}}, {"epoch": 2})
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert list(checkpoint.part("network")) == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("file", ["state.json", "checkpoint.safetensors"])
def test_one_that_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path: Path, file: str) -> None:
    save_checkpoint(tmp_path / "run", {"network": {"a": torch.ones(1)}}, {"epoch": 1})
    (tmp_path / "run" / file).write_bytes(b"\x80\x04not this")
    with pytest.raises(ModelError, match=r"run: expected a checkpoint, got .*; remove it to train anew"):
        load_checkpoint(tmp_path / "run")


def test_an_optimiser_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (weight**2).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()

    first = torch.nn.Parameter(torch.arange(4.0))
    one = torch.optim.AdamW([first], lr=0.1)
    step(first, one)
    save_checkpoint(tmp_path / "run", {"optimizer": optimizer_tensors(one)}, {})
    second = torch.nn.Parameter(first.detach().clone())
    two = torch.optim.AdamW([second], lr=0.1)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    restore_optimizer(two, checkpoint.part("optimizer"))
    for _ in range(3):
        step(first, one)
        step(second, two)
    assert torch.equal(first, second)
