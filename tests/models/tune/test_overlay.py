"""What tuning found is laid over a task key by key, and survives its file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import TaskError
from ingest.task import Task, parse_task
from models.config import model_config
from models.tune.overlay import Overlay, laid_over, read_overlay, write_overlay

NESTED = st.recursive(
    st.one_of(st.integers(-5, 5), st.floats(-2, 2), st.text(max_size=5)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def task() -> Task:
    features = [{"name": "age", "derive": "age"}]
    return parse_task(
        {
            "name": "t",
            "title": "T",
            "index": {"event": "IN"},
            "target": {"events": ["OUT"], "horizon_hours": 24},
            "streams": {
                "record": {"kind": "table", "features": features, "encoder": {"network": "mlp", "layers": 3}},
                "other": {"kind": "table", "features": features},
            },
            "model": {"width": 24, "members": 3, "fusion": {"heads": 2}, "training": {"epochs": 7, "patience": 3}},
        },
        "test",
    )


def test_only_the_keys_it_names_change() -> None:
    overlay = Overlay(
        model={"width": 32, "fusion": {"kind": "gated"}, "training": {"epochs": 9}},
        encoder={"record": {"network": "ft-transformer", "layers": None}},
    )
    before, config = model_config(task()), model_config(laid_over(task(), overlay))
    assert (config.width, config.fusion.kind, config.training.epochs) == (32, "gated", 9)
    assert (config.members, config.fusion.heads, config.training.patience) == (3, 2, 3)
    assert (config.encoders["record"].network, config.encoders["record"].layers) == ("ft-transformer", None)
    assert config.encoders["other"] == before.encoders["other"]


def test_an_empty_one_changes_nothing_and_the_task_stays_as_it_was() -> None:
    given_task = task()
    assert laid_over(given_task, Overlay()) == given_task
    laid_over(given_task, Overlay(model={"training": {"epochs": 1}}, encoder={"record": {"network": "mlp-plr"}}))
    assert given_task == task()


@given(
    model=st.dictionaries(st.sampled_from("abc"), NESTED, max_size=3),
    encoder=st.dictionaries(
        st.sampled_from(["record", "other"]), st.dictionaries(st.sampled_from("xy"), st.integers())
    ),
)
def test_it_survives_its_file(tmp_path_factory: pytest.TempPathFactory, model: Any, encoder: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "best.yaml"
    overlay = Overlay(found={"study": "x", "trial": 3}, model=model, encoder=encoder)
    write_overlay(path, overlay)
    assert read_overlay(path) == overlay


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected what tuning found, got no such file; run `telltale tune` first"),
        ("model: {width: [}", "expected YAML, got something that does not parse"),
        ("modle: {}", "modle: Extra inputs are not permitted"),
        ("model: 3", "model: Input should be a"),
    ],
)
def test_a_file_that_is_no_overlay_is_told(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "best.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TaskError, match=r"best\.yaml") as told:
        read_overlay(path)
    assert message in str(told.value)


def test_a_stream_that_the_task_does_not_have_is_named() -> None:
    with pytest.raises(TaskError, match=r"expected streams of task t \(record, other\), got mri"):
        laid_over(task(), Overlay(encoder={"mri": {"network": "vit"}}))


def test_its_note_says_where_it_is_from() -> None:
    assert Overlay(found={"study": "log-loss-1", "trial": 3, "trials": 20, "auroc": 0.8}).note.startswith(
        "Tuned (study log-loss-1, trial 3, trials 20): "
    )
    assert Overlay().note.startswith("Tuned (by hand): ")
