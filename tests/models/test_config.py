"""A model's configuration comes from the task; a wrong key or value is an error that names it."""

from typing import Any

import pytest
from pydantic import ValidationError

from ingest.errors import TaskError
from ingest.task import Task, parse_task
from models.config import ModelConfig, model_config


def task(model: dict[str, Any] | None = None, encoder: dict[str, Any] | None = None) -> Task:
    return parse_task(
        {
            "name": "t",
            "title": "T",
            "index": {"event": "IN"},
            "target": {"events": ["OUT"], "horizon_hours": 24},
            "streams": {
                "record": {"kind": "table", "features": [{"name": "age", "derive": "age"}], "encoder": encoder or {}}
            },
            "model": model or {},
        },
        "test",
    )


def test_a_task_that_says_nothing_gets_the_defaults() -> None:
    assert model_config(task()) == ModelConfig(encoders={"record": {}})  # type: ignore[dict-item]


def test_a_tasks_settings_stand_and_overrides_come_last() -> None:
    asked = task({"width": 24, "members": 3, "training": {"epochs": 7}}, {"frozen": True})
    config = model_config(asked, {"members": 2})
    assert (config.width, config.members, config.training.epochs) == (24, 2, 7)
    assert config.encoders["record"].frozen
    assert config.training.batch_size == ModelConfig().training.batch_size


@pytest.mark.parametrize(
    ("model", "encoder", "key"),
    [
        ({"widht": 32}, {}, "widht"),
        ({"training": {"epochs": 0}}, {}, "training.epochs"),
        ({"training": {"learning_rate": "fast"}}, {}, "training.learning_rate"),
        ({"fusion": {"layers": 99}}, {}, "fusion.layers"),
        ({"dropout": 1.0}, {}, "dropout"),
        ({}, {"frosen": True}, "encoders.record.frosen"),
    ],
)
def test_a_wrong_key_or_value_is_named(model: dict[str, Any], encoder: dict[str, Any], key: str) -> None:
    with pytest.raises(TaskError, match=rf"^task t, model\.{key}: "):
        model_config(task(model, encoder))


def test_it_is_frozen_and_survives_json() -> None:
    config = model_config(task({"width": 24}, {"network": "resnet18"}))
    with pytest.raises(ValidationError):
        config.width = 8
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
