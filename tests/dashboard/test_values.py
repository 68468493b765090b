"""What the pages say and draw, as values: words, heat maps, weighted notes, lists, what-ifs."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import figures, inputs, pictures, whatif, words
from dashboard.worklist import Filters, listed, neighbours
from explain.explanation import Element, Explanation
from ingest.cohort import Cohort


@pytest.mark.parametrize(
    ("risk", "text"),
    [(0.0, "<0.1 %"), (0.034, "3.4 %"), (0.0996, "10 %"), (0.344, "34 %"), (0.994, "99 %"), (0.9999, ">99 %")],
)
def test_a_risk_never_reads_as_certain(risk: float, text: str) -> None:
    assert words.percent(risk).replace(words.SPACE, " ") == text


def test_a_share_is_said_of_the_model_and_never_of_the_patient() -> None:
    assert words.direction(0.4) == "raises the model's risk"
    assert words.direction(-0.4) == "lowers the model's risk"
    assert words.odds(math.log(2)).replace(words.SPACE, " ") == "odds × 2.00"


def test_a_change_of_risk_is_in_points() -> None:
    assert words.points(-0.072) == "−7.2 points"
    assert words.points(0.15) == "+15 points"
    assert words.points(0.0) == "±0 points"


@given(st.text())
def test_text_from_data_loses_every_mark_of_markdown(text: str) -> None:
    shown = words.plain(text)
    assert shown.replace("\\", "") == text.replace("\\", "")
    for mark in "*_`[]<>$:#":
        assert shown.count(mark) == shown.count(f"\\{mark}")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 20), st.integers(0, 20))
def test_a_weighted_note_shows_every_character_and_makes_no_tag_of_it(text: str, start: int, length: int) -> None:
    page = pictures.weighted_text(text, [Element("word", 0.5, position=(start, start + length))])
    inner = page.removeprefix('<div class="tt-note">').removesuffix("</div>")
    without = inner.replace("</span>", "")
    if "<span" in without:
        head, _, tail = without.partition("<span")
        without = head + tail.partition(">")[2]
    assert "<" not in without
    assert ">" not in without


def test_the_heat_map_is_orange_where_the_share_raises_and_blue_where_it_lowers() -> None:
    patches = [Element("", 1.0, position=(0, 0, 2, 2)), Element("", -1.0, position=(1, 1, 2, 2))]
    grid = pictures.share_grid(patches, 0)
    assert grid.tolist() == [[1.0, 0.0], [0.0, -1.0]]
    shown = pictures.heat_map(np.full((40, 40), 0.5), grid).astype(int)
    red, _, blue = shown[2, 2]
    assert red > blue
    red, _, blue = shown[-3, -3]
    assert blue > red


def test_without_strength_the_image_stays_as_it_is() -> None:
    pixels = np.linspace(0, 1, 64).reshape(8, 8)
    grid = np.array([[1.0, -1.0]])
    assert np.array_equal(pictures.heat_map(pixels, grid, 0.0), pictures.grey(pixels))
    assert np.array_equal(pictures.heat_map(pixels, np.zeros((0, 0))), pictures.grey(pixels))


def test_only_the_patches_of_the_image_that_is_shown_count() -> None:
    patches = [Element("", 2.0, position=(0, 0, 1, 1, 0)), Element("", 3.0, position=(0, 0, 1, 1, 1))]
    assert pictures.share_grid(patches, 1).tolist() == [[3.0]]


def test_what_if_finds_a_coalition_in_any_order() -> None:
    made = Explanation("c", "t", "v", -1.0, 1.0, {"a": 1.5, "b": 0.5}, {"": -1.0, "a": 0.5, "b": -0.5, "b+a": 1.0})
    assert whatif.risk_with(made, ["a", "b"]) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert whatif.risk_with(made, []) == pytest.approx(1 / (1 + math.exp(1.0)))
    assert whatif.risk_with(made, ["a", "absent"]) == pytest.approx(1 / (1 + math.exp(-0.5)))
    with pytest.raises(KeyError, match="no coalition of"):
        whatif.risk_with(Explanation("c", "t", "v", 0, 0, {"a": 0.0}, {}), ["a"])


def test_neighbours_stop_at_the_ends() -> None:
    assert neighbours(["a", "b", "c"], "a") == (None, "b", 1)
    assert neighbours(["a", "b", "c"], "c") == ("b", None, 3)
    assert neighbours(["a"], "z") == (None, None, 0)


def test_a_search_takes_signs_literally() -> None:
    scores = pd.DataFrame({"case_id": ["a.b", "acb"], "risk": [0.2, 0.1], "split": ["test", "test"]})
    assert list(listed(scores, {}, Filters(search="a.b")).frame["case_id"]) == ["a.b"]


def test_stale_scores_have_a_column_only_where_there_are_some() -> None:
    scores = pd.DataFrame(
        {
            "case_id": ["a", "b"],
            "risk": [0.2, 0.1],
            "risk_low": 0.1,
            "risk_high": 0.3,
            "split": "test",
            "index_time": pd.NaT,
        }
    )
    fresh = listed(scores, {}, Filters())
    assert "stale" not in fresh.rows(scores, {}).columns
    stale = listed(scores, {}, Filters(), {"b": "rests on labs.csv, row 3, corrected since"})
    assert stale.rows(scores, {})["stale"].tolist() == ["", "stale"]


def test_a_waveform_is_drawn_lead_by_lead_with_its_peaks_and_without_its_gaps() -> None:
    samples = np.random.default_rng(0).normal(0, 0.01, (5000, 12)).astype(np.float32)
    samples[2500, 3], samples[100:400, 0], samples[:, 11] = 1.0, np.nan, np.nan
    leads = tuple(f"lead {i}" for i in range(12))
    chart = figures.waveform(inputs.Sound(samples, 1 / 500, -2.0, None, leads, "mV"), "light").to_dict()
    assert chart["height"] == 34 * 12
    rows = next(rows for rows in chart["datasets"].values() if "value" in rows[0])
    assert len(rows) <= figures.MOST_POINTS
    assert max(row["value"] for row in rows if row["value"] is not None) == 1.0
    assert {row["lead"] for row in rows} == set(leads)
    assert all(row["height"] is None for row in rows if row["lead"] == "lead 11")
    assert any(row["height"] is None for row in rows if row["lead"] == "lead 0" and 0.2 < row["second"] < 0.8)


def test_a_stream_that_could_not_be_used_says_why_and_an_older_cohort_says_nothing(
    synthetic_cohort: Callable[..., Cohort],
) -> None:
    """FAULTS 19."""
    cohort = synthetic_cohort(n=60)
    assert inputs.problem(cohort, 0, "sound") == ""
    said = np.full(60, None, object)
    said[1] = "flat line in all leads"
    spoilt = replace(cohort, index=cohort.index.assign(sound_problem=said))
    assert [inputs.problem(spoilt, row, "sound") for row in (0, 1)] == ["", "flat line in all leads"]
