import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.errors import InputError
from ingest.mapping.mapping import Column, Subject, Table, Time, load_mapping, parse_mapping

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


@pytest.mark.parametrize("name", ["ham10000", "covid-cxr", "eicu-demo", "yaib-eicu", "physionet2012"])
def test_the_mappings_that_come_with_it_load(name: str) -> None:
    assert load_mapping(Path(__file__).parents[3] / "clinical" / "mappings" / f"{name}.yaml").files


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
        ({"subject": {"issuer": "x"}}, "give either column or name"),
        ({"subject": {"name": "(", "issuer": "x"}}, "is not a regular expression"),
        ({"time": {"at": 0}}, "at needs a unit"),
        ({"time": {"column": "t", "plus": {"unit": "h"}}}, "give either column or value"),
        ({"columns": [{"code": {"column": "a", "others": "skip"}, "kind": "flag"}]}, "others: skip needs a map"),
        ({"columns": [{"code": {"colum": "a"}, "kind": "flag"}]}, "the nearest keys are column"),
        ({"columns": [{"code": "A", "column": "a", "unit": "kg"}]}, "a unit goes with kind: numeric"),
        ({"encoding": "utf-9"}, "no encoding is called"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, {"files": [{**TABLE, **change}]})
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_the_documentation_shows_mappings_that_load() -> None:
    page = (Path(__file__).parents[3] / "docs" / "mappings.md").read_text()
    shown = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    assert all(parse_mapping(yaml.safe_load(text), "mappings.md") for text in shown)


def test_every_key_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "mappings.md").read_text()
    keys = {name for part in (Table, Column, Time, Subject) for name in part.model_fields}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_a_bare_null_is_the_key_of_that_name(tmp_path: Path) -> None:
    text = "files: [{path: x, subject: {column: a, issuer: b}, columns: [{code: A, column: b, null: [-1, n/a]}]}]"
    assert load(tmp_path, text).files[0].columns[0].null == ("-1", "n/a")


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "{}", "notes: [{path: x, name: '(', issuer: a, code: b}]", "\x00"])
def test_what_is_no_mapping_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="nothing of that name"):
        load_mapping(tmp_path / "absent.yaml")
