"""docs/fusions.md names every fusion, and the numbers of parameters that it states are true."""

import re
from pathlib import Path

import pytest

from models.config import FusionConfig
from models.fusions import FUSIONS

PAGE = (Path(__file__).parents[3] / "docs" / "fusions.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([\w-]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_has_a_section_for_each_kind_and_for_no_other() -> None:
    assert set(SECTIONS) == set(FUSIONS)


@pytest.mark.parametrize("kind", list(FUSIONS))
def test_a_section_says_what_it_computes_where_it_is_from_what_it_costs_and_what_absence_does(kind: str) -> None:
    words = SECTIONS[kind]
    assert re.search(r"^- .* = ", words, re.MULTILINE)
    for part in ("- Source: ", "- Parameters: `", " Time: O(", "- Absent: "):
        assert part in words, part
    assert len(re.findall(rf"^\|.*`{kind}`", PAGE, re.MULTILINE)) == 2  # when to take it, and what it learned


@pytest.mark.parametrize("kind", list(FUSIONS))
@pytest.mark.parametrize(("width", "streams", "members", "layers"), [(16, 1, 3, 1), (16, 2, 1, 3), (48, 5, 8, 2)])
def test_the_stated_number_of_parameters_is_that_of_the_module(
    kind: str, width: int, streams: int, members: int, layers: int
) -> None:
    config = FusionConfig(kind=kind, layers=layers)
    module = FUSIONS[kind](config, width, streams, members, 0.0)
    stated = re.search(r"- Parameters: `([^`]+)`", SECTIONS[kind])
    assert stated is not None
    formula = stated.group(1).replace("·", "*").replace("²", "**2")
    sizes = {
        "D": width, "M": streams, "m": members, "L": layers, "B": config.bottlenecks, "R": config.rank,
        "G": config.growth, "E": config.experts,
    }  # fmt: skip
    assert re.fullmatch(r"[DMmLBRGE\d+\-*/() ]+", formula)
    assert sum(p.numel() for p in module.parameters()) == eval(formula, {}, sizes)  # noqa: S307  # checked above
