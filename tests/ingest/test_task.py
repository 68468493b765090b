"""Task files: the built-in ones are valid, and a mistake is one line that names the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.errors import TaskError
from ingest.task import load_task, parse_task

ROOT = Path(__file__).parents[2]
BUILT_IN = sorted((ROOT / "clinical" / "tasks").glob("*.yaml"))

GOOD: dict[str, Any] = {
    "name": "t",
    "title": "T",
    "index": {"event": "A"},
    "target": {"events": ["B"], "horizon_hours": 1},
    "streams": {"s": {"kind": "text", "codes": ["N"]}},
}


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_built_in_tasks_are_valid_and_survive_a_round_trip(path: Path) -> None:
    task = load_task(path)
    assert task.name == path.stem
    assert parse_task(task.model_dump(mode="json"), "again") == task


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nam": "t"}, r"nam: Extra inputs are not permitted"),
        ({"index": {}}, "index: .*give either event or per_record"),
        ({"index": {"event": "A", "per_record": "B"}}, "give either event or per_record"),
        ({"target": {"events": ["B"]}}, "events need horizon_hours"),
        ({"target": {"label": "B", "positive": ["x"]}}, "needs both positive and negative"),
        ({"target": {"label": "B", "positive": ["x"], "negative": ["x"]}}, r"both positive and negative: \['x'\]"),
        ({"streams": {}}, "streams: "),
        ({"streams": {"../up": {"kind": "text", "codes": ["N"]}}}, "streams"),
        ({"streams": {"s": {"kind": "smell"}}}, "streams.s: "),
        ({"streams": {"s": {"kind": "table", "features": [{"name": "f"}]}}}, "feature f: give codes or derive"),
        ({"split": {"train": 0.9}}, r"must be 1, each above 0"),
        ({"name": "No Spaces"}, "name: "),
    ],
)
def test_a_mistake_is_one_line_naming_file_and_key(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        parse_task({**GOOD, **changed}, "my.yaml")
    assert str(caught.value).startswith("my.yaml, ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_broken_one_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no such task file"):
        load_task(tmp_path / "none.yaml")
    (tmp_path / "t.yaml").write_text("- a\n- b")
    with pytest.raises(TaskError, match="expected a mapping with name, index, target and streams, got list"):
        load_task(tmp_path / "t.yaml")
    (tmp_path / "t.yaml").write_text("a: [")
    with pytest.raises(TaskError, match="expected YAML"):
        load_task(tmp_path / "t.yaml")


def test_a_file_reads_as_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(GOOD))
    assert load_task(tmp_path / "t.yaml") == parse_task(GOOD, "here")
