"""docs/training.md names every key of the configuration with the default that it has."""

import re
from pathlib import Path

import pytest
import yaml

from models.config import TrainingConfig

PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
KEYS = PAGE.split("## Keys")[1].split("##")[0]
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", KEYS, re.MULTILINE))


def test_the_table_has_every_key_and_no_other() -> None:
    assert list(ROWS) == list(TrainingConfig.model_fields)


@pytest.mark.parametrize("key", list(TrainingConfig.model_fields))
def test_the_default_is_the_one_that_is_written(key: str) -> None:
    default = getattr(TrainingConfig(), key)
    assert yaml.safe_load(ROWS[key]) == default
    assert TrainingConfig(**{key: yaml.safe_load(ROWS[key])}) == TrainingConfig()


@pytest.mark.parametrize("key", ["scheme", "optimizer", "schedule", "loss", "class_weights", "triplet_mining"])
def test_every_choice_is_named(key: str) -> None:
    line = next(line for line in KEYS.splitlines() if line.startswith(f"| `{key}` |"))
    for choice in TrainingConfig.model_fields[key].annotation.__args__:  # type: ignore[union-attr]  # a Literal's
        assert choice in line, choice
