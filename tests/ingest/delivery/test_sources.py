from pathlib import Path

import pytest

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile, find_files, inside
from ingest.errors import InputError


def test_files_are_found_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b", "a/x", "a/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = find_files([tmp_path / "a", tmp_path / "b", tmp_path], tmp_path / "workspace")
    assert [file.path.name for file in found] == ["x", "y", "b"]
    assert found[0].name == "a/x"


def test_the_same_name_with_other_content_is_another_source(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1")
    first = SourceFile(path, tmp_path).source
    path.write_text("2")
    assert SourceFile(path, tmp_path).source != first


def test_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no files found in no source"):
        find_files([], tmp_path)


@pytest.mark.parametrize("reference", ["b.txt", "./b.txt", "../a/b.txt", "b%2Etxt"])
def test_a_reference_inside_the_root_is_followed(tmp_path: Path, reference: str) -> None:
    (tmp_path / "a").mkdir()
    target = tmp_path / "a" / "b.txt"
    target.write_text("x")
    assert inside(SourceFile(tmp_path / "a" / "x.ndjson", tmp_path), reference, "url") == target


@pytest.mark.parametrize("reference", ["../../x", "/etc/passwd", "https://a.example/b", "//host/x", "gone", "a" * 5000])
def test_a_reference_that_leaves_or_names_nothing_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(Refusal) as refused:
        inside(SourceFile(tmp_path / "x.ndjson", tmp_path), reference, "url")
    assert reference not in str(refused.value)
