"""Explanations as files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from explain.explanation import Element, Explanation
from explain.kept import explanation_path, read_explanation, says_less, write_explanation
from ingest.errors import TelltaleError


def an_explanation(logit: float = -1.0) -> Explanation:
    return Explanation(
        case_id="12-1",
        task="deterioration",
        model_version="v0001",
        base_logit=-1.5,
        logit=logit,
        streams={"record": 0.2, "notes": 0.3},
        coalitions={"": -1.5, "record": -1.3, "notes": -1.2, "record+notes": -1.0},
        elements={
            "record": (Element("age", 0.2, shown="67 years", number=67.0),),
            "notes": (Element("no", 0.1, 0.01, position=(0, 2)), Element("fever", 0.2, 0.02, position=(3, 8))),
        },
        kinds={"record": "table", "notes": "text"},
        logit_from_features=-1.01,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_explanation(tmp_path / "v0001", an_explanation())
    assert path == tmp_path / "v0001" / "12-1.json"
    assert read_explanation(path) == an_explanation()


def test_attributions_that_do_not_add_up_stay_out_of_the_file(tmp_path: Path) -> None:
    path = write_explanation(tmp_path, an_explanation(logit=-0.5))
    raw = json.loads(path.read_text())
    assert raw["withheld"]
    assert raw["additivity_error"] == pytest.approx(0.5)
    assert raw["streams"] == raw["elements"] == raw["coalitions"] == {}
    assert "0.2" not in path.read_text()
    again = read_explanation(path)
    assert again.withheld
    assert read_explanation(write_explanation(tmp_path, again)) == again


@pytest.mark.parametrize("case_id", ["../../etc/passwd", "..", "a/b", "C:\\x", ".hidden"])
def test_no_case_leads_out_of_the_folder(tmp_path: Path, case_id: str) -> None:
    path = explanation_path(tmp_path, case_id)
    assert path.parent == tmp_path
    assert path.resolve().parent == tmp_path.resolve()
    assert not path.name.startswith(".")


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TelltaleError, match="No such file"):
        read_explanation(tmp_path / "none.json")
    for content in ("[]", "{", '{"case_id": "1"}'):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(TelltaleError, match="expected an explanation"):
            read_explanation(tmp_path / "x.json")


def test_an_explanation_of_other_inputs_is_kept_as_superseded(tmp_path: Path) -> None:
    """FAULTS 14."""
    first, second = (replace(an_explanation(), inputs=inputs) for inputs in ("before", "after"))
    write_explanation(tmp_path, first)
    write_explanation(tmp_path, first)
    assert not (tmp_path / "superseded").exists(), "nothing has changed"
    path = write_explanation(tmp_path, second)
    assert read_explanation(path) == second
    (kept,) = (tmp_path / "superseded").iterdir()
    assert kept.name.startswith("12-1-")
    assert read_explanation(kept) == first


def test_inputs_that_are_not_known_supersede_nothing(tmp_path: Path) -> None:
    write_explanation(tmp_path, an_explanation())
    write_explanation(tmp_path, replace(an_explanation(), inputs="now"))
    assert not (tmp_path / "superseded").exists()


def test_less_is_not_written_over_more_of_the_same_inputs(tmp_path: Path) -> None:
    fuller = replace(an_explanation(), inputs="a")
    brief = replace(fuller, elements={})
    assert not says_less(tmp_path, brief)
    write_explanation(tmp_path, fuller)
    assert says_less(tmp_path, brief)
    assert not says_less(tmp_path, fuller)
    assert not says_less(tmp_path, replace(brief, inputs="b")), "what was more is of something else"
