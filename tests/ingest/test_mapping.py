from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.errors import InputError
from ingest.mapping import load_mapping

TABLE: dict[str, Any] = {
    "path": "*.csv",
    "subject": {"column": "who", "issuer": "lab"},
    "columns": [{"code": "A", "column": "a"}, {"code": "I", "asset": "x/{b}/{c}.png"}],
}


def load(tmp_path: Path, value: object) -> Any:
    path = tmp_path / "m.yaml"
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return load_mapping(path)


def test_all_columns_that_a_table_needs_are_known_beforehand(tmp_path: Path) -> None:
    table = {**TABLE, "where": {"w": ["1"]}, "time": {"column": "t"}, "available_time": {"column": "v"}}
    assert load(tmp_path, {"files": [table]}).files[0].needed == ("who", "w", "t", "v", "a", "b", "c")


@pytest.mark.parametrize("name", ["ham10000", "covid-cxr"])
def test_the_mappings_that_come_with_it_load(name: str) -> None:
    assert load_mapping(Path(__file__).parents[2] / "clinical" / "mappings" / f"{name}.yaml").files


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"colums": []}, "files.0.colums"),
        ({"columns": []}, "files.0.columns"),
        ({"columns": [{"code": "A"}]}, "give either column or asset"),
        ({"columns": [{"code": "A", "asset": "fixed.png"}]}, "asset needs a column in braces"),
        ({"columns": [{"code": "A", "column": "a", "kind": "number"}]}, "files.0.columns.0.kind"),
        ({"time": {"column": "t", "format": "%Y", "unit": "d"}}, "give format or unit, not both"),
        ({"subject": {"column": "who"}}, "files.0.subject.issuer"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, {"files": [{**TABLE, **change}]})
    assert key in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "{}", "notes: [{path: x, name: '(', issuer: a, code: b}]", "\x00"])
def test_what_is_no_mapping_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="nothing of that name"):
        load_mapping(tmp_path / "absent.yaml")
