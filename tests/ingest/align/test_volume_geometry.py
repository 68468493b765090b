"""Slices to a stack: ordered by position, and refused where they make no volume (FAULTS 22)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.account.quarantine import Refusal
from ingest.align.volume_geometry import Plane, SliceRefusal, check_planes, stack

AXIAL = (1.0, 0, 0, 0, 1, 0)


def planes(depths: Sequence[float], orientation: Sequence[float] = AXIAL, **more: object) -> list[Plane]:
    normal = np.cross(orientation[:3], orientation[3:])
    made = [
        Plane(
            f"slice {n}", tuple(np.array([5.0, -7, 11]) + depth * normal), tuple(orientation), (0.7, 0.7), 8, 8, "1.2"
        )
        for n, depth in enumerate(depths)
    ]
    return [replace(plane, **more) for plane in made]  # type: ignore[arg-type]  # fields of a test's own choice


@given(st.permutations(range(12)), st.floats(0.5, 8), st.floats(0, 2 * np.pi))
def test_any_order_of_files_gives_the_same_stack(order: list[int], spacing: float, turn: float) -> None:
    row = (np.cos(turn), np.sin(turn), 0.0)
    column = (-np.sin(turn) * 0.6, np.cos(turn) * 0.6, 0.8)
    found, grid = stack(planes([place * spacing for place in order], (*row, *column)))
    assert [order[place] for place in found] == list(range(12))
    assert np.allclose(grid.spacing_mm, [spacing, 0.7, 0.7])
    assert np.allclose(grid.axes @ grid.axes.T, np.eye(3), atol=1e-9)
    assert np.allclose(grid.voxels(grid.points(np.array([[3.0, 1, 2]]))), [[3, 1, 2]])


def test_a_missing_slice_is_named_by_its_gap() -> None:
    """FAULTS 22."""
    depths = [2.5 * n for n in range(41) if n != 17]
    with pytest.raises(Refusal) as refused:
        stack(planes(depths))
    complaint = refused.value.complaint("series of 40 slices", "")
    assert str(complaint) == "series of 40 slices: expected a slice every 2.5 mm, got a gap of 5.0 mm after slice 17"


@pytest.mark.parametrize("depths", [[0, 2.5, 2.5, 5], [0, 0, 2.5, 2.5, 5, 5], [1, 1, 1]])
def test_two_slices_at_one_place_are_refused(depths: list[float]) -> None:
    """FAULTS 22."""
    with pytest.raises(Refusal, match="two at one place"):
        stack(planes(depths))


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_no_gap() -> None:
    _, grid = stack(planes([round(0.625 * n, 1) for n in range(60)]))
    assert grid.spacing_mm[0] == pytest.approx(0.625, abs=0.001)


def test_one_slice_is_no_volume() -> None:
    with pytest.raises(Refusal, match="at least 2 slices"):
        stack(planes([0]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": 9}, "slices of one size, got 8 x 8 and 9 x 8"),
        ({"spacing_mm": (0.7, 0.8)}, "one pixel spacing, got 0.7 x 0.7 and 0.7 x 0.8 mm"),
        ({"orientation": (0.0, 1, 0, 0, 0, -1)}, "slices of one orientation"),
        ({"frame_of_reference": "1.3"}, "one frame of reference"),
    ],
)
def test_slices_that_differ_are_not_mixed(change: dict[str, object], said: str) -> None:
    made = planes([0, 1, 2, 3])
    made[2] = replace(made[2], **change)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match=said):
        check_planes(made)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"position_mm": ()}, "Image Position"),
        ({"orientation": (1.0, 0, 0)}, "Image Orientation"),
        ({"orientation": (1.0, 0, 0, 1, 0, 0)}, "Image Orientation"),
        ({"spacing_mm": (0.0, 1.0)}, "Pixel Spacing"),
    ],
)
def test_a_slice_that_does_not_say_where_it_is_is_named(change: dict[str, object], field: str) -> None:
    made = planes([0, 1, 2, 3])
    made[2] = replace(made[2], **change)  # type: ignore[arg-type]
    with pytest.raises(SliceRefusal, match=field) as refused:
        check_planes(made)
    assert refused.value.record == "slice 2"
