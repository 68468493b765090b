"""Marks in the corners of images, and files that differ by outcome."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingest.cohort import Cohort
from models.leakage.borders import border_columns, border_findings
from models.leakage.origins import Origin
from models.leakage.scope import scope_of


def marked(garden: Any, corner: tuple[slice, slice], n: int = 300, **options: Any) -> Cohort:
    """A cohort whose images bear a bright mark in a corner where the outcome came."""
    planted = garden(n, absent={"xray": 0.0}, **options)
    with_outcome = planted.rows("xray", planted.cohort.target == 1)

    def plant(images: np.ndarray) -> np.ndarray:
        for row in with_outcome:
            images[row][(..., *corner)] = 1
        return images

    planted.change("xray.values", plant)
    opened: Cohort = planted.cohort
    return opened


@pytest.mark.parametrize("corner", [(slice(1, 4), slice(1, 4)), (slice(-4, -1), slice(-4, -1))])
def test_a_mark_burned_into_a_corner_is_an_alarm(garden: Any, corner: tuple[slice, slice]) -> None:
    (found,) = border_findings(scope_of(marked(garden, corner), 0), [])
    assert (found.check, found.where, found.verdict) == ("image borders", "xray", "alarm")
    assert "look at the corners" in found.step


def test_what_lies_within_the_picture_is_no_border(garden: Any) -> None:
    (found,) = border_findings(scope_of(marked(garden, (slice(12, 20), slice(12, 20))), 0), [])
    assert found.verdict == "fine"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_honest_images_are_fine(synthetic_cohort: Callable[..., Cohort], seed: int) -> None:
    found = border_findings(scope_of(synthetic_cohort(n=240, seed=seed), 0), [])
    assert [finding.verdict for finding in found] == ["fine"]


def test_a_machine_that_its_borders_betray_is_a_look_where_it_tells_the_outcome(garden: Any) -> None:
    cohort = marked(garden, (slice(1, 4), slice(1, 4)))
    scope = scope_of(cohort, 0)
    machine = Origin("xray", "machine", np.where(scope.target == 1, "a", "b"))
    _, found = border_findings(scope, [machine])
    assert found.verdict == "look"
    assert found.figure.startswith("borders tell machine: AUROC")


def test_the_corners_are_summed_up_as_a_plain_loop_does(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=100)
    place, columns = border_columns(scope_of(cohort, 0), "xray")
    image = cohort.arrays(0, "xray").values[int(cohort.index["xray_row"].iloc[place[3]]), 0, 0]
    part = image[-5:, :5]  # the third corner: below, left; a sixth of 32 pixels
    steps = [abs(part[i + 1, j] - part[i, j]) for i in range(4) for j in range(5)]
    steps += [abs(part[i, j + 1] - part[i, j]) for i in range(5) for j in range(4)]
    expected = [part.mean(), part.std(), part.min(), part.max(), sum(steps) / (len(steps) + 1)]
    np.testing.assert_allclose(columns[3, 10:15], expected, rtol=1e-5)
    assert columns.shape == (len(place), 40)


def test_files_whose_size_tells_the_outcome_are_an_alarm(garden: Any, tmp_path: Path) -> None:
    planted = garden()
    cohort = planted.cohort
    outcome = dict(zip(cohort.index["xray_row"], cohort.target == 1, strict=True))
    assets = []
    for row in range((cohort.index["xray_row"] >= 0).sum()):
        assets.append(str(tmp_path / f"{row}.png"))
        Path(assets[-1]).write_bytes(bytes(1_000 + row % 7 + 50 * bool(outcome[row])))
    planted.change_table("xray.source", lambda sources: sources.assign(asset=pd.array(assets, dtype="str")))
    found = [finding for finding in border_findings(scope_of(planted.cohort, 0), []) if finding.check == "file size"]
    assert [(finding.where, finding.verdict) for finding in found] == [("xray", "alarm")]
