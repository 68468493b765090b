"""Where slices lie in the patient, and whether together they make a volume without gaps or doubles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.account.quarantine import Refusal

COSINE_TOLERANCE = 1e-3  # of a direction cosine: about 0.06 degrees
SPACING_TOLERANCE = 0.02  # of the distance between slices
LEAST_TOLERANCE_MM = 0.1  # positions are often stated to a tenth of a millimetre
MOST_TOLERANCE = 0.3  # of the distance between slices, where that is small
SAME_PLACE = 0.05  # of the distance between slices

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """One slice: position_mm (x, y, z) of its first pixel and orientation (six cosines) as in PS3.3 C.7.6.2.

    spacing_mm: between rows, between columns. record: what names it in a message.
    """

    record: str
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    rows: int
    columns: int
    frame_of_reference: str = ""


@dataclass(frozen=True)
class Grid:
    """A regular lattice in the patient.

    axes (3, 3): unit vectors (to L, P, S) in which slice, row and column numbers grow. spacing_mm (3,): in the same
    order. origin_mm (3,): the middle of the first voxel.
    """

    axes: Vector
    spacing_mm: Vector
    origin_mm: Vector

    def voxels(self, points_mm: Vector) -> Vector:
        """Points (n, 3) of the patient as (slice, row, column), not rounded."""
        steps = self.axes * self.spacing_mm[:, None]
        return np.asarray(np.linalg.solve(steps.T, (points_mm - self.origin_mm).T).T)

    def points(self, voxels: Vector) -> Vector:
        """Voxels (n, 3) as points of the patient in mm."""
        return np.asarray(self.origin_mm + voxels @ (self.axes * self.spacing_mm[:, None]))


def check_planes(planes: Sequence[Plane]) -> None:
    """That every slice says where it is, and that all are alike. Raises Refusal, whose record is the odd one's."""
    for plane in planes:
        for name, values, count in (
            ("Image Position (Patient)", plane.position_mm, 3),
            ("Image Orientation (Patient)", plane.orientation, 6),
            ("Pixel Spacing", plane.spacing_mm, 2),
        ):
            if len(values) != count:
                got = "none" if not values else f"{len(values)}"
                raise SliceRefusal(plane.record, name, f"{count} numbers", got)
        row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
        lengths = np.array([row @ row, column @ column])
        if np.abs(lengths - 1).max() > 0.01 or abs(row @ column) > 0.01:
            raise SliceRefusal(plane.record, "Image Orientation (Patient)", "two directions at a right angle", "others")
        if min(plane.spacing_mm) <= 0:
            raise SliceRefusal(plane.record, "Pixel Spacing", "lengths above 0", "others")
    first = planes[0]
    for plane in planes[1:]:
        if (plane.rows, plane.columns) != (first.rows, first.columns):
            raise _mixed("slices of one size", f"{first.rows} x {first.columns} and {plane.rows} x {plane.columns}")
        if not np.allclose(plane.spacing_mm, first.spacing_mm, rtol=1e-3, atol=0):
            raise _mixed("one pixel spacing", f"{_mm(first.spacing_mm)} and {_mm(plane.spacing_mm)} mm")
        if not np.allclose(plane.orientation, first.orientation, rtol=0, atol=COSINE_TOLERANCE):
            raise _mixed("slices of one orientation", "several")
        if plane.frame_of_reference != first.frame_of_reference:
            raise _mixed("one frame of reference", "several")


def stack(planes: Sequence[Plane]) -> tuple[NDArray[np.int64], Grid]:
    """The order of alike slices (`check_planes`) along their normal, and the grid that they make.

    Slices are ordered by position, never by number, and may lean (see `volume_shear`). Raises Refusal where one is
    missing or doubled.
    """
    if len(planes) < 2:
        raise Refusal("", "at least 2 slices", f"{len(planes)}")
    first = planes[0]
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    positions = np.array([plane.position_mm for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    spacing = _spacing(np.diff(along[order]))
    origin = positions[order[0]]
    axes = np.stack([normal, column, row])  # rows are counted along the column's direction, and the reverse
    return order, Grid(axes, np.array([spacing, *first.spacing_mm]), origin)


def _spacing(steps: Vector) -> float:
    """The one distance between neighbouring slices. Raises Refusal."""
    usual = float(np.median(steps))
    doubled = np.flatnonzero(steps < max(SAME_PLACE * usual, 1e-3))
    if len(doubled):
        raise Refusal(
            "", "each slice at a place of its own", f"two at one place, slices {doubled[0] + 1} and {doubled[0] + 2}"
        )
    tolerance = min(max(SPACING_TOLERANCE * usual, LEAST_TOLERANCE_MM), MOST_TOLERANCE * usual)
    odd = np.flatnonzero(np.abs(steps - usual) > tolerance)
    if len(odd):
        place = int(odd[np.abs(steps[odd] - usual).argmax()])
        what = "a gap" if steps[place] > usual else "a step"
        got = f"{what} of {_length(float(steps[place]))} mm after slice {place + 1}"
        raise Refusal("", f"a slice every {_length(usual)} mm", got)
    return float(steps.mean())


class SliceRefusal(Refusal):
    """A refusal of one slice, which takes its volume with it. `record` names the slice."""

    def __init__(self, record: str, field: str, expected: str, got: str) -> None:
        super().__init__(field, expected, got)
        self.record = record


def _mixed(expected: str, got: str) -> Refusal:
    return Refusal("", expected, got, "name one series by rules")


def _mm(lengths: Sequence[float]) -> str:
    return " x ".join(f"{length:g}" for length in lengths)


def _length(mm: float) -> str:
    return f"{mm:.1f}" if abs(mm * 10 - round(mm * 10)) < 0.05 else f"{mm:.2f}"
